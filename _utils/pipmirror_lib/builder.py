"""What runs in containers: builder images and their profiles, builds of sdists, offline installs.

Only the administrator's own command has network (and a project named in `container:build_network`). What a
container leaves behind is read as if an enemy had written it: never through a link, never beyond a limit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import posixpath
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any, final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pipmirror_lib import inside, settings
from pipmirror_lib.engine import LABEL, Engine, ImageInfo, Mount, RunResult, RunSpec, give_away, harmless
from pipmirror_lib.errors import BuilderError, BuildError, EngineError, VerifyError
from pipmirror_lib.images import BaseImage, Progress, ensure, present
from pipmirror_lib.profile import TargetProfile

# Raised whenever a builder image made by an older version of this code must not be used any more.
RECIPE = 1
REPOSITORY = "pipmirror-builder"
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
LEGACY_REQUIRES = ("setuptools>=40.8.0",)
MORE_REQUIREMENTS = 64
_LABELS = {
    name: f"{LABEL}.{name}" for name in ("recipe", "platform", "kind", "base", "base-source", "command")
}
_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -c "$1"; fi; exec /bin/sh -c "$1"'
_BEGIN, _END = "-----BEGIN PIPMIRROR PROFILE-----", "-----END PIPMIRROR PROFILE-----"
_MEMBERS, _UNPACKED, _METADATA_SIZE = 200_000, 4 << 30, 1 << 20
_REQUIRES_SIZE, _RESULT_SIZE = 64 << 10, 4 << 20
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
        r"Name or service not known|name resolution|Network is unreachable",
        "if it must download, name the project in container:build_network",
    ),
)


@dataclass(frozen=True)
class BuilderImage:
    """A base image in which the administrator's command has run; `reused` if that was not now."""

    id: str
    base_id: str
    recipe: str
    created: str
    base_source: str
    reused: bool


@dataclass(frozen=True)
class BuildSystem:
    """The table of PEP 518, with its defaults."""

    requires: tuple[str, ...] = LEGACY_REQUIRES
    backend: str = LEGACY_BACKEND
    backend_path: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildRequest:
    """One source distribution to build, with everything that it needs.

    `have_requires`: what the backend asks for on the way is among `wheels` for sure; else we look into it.
    """

    sdist: Path
    sha256: str
    project: NormalizedName
    version: Version
    backend: str
    backend_path: tuple[str, ...]
    wheels: tuple[Path, ...]
    have_requires: bool = False
    network: bool = False


@dataclass(frozen=True)
class Ran:
    """What became of running a root project's command; informative only."""

    command: str
    ok: bool
    output: str


@dataclass(frozen=True)
class VerifyOutcome:
    """A set that the target's own pip has installed without network."""

    installed: tuple[tuple[str, str], ...]
    ran: Mapping[str, Ran]
    pip: str
    seconds: float
    log: Path


# --- builder images -------------------------------------------------------------------------------


def recipe(platform: settings.Platform, base_id: str) -> str:
    """The digest of everything that makes a builder image what it is."""
    parts = {
        "format": RECIPE,
        "base": base_id,
        "pre_command": platform.pre_command,
        "python": platform.python,
        "architecture": platform.architecture,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def prepare(
    engine: Engine,
    platform: settings.Platform,
    limits: settings.Container,
    *,
    workdir: Path,
    rebuild_after: int,
    force: bool = False,
    command: str | None = None,
    progress: Progress,
) -> BuilderImage:
    """Have the image in which `command` (default: `pre_command`) has run; made now if there is none yet.

    An image older than `rebuild_after` seconds (0: any age will do) is made again, and any on `force`.
    """
    kind = "builder" if command is None or command == platform.pre_command else "verify"
    if command is not None:
        platform = dataclasses.replace(platform, pre_command=command)
    base = present(engine, platform)
    made = _newest(engine, recipe(platform, base.id)) if base else None
    if base and made and not force and not _expired(made, rebuild_after):
        return _builder(made, base, recipe(platform, base.id), reused=True)
    # A registry may hold a new image under the old name by now, and debootstrap newer packages.
    base = ensure(engine, platform, workdir, progress, refresh=force or made is not None)
    digest = recipe(platform, base.id)
    if not platform.pre_command.strip():
        return _builder(_image(engine, base.id), base, digest, reused=True)
    made = None if force else _newest(engine, digest)
    if made and not _expired(made, rebuild_after):
        return _builder(made, base, digest, reused=True)
    made = _make(engine, platform, limits, base, kind=kind, workdir=workdir, progress=progress)
    _remove_superseded(engine, made, rebuild_after)
    return _builder(made, base, digest, reused=False)


def _builder(info: ImageInfo, base: BaseImage, digest: str, *, reused: bool) -> BuilderImage:
    source = info.labels.get(_LABELS["base-source"]) or base.source
    return BuilderImage(info.id, base.id, digest, _iso(info.created), source, reused)


def _newest(engine: Engine, digest: str) -> ImageInfo | None:
    return next(iter(engine.find({_LABELS["recipe"]: digest})), None)


def _expired(info: ImageInfo, rebuild_after: int) -> bool:
    return bool(rebuild_after) and datetime.now(timezone.utc) - info.created > timedelta(
        seconds=rebuild_after
    )


def _make(
    engine: Engine,
    platform: settings.Platform,
    limits: settings.Container,
    base: BaseImage,
    *,
    kind: str,
    workdir: Path,
    progress: Progress,
) -> ImageInfo:
    workdir.mkdir(parents=True, exist_ok=True)
    progress(f"{platform.name}: preparing the {kind} image")
    spec = RunSpec(
        image=base.id,
        command=("/bin/sh", "-c", _SHELL, "pre", platform.pre_command),
        environment={"DEBIAN_FRONTEND": "noninteractive"},
        network=True,
        user="0:0",
        working_dir="/",
        hardened=False,
        limits=limits,
        log_path=workdir / f"prepare-{kind}.log",
        name=f"prepare-{platform.name}",
    )
    labels = _made_labels(platform, base, kind)
    with engine.container(spec) as container:
        result = container.finish()
        if result.exit_code or result.timed_out:
            raise BuilderError(_prepare_failure(platform, spec, kind, result))
        image = container.commit(REPOSITORY, labels[_LABELS["recipe"]][:16], labels)
    return _image(engine, image)


def _image(engine: Engine, reference: str) -> ImageInfo:
    info = engine.image(reference)
    if info is None:
        raise BuilderError(f"image {reference} vanished while it was being prepared; try again")
    return info


def _made_labels(platform: settings.Platform, base: BaseImage, kind: str) -> dict[str, str]:
    values = {
        "recipe": recipe(platform, base.id),
        "platform": platform.name,
        "kind": kind,
        "base": base.id,
        "base-source": base.source,
        "command": hashlib.sha256(platform.pre_command.encode()).hexdigest(),
    }
    return {_LABELS[key]: value for key, value in values.items()}


def _prepare_failure(platform: settings.Platform, spec: RunSpec, kind: str, result: RunResult) -> str:
    setting = "pre_command" if kind == "builder" else "verify_command"
    end = f"failed with exit code {result.exit_code}"
    if result.timed_out:
        end = f"did not end within {spec.limits.timeout} seconds (container:timeout)"
    hint = ""
    if "exec format error" in result.log:
        hint = "; this machine cannot run that architecture, install qemu-user-static (binfmt)"
    command = _short(platform.pre_command)
    reason = f"{_reason(result.log)}{hint}; its log is {spec.log_path}"
    return f"{platform.name}: {setting} {command!r} {end}: {reason}"


def _remove_superseded(engine: Engine, made: ImageInfo, rebuild_after: int) -> None:
    """Remove what nobody will ask for again.

    Two mirrors may give platforms of one name different commands: those images live until they are too old.
    """
    same = {_LABELS[key]: made.labels[_LABELS[key]] for key in ("platform", "kind")}
    for info in engine.find(same):
        ours = info.labels.get(_LABELS["command"]) == made.labels[_LABELS["command"]]
        if info.id != made.id and (ours or _expired(info, rebuild_after)):
            try:
                engine.remove_image(info.id)
            except EngineError:
                # In use by another run, which will leave it to the next one.
                continue


def profile(
    engine: Engine,
    image: BuilderImage,
    platform: settings.Platform,
    limits: settings.Container,
    *,
    workdir: Path,
) -> TargetProfile:
    """Ask the platform's interpreter and its own pip what they are."""
    log_path = workdir / "profile.log"
    with _Workplace(workdir / "profile", keep_out=False) as place:
        place.put("profile.py", inside.source("profile"))
        spec = place.spec(
            image.id,
            platform.python,
            "profile.py",
            limits,
            log_path=log_path,
            name=f"profile-{platform.name}",
        )
        result = _run_python(engine, spec, platform, "pre_command")
    if result.exit_code or result.timed_out:
        raise BuilderError(
            f"{platform.name}: no profile of {platform.python}: {_reason(result.log)}; its log is {log_path}"
        )
    try:
        data = json.loads(result.log.split(_BEGIN, 1)[1].split(_END, 1)[0])
        data.update(image=image.id, image_source=image.base_source, made=_iso(datetime.now(timezone.utc)))
        return TargetProfile.from_data(data)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise BuilderError(
            f"{platform.name}: the profile cannot be read ({error}); its log is {log_path}"
        ) from error


def _run_python(engine: Engine, spec: RunSpec, platform: settings.Platform, setting: str) -> RunResult:
    try:
        return engine.run(spec)
    except EngineError as error:
        if not re.search(r"executable file not found|no such file or directory", str(error)):
            raise
        raise BuilderError(
            f"{platform.name}: the image has no {platform.python}; install it in {setting}, or set python"
        ) from error


# --- source distributions, read on the host without unpacking -------------------------------------


def read_build_system(sdist: Path) -> BuildSystem:
    """The build system that TOP/pyproject.toml names, or the default."""
    content = _read_top(sdist, "pyproject.toml")
    if content is None:
        return BuildSystem()
    try:
        table = _toml(content.decode()).get("build-system")
        if table is None:
            return BuildSystem()
        system = BuildSystem(
            tuple(map(str, (Requirement(text) for text in _strings(table, "requires")))),
            table.get("build-backend") or LEGACY_BACKEND,
            tuple(_strings(table, "backend-path", ())),
        )
        _check_backend(system)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BuildError(
            f"{sdist.name}: pyproject.toml: [build-system] is invalid: {_short(str(error))}"
        ) from error
    return system


def read_pkg_info(sdist: Path) -> str | None:
    """The text of TOP/PKG-INFO."""
    content = _read_top(sdist, "PKG-INFO")
    return None if content is None else content.decode("utf-8", "replace")


def _check_backend(system: BuildSystem) -> None:
    if not re.fullmatch(r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?", system.backend):
        raise ValueError(f"build-backend {system.backend!r} is no importable object")
    for path in system.backend_path:
        if posixpath.isabs(path) or ".." in path.split("/"):
            raise ValueError(f"backend-path {path!r} lies outside the source directory")


def _strings(table: Mapping[str, Any], key: str, default: Sequence[str] | None = None) -> Sequence[str]:
    value = table.get(key, default)
    if value is None:
        raise ValueError(f"{key} is missing")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} must be a list of strings")
    return value


def _toml(text: str) -> dict[str, Any]:
    # Python 3.10 has none of its own.
    parser: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    table: dict[str, Any] = parser.loads(text)
    return table


def _read_top(sdist: Path, wanted: str) -> bytes | None:
    """The file of that name in the archive's only top directory; of several the last, as when unpacking."""
    tops: set[str] = set()
    content: dict[str, bytes] = {}
    try:
        for name, stream in _members(sdist):
            top, _, rest = posixpath.normpath(name).partition("/")
            tops.add(top)
            if wanted in (rest, top if not rest else None) and len(content) < 2:
                data = stream.read(_METADATA_SIZE + 1) if stream else b""
                if stream is None or len(data) > _METADATA_SIZE:
                    raise BuildError(
                        f"{sdist.name}: {wanted} is not a regular file of at most {_METADATA_SIZE} bytes"
                    )
                content[f"{top}/{rest}".rstrip("/")] = data
    except (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BuildError(f"{sdist.name}: cannot be read: {_short(str(error))}") from error
    tops.discard(".")
    return content.get(f"{next(iter(tops))}/{wanted}" if len(tops) == 1 else wanted)


def _members(sdist: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """(name, content if it is a regular file) of every member; a small archive can unpack to anything."""
    if zipfile.is_zipfile(sdist) and sdist.suffix == ".zip":
        with zipfile.ZipFile(sdist) as archive:
            if len(archive.infolist()) > _MEMBERS:
                raise ValueError("too many members")
            for info in archive.infolist():
                with archive.open(info) as stream:
                    yield info.filename, stream
        return
    with tarfile.open(sdist) as tar:
        for number, member in enumerate(tar):
            if number > _MEMBERS or member.offset_data + member.size > _UNPACKED:
                raise ValueError("too many members, or too large")
            yield member.name, tar.extractfile(member) if member.isreg() else None


# --- builds ---------------------------------------------------------------------------------------


def build(
    engine: Engine,
    image: BuilderImage,
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
        result, out = _run_build(engine, image, profile, request, limits, workdir=workdir, log_path=log_path)
        if not request.have_requires and not result.timed_out and os.path.lexists(out / "requires.json"):
            # Even where the build went on and failed: a version too old may well be the reason.
            unmet = _unmet(read_requires(out / "requires.json", what), request, profile)
            if unmet:
                return unmet
        if result.exit_code != MORE_REQUIREMENTS or request.have_requires:
            break
        # It asked for what does not apply here, or by a name that only the host could tell to be there.
        request = dataclasses.replace(request, have_requires=True)
    if result.exit_code or result.timed_out or result.oom_killed:
        raise BuildError(f"{what}: the build {_build_end(result, limits)}; its log is {log_path}")
    return _only_wheel(out, what, log_path)


def _run_build(
    engine: Engine,
    image: BuilderImage,
    profile: TargetProfile,
    request: BuildRequest,
    limits: settings.Container,
    *,
    workdir: Path,
    log_path: Path,
) -> tuple[RunResult, Path]:
    facts = {
        "sdist": request.sdist.name,
        "backend": request.backend,
        "backend_path": request.backend_path,
        "have_requires": request.have_requires,
        "have": [parse_wheel_filename(wheel.name)[0] for wheel in request.wheels],
    }
    with _Workplace(workdir) as place:
        make_environment(place.environment, profile, request.wheels)
        _copy_checked(request.sdist, place.inputs / request.sdist.name, request.sha256)
        place.put("build.py", inside.source("build"))
        place.put("request.json", json.dumps(facts))
        name = f"build-{request.project}"
        spec = place.spec(image.id, profile.base_executable, "build.py", limits, log_path=log_path, name=name)
        mounts = (*spec.mounts, Mount(place.environment, "/pipmirror/env"))
        return engine.run(dataclasses.replace(spec, mounts=mounts, network=request.network)), place.out


def _unmet(asked: Sequence[str], request: BuildRequest, profile: TargetProfile) -> list[str]:
    """Those that apply on the platform and that no wheel of the build environment meets."""
    have = {name: version for name, version, _, _ in (parse_wheel_filename(w.name) for w in request.wheels)}

    def met(requirement: Requirement) -> bool:
        version = have.get(canonicalize_name(requirement.name))
        return version is not None and requirement.specifier.contains(version, prereleases=True)

    requirements = [Requirement(text) for text in asked]
    return [str(r) for r in requirements if profile.applies(r.marker) and not met(r)]


def make_environment(directory: Path, profile: TargetProfile, wheels: Iterable[Path]) -> None:
    """Lay out the virtual environment that stands at /pipmirror/env inside."""
    names = ("purelib", "platlib", "scripts", "include", "data")
    paths = {name: directory / _relative(profile.paths.get(name, "")) for name in names}
    for path in (directory, directory / "bin", *paths.values()):
        path.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        _unpack(wheel, paths)
    executable = profile.base_executable
    if not re.fullmatch(r"/[^\x00-\x1f]+", executable):
        raise BuildError(
            f"the profile's interpreter {executable!r} is not an absolute path; prepare the platform again"
        )
    (directory / "pyvenv.cfg").write_text(
        f"home = {posixpath.dirname(executable)}\ninclude-system-site-packages = false\n"
        f"version = {profile.markers['python_full_version']}\n"
    )
    # Only now: a wheel that brings its own bin/python must not write through our link to the host's.
    for name in ("python", "python3"):
        link = directory / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(executable)
    _make_readable(directory)


def _relative(path: str) -> str:
    if not path or posixpath.isabs(path) or ".." in path.split("/"):
        raise BuildError(
            f"the profile's path {path!r} leads out of the environment; prepare the platform again"
        )
    return path


def _unpack(wheel: Path, paths: Mapping[str, Path]) -> None:
    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    try:
        with WheelFile.open(wheel) as source:
            source.validate_record()
            scheme = {name: str(path) for name, path in paths.items()}
            scheme["headers"] = str(paths["include"] / canonicalize_name(source.distribution))
            # Every path is checked against its directory there; like pip, later wheels overwrite.
            destination = SchemeDictionaryDestination(
                scheme, interpreter="/pipmirror/env/bin/python", script_kind="posix", overwrite_existing=True
            )
            install(source, destination, {"INSTALLER": b"pipmirror\n"})
    except (InstallerError, ValueError, KeyError, AssertionError, OSError, zipfile.BadZipFile) as error:
        reason = _short(str(error)) or type(error).__name__
        raise BuildError(f"{wheel.name}: cannot become part of a build environment: {reason}") from error


def read_requires(path: Path, what: str) -> list[str]:
    """The requirements that a backend has written down: strangers' words, so few, short and valid."""
    try:
        found = json.loads(_read_untrusted(path, _REQUIRES_SIZE))
        if not isinstance(found, list) or len(found) > 100:
            raise ValueError("not a list of at most 100 requirements")
        if not all(isinstance(text, str) and len(text) <= 500 for text in found):
            raise ValueError("not a list of short strings")
        return [str(Requirement(text)) for text in found]
    except (OSError, ValueError, RecursionError, InvalidRequirement) as error:
        raise BuildError(
            f"{what}: the build backend asks for invalid requirements: {_short(str(error))}"
        ) from error


def _only_wheel(out: Path, what: str, log_path: Path) -> Path:
    wheels = [entry for entry in os.scandir(out) if entry.name.endswith(".whl")]
    if len(wheels) != 1 or not wheels[0].is_file(follow_symlinks=False):
        names = ", ".join(sorted(harmless(entry.name) for entry in wheels)) or "none"
        raise BuildError(
            f"{what}: the build must leave exactly one wheel, not {_short(names)}; its log is {log_path}"
        )
    return Path(wheels[0].path)


def _build_end(result: RunResult, limits: settings.Container) -> str:
    if result.timed_out:
        return f"did not end within {limits.timeout} seconds (container:timeout)"
    if result.oom_killed:
        return f"ran out of memory at {limits.memory >> 20} MiB (container:memory)"
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, result.log)), "")
    return f"failed with exit code {result.exit_code}: {_reason(result.log)}" + (f"; {hint}" if hint else "")


# --- offline installs -----------------------------------------------------------------------------


def verify(
    engine: Engine,
    image: BuilderImage,
    platform: settings.Platform,
    *,
    wheels: Path,
    requirements: Sequence[str],
    constraints: Sequence[str] = (),
    prereleases: bool = False,
    limits: settings.Container,
    workdir: Path,
) -> VerifyOutcome:
    """Install the set from these wheels alone, with the target's own pip; VerifyError if pip will not."""
    start, log_path = time.monotonic(), workdir / "verify.log"
    projects = [canonicalize_name(Requirement(text).name) for text in requirements]
    request = {
        "requirements": list(requirements),
        "constraints": list(constraints),
        "prereleases": prereleases,
    }
    with _Workplace(workdir / "verify", keep_out=False) as place:
        place.put("verify.py", inside.source("verify"))
        place.put("request.json", json.dumps({**request, "projects": list(dict.fromkeys(projects))}))
        spec = place.spec(
            image.id, platform.python, "verify.py", limits, log_path=log_path, name=f"verify-{platform.name}"
        )
        mounts = (*spec.mounts, Mount(wheels, "/pipmirror/wheels"))
        # The mirror's files may be for a group of readers only.
        groups = (wheels.stat().st_gid,)
        result = _run_python(
            engine, dataclasses.replace(spec, mounts=mounts, groups=groups), platform, "verify_command"
        )
        if result.exit_code or result.timed_out:
            raise VerifyError(_verify_failure(platform, requirements, result, limits, log_path))
        return _outcome(place.out / "result.json", set(projects), time.monotonic() - start, log_path)


def _verify_failure(
    platform: settings.Platform,
    requirements: Sequence[str],
    result: RunResult,
    limits: settings.Container,
    log_path: Path,
) -> str:
    # The first error names the requirement; the ones after it comment.
    errors = (line for line in result.log.splitlines() if line.startswith("ERROR:"))
    reason = _short(next(errors, "") or _reason(result.log))
    if result.timed_out:
        reason = f"no end within {limits.timeout} seconds (container:timeout)"
    elif result.oom_killed:
        reason = f"out of memory at {limits.memory >> 20} MiB (container:memory)"
    wanted = _short(", ".join(requirements))
    return f"{platform.name}: {wanted} does not install without network: {reason}; pip's log is {log_path}"


def _outcome(path: Path, projects: set[NormalizedName], seconds: float, log_path: Path) -> VerifyOutcome:
    try:
        data = json.loads(_read_untrusted(path, _RESULT_SIZE))
        installed = tuple((_short(str(name)), _short(str(version))) for name, version in data["installed"])
        ran = {
            project: Ran(_short(str(row["command"])), row["ok"] is True, _short(str(row["output"])))
            for project, row in data["ran"].items()
            if project in projects
        }
        return VerifyOutcome(installed, ran, _short(str(data["pip"])), seconds, log_path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise VerifyError(
            f"the result of an install cannot be read ({_short(str(error))}); its log is {log_path}"
        ) from error


# --- what they share ------------------------------------------------------------------------------


@final
class _Workplace:
    """The directories of one hardened run, removed at its end, but for what came out where that is kept."""

    def __init__(self, root: Path, *, keep_out: bool = True) -> None:
        self.root = root.resolve()
        self._keep_out = keep_out
        self.environment, self.inputs, self.out, self.scratch = (
            self.root / name for name in ("env", "in", "out", "scratch")
        )

    def __enter__(self) -> _Workplace:
        for path in (self.environment, self.inputs, self.out, self.scratch):
            discard(path)
        # Outsiders have no business here: what lies below is written by strangers.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.inputs.mkdir()
        self.inputs.chmod(0o755)
        give_away(self.out)
        return self

    def __exit__(self, *_: object) -> None:
        for path in (self.environment, self.inputs, self.scratch):
            discard(path)
        if not self._keep_out:
            discard(self.root)

    def put(self, name: str, text: str) -> None:
        (self.inputs / name).write_text(text, encoding="utf-8")
        (self.inputs / name).chmod(0o644)

    def spec(
        self, image: str, python: str, script: str, limits: settings.Container, *, log_path: Path, name: str
    ) -> RunSpec:
        return RunSpec(
            image=image,
            # Isolated: neither the image's PYTHON… variables nor the script's own directory.
            command=(python, "-I", f"/pipmirror/in/{script}"),
            mounts=(Mount(self.inputs, "/pipmirror/in"), Mount(self.out, "/pipmirror/out", read_only=False)),
            limits=limits,
            scratch=self.scratch,
            log_path=log_path,
            name=name,
        )


def discard(path: Path) -> None:
    """Remove a tree that strangers may have built, however deep."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except RecursionError:
        # Python's own removal recurses; a hostile build nests directories by the thousand.
        subprocess.run(["rm", "-rf", "--", str(path)], check=True, stdin=subprocess.DEVNULL)


def _read_untrusted(path: Path, limit: int) -> bytes:
    # A link could lead to a secret, and opening a pipe would wait for a writer that never comes.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return content


def _copy_checked(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while chunk := reader.read(1 << 20):
            digest.update(chunk)
            writer.write(chunk)
    target.chmod(0o644)
    if digest.hexdigest() != sha256:
        raise BuildError(f"{source.name}: its sha256 is {digest.hexdigest()}, not {sha256}; fetch it again")


def _make_readable(directory: Path) -> None:
    """Let an unprivileged user read it, whatever our own umask is."""
    for path in (directory, *directory.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        elif path.is_file() and not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _reason(log: str) -> str:
    """The line of a log that says best what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("pipmirror: ")]
    telling = (
        line
        for line in reversed(lines)
        if re.search(r"\bE: |[Ee]rror\b|ERROR|Error:|No such|not found|^no pip", line)
    )
    return _short(next(telling, "") or (lines[-1] if lines else "no output"))


def _short(text: str) -> str:
    words = " ".join(harmless(text).split())
    return words if len(words) <= 300 else words[:299] + "…"


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
