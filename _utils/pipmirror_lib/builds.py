"""One sdist becomes one wheel, in a container of its own, from build requirements that the host has resolved.

What a container leaves behind is read as if an enemy had written it: never through a link, never beyond a limit.
"""

from __future__ import annotations

import dataclasses
import json
import os
import posixpath
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from pipmirror_lib import inside, settings
from pipmirror_lib.archives import check_packing, opened_zip, record_lines
from pipmirror_lib.engine import RunResult
from pipmirror_lib.errors import BuildError, why
from pipmirror_lib.logs import harmless, reason, short
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.trees import TooDeep
from pipmirror_lib.workplace import INSIDE, Quarters, Task, copy_checked, make_readable, read_untrusted

MORE_REQUIREMENTS = 64
_REQUIRES_SIZE = 64 << 10
_MEMBERS, _UNPACKED = 200_000, 4 << 30
# What is read of a wheel as a whole.
_READ = 1 << 20
_HINTS = (
    (r"use_2to3 is invalid", "try build_constraints: setuptools<58"),
    (
        r"setuptools[.\w]*' has no attribute|cannot import name .* from '?setuptools",
        "try build_constraints: setuptools<72",
    ),
    (r"No module named '?(setuptools|distutils|imp)\b", "try build_constraints: setuptools<72"),
    (r"No module named '?pkg_resources", "try build_constraints: setuptools<81"),
    (r"Invalid dash-separated|InvalidConfigError", "try build_constraints: setuptools<78"),
    (r"Cython\.Compiler\.Errors|cython.*CompileError", "try build_constraints: cython<3"),
    (
        r"Python\.h: No such file|(gcc|g\+\+|cc)'?:? (failed: )?No such file|unable to execute '?\S*cc\b",
        "install a compiler and Python's headers through pre_command (Debian: build-essential python3-dev)",
    ),
    (
        r"unable to detect version|No such file or directory: '?git\b|git: (command )?not found",
        "install git through pre_command, which the project asks for its version",
    ),
    (
        r"File too large|File size limit exceeded",
        "a file of it grew beyond container:disk",
    ),
    (
        r"Killed signal terminated program|MemoryError|Cannot allocate memory|[Oo]ut of memory",
        "it may need more than container:memory",
    ),
    (
        r"Resource temporarily unavailable|can't start new thread|[Cc]an(no|')t fork",
        "it may need more than container:pids",
    ),
    (
        r"No space left on device",
        "it is out of disk space, or of shared memory",
    ),
    (
        r"Name or service not known|name resolution|Network is unreachable",
        "if it must download, name the project in container:build_network",
    ),
)


@dataclass(frozen=True)
class BuildRequest:
    """One source distribution to build, with everything that it needs; project and version are for people here.

    `have_requires`: what the backend asks for on the way is among `wheels` for sure; else we look into it.
    """

    sdist: Path
    sha256: str
    project: str
    version: str
    backend: str
    backend_path: tuple[str, ...]
    wheels: tuple[Path, ...]
    have_requires: bool = False
    network: bool = False
    subdirectory: str = ""


def build(
    quarters: Quarters,
    profile: TargetProfile,
    request: BuildRequest,
    limits: settings.Container,
    *,
    workdir: Path,
    log_path: Path,
) -> Path | list[str]:
    """Build the wheel, which lies in `workdir/out` then; or tell what else the backend requires for it.

    What `request.wheels` do not meet of that is for the caller to add; then build again.
    """
    what = f"{request.project} {request.version}"
    while True:
        result, out = _run_build(quarters, profile, request, limits, workdir=workdir, log_path=log_path)
        if not request.have_requires and not result.exceeded(limits) and os.path.lexists(out / "requires.json"):
            # Even where the build went on and failed: a version too old may well be the reason.
            unmet = _unmet(read_requires(out / "requires.json", what), request, profile)
            if unmet:
                return unmet
        if result.exit_code != MORE_REQUIREMENTS or request.have_requires:
            break
        # It asked for what does not apply here, or by a name that only the host could tell to be there.
        request = dataclasses.replace(request, have_requires=True)
    if result.exit_code or result.exceeded(limits):
        end = _build_end(result, limits).replace("through pre_command", quarters.how)
        raise BuildError(f"{what}: the build {end}; its log is {log_path}")
    return _only_wheel(out, what, log_path)


def _run_build(
    quarters: Quarters,
    profile: TargetProfile,
    request: BuildRequest,
    limits: settings.Container,
    *,
    workdir: Path,
    log_path: Path,
) -> tuple[RunResult, Path]:
    facts = {
        "sdist": request.sdist.name,
        "subdirectory": request.subdirectory,
        "backend": request.backend,
        "backend_path": request.backend_path,
        "have_requires": request.have_requires,
        "have": [parse_wheel_filename(wheel.name)[0] for wheel in request.wheels],
    }
    with quarters.workplace(workdir) as place:
        make_environment(place.environment, profile, request.wheels, f"{place.seen_as}/env")
        copy_checked(request.sdist, place.inputs / request.sdist.name, request.sha256)
        place.put("build.py", inside.source("build"))
        place.put("request.json", json.dumps(facts))
        name = f"build-{request.project}"
        task = Task("build.py", profile.base_executable, limits, log_path, name, network=request.network)
        result = quarters.run(place, task)
    return result, place.out


def _unmet(asked: Sequence[str], request: BuildRequest, profile: TargetProfile) -> list[str]:
    """Those that apply on the platform and that no wheel of the build environment meets."""
    have = {name: version for name, version, _, _ in (parse_wheel_filename(w.name) for w in request.wheels)}

    def met(requirement: Requirement) -> bool:
        version = have.get(canonicalize_name(requirement.name))
        return version is not None and requirement.specifier.contains(version, prereleases=True)

    requirements = [Requirement(text) for text in asked]
    try:
        return [str(r) for r in requirements if profile.applies(r.marker) and not met(r)]
    except ValueError as error:
        raise BuildError(f"{request.project}: its build asks for what cannot be decided: {error}") from error


def make_environment(
    directory: Path, profile: TargetProfile, wheels: Iterable[Path], seen_as: str = f"{INSIDE}/env"
) -> None:
    """Lay out the virtual environment; `seen_as` is its path for those inside."""
    if PureWindowsPath(profile.base_executable).drive:
        raise BuildError("on Windows nothing can be built; only wheels from the index serve there")
    names = ("purelib", "platlib", "scripts", "include", "data")
    paths = {name: directory / _relative(profile.paths.get(name, "")) for name in names}
    for path in (directory, directory / "bin", *paths.values()):
        path.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        _unpack(wheel, paths, seen_as)
    executable = profile.base_executable
    if not re.fullmatch(r"/[^\x00-\x1f]+", executable):
        raise BuildError(
            f"the profile's interpreter {executable!r} is not an absolute path; prepare the platform again"
        )
    try:
        (directory / "pyvenv.cfg").write_text(
            f"home = {posixpath.dirname(executable)}\ninclude-system-site-packages = false\n"
            f"version = {profile.markers['python_full_version']}\n"
        )
        # Only now: a wheel that brings its own bin/python must not write through our link to the host's.
        for name in ("python", "python3"):
            link = directory / "bin" / name
            link.unlink(missing_ok=True)
            link.symlink_to(executable)
        make_readable(directory)
    except TooDeep:
        raise BuildError("the wheels of its build environment nest directories beyond any sense") from None
    except OSError as error:  # such as a directory of that name, which a wheel has brought
        raise BuildError(f"its build environment cannot be made: {why(error)} ({error.filename})") from error


def _relative(path: str) -> str:
    if not path or posixpath.isabs(path) or ".." in path.split("/"):
        raise BuildError(f"the profile's path {path!r} leads out of the environment; prepare the platform again")
    return path


def _unpack(wheel: Path, paths: Mapping[str, Path], seen_as: str) -> None:
    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.sources import WheelFile

    try:
        with opened_zip(wheel) as archive:
            _check_size(archive)
            source = WheelFile(archive)
            record_lines(archive, f"{source.dist_info_dir}/RECORD")  # which is read as a whole there
            source.validate_record()
            scheme = {name: str(path) for name, path in paths.items()}
            scheme["headers"] = str(paths["include"] / canonicalize_name(source.distribution))
            # Every path is checked against its directory there; like pip, later wheels overwrite.
            destination = SchemeDictionaryDestination(
                scheme, interpreter=f"{seen_as}/bin/python", script_kind="posix", overwrite_existing=True
            )
            install(source, destination, {"INSTALLER": b"pipmirror\n"})
    except Exception as error:  # for damage, the formats inside know a dozen kinds
        reason = short(str(error)) or type(error).__name__
        raise BuildError(f"{wheel.name}: cannot become part of a build environment: {reason}") from error


def _check_size(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > _MEMBERS or sum(member.file_size for member in members) > _UNPACKED:
        raise ValueError("too many members, or too large")
    for member in members:
        check_packing(member)
        if re.fullmatch(r"[^/]+\.dist-info/(WHEEL|entry_points\.txt)", member.filename) and member.file_size > _READ:
            raise ValueError(f"{member.filename} has {member.file_size} bytes, which is beyond any sense")


def read_requires(path: Path, what: str) -> list[str]:
    """The requirements that a backend has written down: strangers' words, so few, short and valid."""
    try:
        found = json.loads(read_untrusted(path, _REQUIRES_SIZE))
        if not isinstance(found, list) or len(found) > 100:
            raise ValueError("not a list of at most 100 requirements")
        if not all(isinstance(text, str) and len(text) <= 500 for text in found):
            raise ValueError("not a list of short strings")
        return [str(Requirement(text)) for text in found]
    except (OSError, ValueError, RecursionError, InvalidRequirement) as error:
        raise BuildError(f"{what}: the build backend asks for invalid requirements: {short(str(error))}") from error


def _only_wheel(out: Path, what: str, log_path: Path) -> Path:
    wheels = [entry for entry in os.scandir(out) if entry.name.endswith(".whl")]
    if len(wheels) != 1 or (fault := _file_fault(wheels[0])):
        names = ", ".join(sorted(harmless(entry.name) for entry in wheels)) or "none"
        names += f", which is {fault}" if len(wheels) == 1 else ""
        raise BuildError(f"{what}: the build must leave exactly one wheel, not {short(names)}; its log is {log_path}")
    return Path(wheels[0].path)


def _file_fault(entry: os.DirEntry[str]) -> str:
    found = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    if not stat.S_ISREG(found.st_mode):
        return "no file"
    return "" if found.st_nlink == 1 else "a hard link"


def _build_end(result: RunResult, limits: settings.Container) -> str:
    if exceeded := result.exceeded(limits):
        return exceeded
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, result.log)), "")
    return f"failed with exit code {result.exit_code}: {reason(result.log)}" + (f"; {hint}" if hint else "")
