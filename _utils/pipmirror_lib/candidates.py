"""Candidates: the files that could serve a project, in the order in which pip would take them.

https://packaging.python.org/en/latest/specifications/version-specifiers/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain, count, islice
from operator import itemgetter
from pathlib import Path
from typing import Protocol, overload

from packaging.specifiers import SpecifierSet
from packaging.utils import BuildTag, NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from pipmirror_lib.errors import WheelError
from pipmirror_lib.parts import REMEMBERED, within
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.wheels import Metadata, WheelName, parse_name, parse_version

# A name from a page becomes a path, also with something behind it while the file is on its way; the parsers that
# follow would let tags with slashes pass.
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]{0,219}")
SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tgz")


@dataclass(frozen=True)
class Candidate:
    """One file: a wheel that lies in the mirror (`path`) or a wheel or sdist on an index (`url`)."""

    project: NormalizedName
    version: Version
    filename: str
    wheel: WheelName | None = field(default=None, compare=False)
    path: Path | None = None
    url: str = field(default="", compare=False)
    sha256: str = ""
    size: int | None = field(default=None, compare=False)
    requires_python: str | None = field(default=None, compare=False)
    upload_time: str = field(default="", compare=False)
    yanked: str | None = field(default=None, compare=False)
    # By the administrator, not by upstream.
    yanked_here: bool = field(default=False, compare=False)
    # The sha256 of a PEP 658 `.metadata` file, '' where it is offered without one, None where it is not.
    metadata_sha256: str | None = field(default=None, compare=False)
    built: bool = field(default=False, compare=False)
    # From a declared URL, not from an index.
    by_url: bool = field(default=False, compare=False)
    # The sdist that a wheel was built from here: its file name and sha256.
    source: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_sdist(self) -> bool:
        return self.wheel is None

    @property
    def build(self) -> BuildTag:
        return self.wheel.build if self.wheel else ()

    def __hash__(self) -> int:
        """Equal candidates have equal names; the other fields are slow to hash, and every look-up would do it."""
        return hash(self.filename)

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


class Ahead(Protocol):
    """Where that which a decision will ask for can be sent for before."""

    def page_of(self, project: NormalizedName) -> Future[NewestFirst] | None:
        """When its files will be known; None where nothing need be asked."""

    def metadata_of(self, candidate: Candidate) -> Future[Metadata] | None:
        """When it will be known what a file requires; None where that is at hand."""

    def glance_at(self, candidate: Candidate) -> None:
        """The same for one that a search may try, and that is probably not what it ends with."""


class Source(Protocol):
    """Where candidates come from: the directory, the index, or both; `where` says it to people."""

    where: str

    @property
    def ahead(self) -> Ahead | None:
        """None where everything is at hand."""

    def files(self, project: NormalizedName) -> Sequence[Candidate]:
        """Every file of a project; empty where it is unknown. Of files that are equally good, pip takes the last."""

    def withheld(self, project: NormalizedName) -> str:
        """Why files of a project are not among them, for people; '' where they all are."""

    def metadata(self, candidate: Candidate) -> Metadata:
        """What the file requires; WheelError where that cannot be said, and the candidate is discarded."""

    def prefetch(self, projects: Iterable[NormalizedName], candidates: Iterable[Candidate]) -> None:
        """A hint of what will be asked next; may fetch it in parallel, must not raise."""


def named(filename: str, project: NormalizedName) -> tuple[Version, WheelName | None] | None:
    """Version (and wheel parts) that a file name on a project's page stands for; None if pip would skip it."""
    if not SAFE_NAME.fullmatch(filename):
        return None
    if filename.endswith(".whl"):
        try:
            wheel = parse_name(filename)
        except WheelError:
            return None
        return (wheel.version, wheel) if wheel.project == project else None
    suffix = next((s for s in SDIST_SUFFIXES if filename.endswith(s)), "")
    stem = filename[: -len(suffix)] if suffix else ""
    # An sdist's project may hold hyphens: the split is where the left side is the project.
    for position, letter in enumerate(stem):
        if letter == "-" and canonicalize_name(stem[:position]) == project:
            try:
                return parse_version(stem[position + 1 :]), None
            except InvalidVersion:
                continue
    return None


class NewestFirst(Sequence[Candidate]):
    """A project's files by version, the newest first; those of a page are sorted once for all platforms.

    Pages have thousands of files and a decision looks at a few, so a file is read when its version is looked at.
    """

    def __init__(self, versions: Iterable[Version], read: Callable[[Version], Sequence[Candidate]]) -> None:
        """`read` gives the files of one of the versions, in the order of their source."""
        self.versions = sorted(versions, reverse=True)
        self._read = read
        self._releases: dict[Version, Sequence[Candidate] | None] = dict.fromkeys(self.versions)

    @classmethod
    def of(cls, files: Iterable[Candidate]) -> NewestFirst:
        releases: dict[Version, list[Candidate]] = {}
        for candidate in files:
            releases.setdefault(candidate.version, []).append(candidate)
        return cls(releases, releases.__getitem__)

    def release(self, version: Version) -> Sequence[Candidate]:
        """The files of one version."""
        if version not in self._releases:
            return ()
        found = self._releases[version]
        if found is None:  # platforms that look at the same moment read equal files
            found = self._releases[version] = self._read(version)
        return found

    def changed(self, change: Callable[[Candidate], Candidate | None], more: Iterable[Candidate] = ()) -> NewestFirst:
        """As one platform sees them: each as `change` makes it (None leaves it out), `more` behind the others."""
        own = NewestFirst.of(more)

        def read(version: Version) -> Sequence[Candidate]:
            seen = [found for candidate in self.release(version) if (found := change(candidate))]
            return [*seen, *own.release(version)]

        return NewestFirst([*self.versions, *(v for v in own.versions if v not in self._releases)], read)

    def __iter__(self) -> Iterator[Candidate]:
        return chain.from_iterable(map(self.release, self.versions))

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def __len__(self) -> int:
        return sum(len(self.release(version)) for version in self.versions)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        return list(self)[index]


class Shelf:
    """The candidates of one project for one target profile: those that fit, best first, and why others don't.

    Files are judged when they are looked at: mostly the newest version fits, and pages have hundreds.
    """

    def __init__(self, files: Sequence[Candidate], profile: TargetProfile, *, binary: bool = True) -> None:
        self._files = files if isinstance(files, NewestFirst) else NewestFirst.of(files)
        self._profile, self._binary = profile, binary
        self._kept: list[Candidate] = []
        self._coming = self._releases()

    def _judge(self, candidate: Candidate) -> tuple[str, int]:
        """('' or why it does not fit, how far from the best tag)."""
        rank = self._profile.rank(candidate.wheel.tags) if candidate.wheel else len(self._profile.tags)
        if rank is None:
            return "tags", 0
        if not self._profile.allows(candidate.requires_python):
            return "python", 0
        if candidate.wheel and not self._binary and not candidate.built:
            return "binary", 0
        return "", rank

    @cached_property
    def rejected(self) -> dict[str, list[Candidate]]:
        """{why they do not fit: files}."""
        found: dict[str, list[Candidate]] = {"python": [], "tags": [], "binary": []}
        for candidate in self._files:
            if fault := self._judge(candidate)[0]:
                found[fault].append(candidate)
        return found

    def _releases(self) -> Iterator[Candidate]:
        """One candidate per version: only the best tag and build of a version ever counts, as in pip.

        Of files that are equally good (`py3-none-any` beside `py2.py3-none-any`) the last one of the source.
        """
        for version in self._files.versions:
            yield from self._ranked(self._files.release(version))[:1]

    def _ranked(self, release: Sequence[Candidate]) -> list[Candidate]:
        judged = [(candidate, *self._judge(candidate)) for candidate in reversed(release)]
        # A file that was yanked alone gives way to another one of its version.
        ranked = [((c.yanked is None, -rank, c.build), c) for c, fault, rank in judged if not fault]
        ranked.sort(key=itemgetter(0), reverse=True)
        return [candidate for _, candidate in ranked]

    def of(self, version: Version) -> list[Candidate]:
        """Every file of one version that fits, best first."""
        return self._ranked(self._files.release(version))

    def __iter__(self) -> Iterator[Candidate]:
        for number in count():
            if number == len(self._kept):
                self._kept.extend(islice(self._coming, 1))
            if number == len(self._kept):
                return
            yield self._kept[number]

    @property
    def best_first(self) -> tuple[Candidate, ...]:
        return tuple(self)

    def matching(self, specifier: SpecifierSet, prereleases: bool | None) -> Iterator[Candidate]:
        """Candidates within the *combined* specifier, best first.

        PEP 440 as current pip reads it: prereleases count when allowed, when any specifier names one, or
        when no final release fits. (packaging 24.0, which Salt pins, lacks the last rule, so it is here.)
        PEP 592: a yanked file serves only a pin that nothing else can meet. One that lies here serves whatever
        nothing else can meet: it was chosen before it was yanked, unless it was by the administrator, whose word is
        for this mirror.
        """
        yanked: list[Candidate] = []
        served = False
        for candidate in self._fitting(specifier, prereleases):
            if candidate.yanked is not None:
                yanked.append(candidate)
            else:
                served = True
                yield candidate
        if not served:
            pinned = _is_pinned(specifier)
            yield from (c for c in yanked if pinned or (c.path and not c.yanked_here))

    def _fitting(self, specifier: SpecifierSet, prereleases: bool | None) -> Iterator[Candidate]:
        """As far as it is asked only: mostly the very first version fits."""
        every = bool(prereleases or _names_prerelease(specifier))
        held_back: list[Candidate] | None = []
        for candidate in self:
            if not every and candidate.version.is_prerelease:
                if held_back is not None and within(specifier, candidate.version):
                    held_back.append(candidate)
            elif within(specifier, candidate.version):
                held_back = None
                yield candidate
        if prereleases is None:
            yield from held_back or ()


def _is_pinned(specifier: SpecifierSet) -> bool:
    return any(one.operator == "===" or (one.operator == "==" and not one.version.endswith(".*")) for one in specifier)


def _names_prerelease(specifier: SpecifierSet) -> bool:
    """Whether it asks for prereleases by naming one; `<` and `>` count too, which older packaging left out."""
    return any(_is_prerelease(one.version) for one in specifier if one.operator != "!=")


@lru_cache(maxsize=REMEMBERED)
def _is_prerelease(text: str) -> bool:
    try:
        return parse_version(text).is_prerelease
    except InvalidVersion:  # `1.*`, or anything after `===`
        return False
