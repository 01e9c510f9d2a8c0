"""Worlds as data: projects, a target and requirements, for the decision alone or for real pip too.

A case of `tests/unit/cases/*.json` says in `files` what there is, each by the stem of its name:

    "demo-1.0": ["other>=1"]                            a wheel py3-none-any with these Requires-Dist
    "demo-1.1": {"requires": […], "extras": {…}, …}     and whatever else a `File` has

in `want` what is declared, and what must come of it: `closure` {project: version} (or the whole file name),
or `missing` {declared requirement: regular expression of the reason}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from pipmirror_lib.candidates import Candidate, named
from pipmirror_lib.errors import BuildError, WheelError
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.wheels import Metadata, check_belonging, parse_metadata
from pipmirror_lib.world import Question

from tests.support.dists import core_metadata, make_sdist, make_wheel

CASES = Path(__file__).resolve().parents[1] / "unit" / "cases"
PURE = "py3-none-any"


def _tags(minor: int, glibc: int, machine: str = "x86_64") -> tuple[str, ...]:
    platforms = [f"linux_{machine}"]
    for level in range(glibc, 4, -1):
        platforms.append(f"manylinux_2_{level}_{machine}")
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(level)
        platforms += [f"{legacy}_{machine}"] if legacy else []
    interpreter = f"cp3{minor}"
    tags = [*cpython_tags((3, minor), [interpreter], platforms), *compatible_tags((3, minor), interpreter, platforms)]
    return tuple(map(str, tags))


def make_profile(python: str = "3.11.2", glibc: int = 36, machine: str = "x86_64", **changes: Any) -> TargetProfile:
    """CPython on Debian: linux, MACHINE, glibc 2.GLIBC."""
    minor = python.split(".")[1]
    markers = {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "6.1.0-18-amd64",
        "platform_system": "Linux",
        "platform_version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
        "python_full_version": python,
        "python_version": f"3.{minor}",
        "sys_platform": "linux",
    }
    said = {
        "markers": markers,
        "tags": _tags(int(minor), glibc, machine),
        "pip_version": "26.3",
        "base_executable": f"/usr/bin/python3.{minor}",
        "paths": {"purelib": f"lib/python3.{minor}/site-packages", "scripts": "bin"},
        "image": "sha256:0000",
        **changes,
    }
    return TargetProfile.from_data(said)


PROFILE = make_profile()


@dataclass(frozen=True)
class File:
    """What a case says of one file; `unusable` and `unbuildable` are what reading its metadata raises.

    `inside` is the name and version that the metadata say, where that is not what the file name says.
    """

    project: str
    version: str
    requires: Sequence[str] = ()
    extras: Mapping[str, Sequence[str]] = field(default_factory=dict)
    python: str | None = None
    tag: str = PURE
    build: str = ""
    sdist: bool = False
    built: bool = False
    yanked: str | None = None
    page_python: str | None = None
    inside: str = ""
    unusable: str = ""
    unbuildable: str = ""

    @property
    def filename(self) -> str:
        stem = f"{self.project.replace('-', '_')}-{self.version}"
        return f"{stem}.tar.gz" if self.sdist else "-".join(filter(None, (stem, self.build, self.tag))) + ".whl"

    @property
    def pure(self) -> bool:
        """Whether a directory of wheels can hold it, and every interpreter take it."""
        plain = not (self.sdist or self.built or self.unusable or self.unbuildable or self.page_python)
        return plain and self.yanked is None and self.tag == PURE and not self.build

    def metadata(self) -> Metadata:
        if self.unbuildable:
            raise BuildError(self.unbuildable)
        if self.unusable:
            raise WheelError(self.unusable)
        metadata = parse_metadata(self.text.encode())
        if self.inside:
            check_belonging(metadata, canonicalize_name(self.project), Version(self.version), self.filename)
        return metadata

    @property
    def text(self) -> str:
        name, version = self.inside.split() if self.inside else (self.project, self.version)
        return core_metadata(name, version, requires=self.requires, extras=self.extras, requires_python=self.python)

    def candidate(self) -> Candidate | None:
        project = canonicalize_name(self.project)
        name = named(self.filename, project)
        return name and Candidate(
            project=project,
            version=name[0],
            filename=self.filename,
            wheel=name[1],
            url=f"https://index.invalid/{self.filename}",
            requires_python=self.page_python or (None if self.sdist else self.python),
            yanked=self.yanked,
            built=self.built,
        )

    def make(self, directory: Path) -> Path:
        about: Any = {"requires": self.requires, "extras": self.extras, "requires_python": self.python}
        about["filename"] = self.filename
        if self.sdist:  # without any build requirement, and with the promise that PKG-INFO says it all
            return make_sdist(directory, self.project, self.version, intree_backend=True, static_metadata=True, **about)
        about |= {"tag": self.tag, "build": self.build, "metadata": self.text}
        return make_wheel(directory, self.project, self.version, **about)


class MemorySource:
    """Candidates that exist nowhere; counts what is asked of it."""

    where = "in memory"
    ahead = None

    def __init__(self, files: Iterable[File]) -> None:
        self.described: dict[str, File] = {}
        self.by_project: dict[NormalizedName, list[Candidate]] = {}
        self.asked: list[str] = []
        self.prefetched: list[list[str]] = []
        for file in files:
            if candidate := file.candidate():
                self.described[file.filename] = file
                self.by_project.setdefault(candidate.project, []).append(candidate)

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate for files in self.by_project.values() for candidate in files]

    def files(self, project: NormalizedName) -> Sequence[Candidate]:
        return self.by_project.get(project, ())

    def withheld(self, project: NormalizedName) -> str:
        return ""

    def metadata(self, candidate: Candidate) -> Metadata:
        self.asked.append(candidate.filename)
        return self.described[candidate.filename].metadata()

    def prefetch(self, projects: Iterable[NormalizedName], candidates: Iterable[Candidate]) -> None:
        self.prefetched.append([*projects, *(candidate.filename for candidate in candidates)])


@dataclass(frozen=True)
class Case:
    """One world and what must come of it."""

    name: str
    files: tuple[File, ...]
    want: tuple[str, ...]
    closure: Mapping[str, str] | None = None
    missing: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    prereleases: bool | tuple[str, ...] = False
    no_binary: tuple[str, ...] = ()
    preferred: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # How an index shows it: no JSON, no `.metadata`.
    html: bool = False
    core_metadata: bool = True
    differs: str = ""
    why: str = ""

    @property
    def for_pip(self) -> bool:
        """Whether pip, told to look into a directory, is asked the same question."""
        said = isinstance(self.prereleases, bool) and not (self.no_binary or self.preferred or self.differs)
        return said and all(file.pure for file in self.files)

    def source(self) -> MemorySource:
        return MemorySource(self.files)

    def question(self, profile: TargetProfile = PROFILE) -> Question:
        allowed = self.prereleases
        return Question(
            requirements=tuple(map(Requirement, self.want)),
            profile=profile,
            constraints=tuple(map(Requirement, self.constraints)),
            prereleases=allowed if isinstance(allowed, bool) else tuple(map(canonicalize_name, allowed)),
            no_binary=tuple(map(canonicalize_name, self.no_binary)),
            preferred={canonicalize_name(k): frozenset(map(Version, v)) for k, v in self.preferred.items()},
            timeout=60,
        )


def _file(stem: str, said: Sequence[str] | Mapping[str, Any]) -> File:
    # Two files of one version differ in what follows a `|`, which is only there to tell them apart.
    project, _, version = stem.partition("|")[0].rpartition("-")
    about: Mapping[str, Any] = said if isinstance(said, Mapping) else {"requires": said}
    return File(project, version, **about)


def read_case(topic: str, said: Mapping[str, Any]) -> Case:
    lists = {key: tuple(said[key]) for key in ("want", "warnings", "constraints", "no_binary") if key in said}
    allowed = said.get("prereleases", False)
    files = tuple(_file(stem, about) for stem, about in said["files"].items())
    rest = {**said, **lists, "name": f"{topic}: {said['name']}", "files": files}
    return Case(**{**rest, "prereleases": allowed if isinstance(allowed, bool) else tuple(allowed)})


def load_cases() -> list[Case]:
    """Every case of every file, in order."""
    paths = sorted(CASES.glob("*.json"))
    return [read_case(path.stem, said) for path in paths for said in json.loads(path.read_text())]


def as_json(case: Case) -> str:
    """The case as one of a file of cases, without what is as usual."""
    said = {key: value for key, value in vars(case).items() if value != getattr(_PLAIN_CASE, key)}
    said["files"] = {}
    for file in case.files:
        about = {key: value for key, value in vars(file).items() if value != getattr(_PLAIN_FILE, key)}
        del about["project"], about["version"]
        stem = f"{file.project}-{file.version}"
        stem += f"|{len(said['files'])}" if stem in said["files"] else ""
        said["files"][stem] = about["requires"] if list(about) == ["requires"] else about or []
    return json.dumps({"name": case.name.partition(": ")[2] or case.name, **said})


_PLAIN_FILE = File("", "")
_PLAIN_CASE = Case("", (), ())


def slug(case: Case) -> str:
    return re.sub(r"\W+", "-", case.name).strip("-")
