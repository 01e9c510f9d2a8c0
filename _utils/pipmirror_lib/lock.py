"""The lock: a platform's closures from the index, file by file, as a sync would fetch and build them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.utils import NormalizedName
from packaging.version import Version

from pipmirror_lib import explain, resolve
from pipmirror_lib.candidates import Candidate, Source
from pipmirror_lib.errors import PackageIndexError, ResolutionError
from pipmirror_lib.index import Index
from pipmirror_lib.index_source import IndexSource
from pipmirror_lib.local import LocalSource
from pipmirror_lib.plan import question
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Mirror, Platform
from pipmirror_lib.wheels import Metadata
from pipmirror_lib.world import Question


@dataclass(frozen=True)
class Lock:
    """What each satisfiable set needs, what the others lack, and what only a build would tell."""

    sets: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    undecided: Mapping[str, str] = field(default_factory=dict)

    @property
    def coming(self) -> list[Candidate]:
        """The files that do not lie there yet."""
        files = {c.filename: c for closure in self.sets.values() for c in closure if c.path is None}
        return [files[name] for name in sorted(files)]


def make(
    mirror: Mirror,
    platform: Platform,
    profile: TargetProfile,
    present: LocalSource,
    index: Index,
    *,
    upgrade: bool = False,
    build: Callable[[Candidate], Metadata] | None = None,
    begin: Callable[[Candidate], None] | None = None,
    direct: Mapping[str, Candidate] | None = None,
    made: Mapping[Candidate, Metadata] | None = None,
) -> Lock:
    """Resolve every set against the index; a set that cannot be satisfied does not keep the others back.

    Wheels that lie in the mirror are preferred unless `upgrade` is set. `direct` says what references became, and
    `made` what those require that do not lie there yet. Raises PackageIndexError when the
    index cannot be asked for any set; without `build`, no container is started and `undecided` says what that left.
    """
    common: dict[str, Any] = {"min_age": mirror.min_age, "build": build, "begin": begin, "made": made}
    source = IndexSource(index, present.by_project, present.metadata, upgrade=upgrade, **common)
    content = IndexSource(index, present.by_project, present.metadata, content=True, **common)
    # What lies there and serves has no need of its page; only where something must give way are all asked.
    first = content if present.names and not upgrade else None
    preferred = {} if upgrade else _present_versions(present)
    found = _Found(direct or {})
    for wanted in platform.sets:
        found.ask(wanted.name, question(mirror, wanted, profile, found.direct, preferred), first, source)
    if found.away and len(found.away) == len(platform.sets):
        raise found.away[0]
    found.warnings.update(dict.fromkeys(_read_itself(found.sets, index.lacking)))
    return Lock(found.sets, found.missing, tuple(found.warnings), {**content.undecided, **source.undecided})


def _present_versions(source: LocalSource) -> dict[NormalizedName, frozenset[Version]]:
    """What lies there, to be preferred when something is added."""
    return {name: frozenset(c.version for c in files) for name, files in source.by_project.items()}


class _Found:
    """What becomes a lock, set by set; `direct` says what references became."""

    def __init__(self, direct: Mapping[str, Candidate]) -> None:
        self.direct = direct
        self.became = {candidate.filename: candidate for candidate in direct.values()}
        self.sets: dict[str, tuple[Candidate, ...]] = {}
        self.missing: dict[str, str] = {}
        self.warnings: dict[str, None] = {}
        self.away: list[PackageIndexError] = []

    def ask(self, name: str, asked: Question, first: Source | None, source: Source) -> None:
        """Answer a set's question, from `first` where that takes no search."""
        try:
            answer = (first and resolve.at_once(asked, first)) or resolve.resolve(asked, source)
        except (ResolutionError, PackageIndexError) as error:
            self.missing[f"set {name}"] = str(error)
            self.away += [error] if isinstance(error, PackageIndexError) else []
        else:
            self._add(name, answer)

    def _add(self, name: str, answer: resolve.Answer) -> None:
        explain.gather(self.missing, answer.missing, name)
        self.warnings.update(dict.fromkeys(answer.warnings))
        if clash := _clash(answer.closure.values(), self.became):
            self.missing[f"set {name}"] = clash
        elif answer.satisfied:
            # Of one name they are one file, as far as the index says.
            self.sets[name] = tuple(self.became.get(c.filename, c) for c in answer.closure.values())


def _read_itself(sets: Mapping[str, Iterable[Candidate]], lacking: Mapping[str, str]) -> Iterator[str]:
    for candidate in (candidate for closure in sets.values() for candidate in closure):
        if candidate.url in lacking:
            yield f"{candidate.filename}: {lacking[candidate.url]}; it was read from the wheel itself"


def _clash(closure: Iterable[Candidate], became: Mapping[str, Candidate]) -> str:
    """One directory cannot hold two files of one name: the index's, and the one that a URL became."""
    for candidate in closure:
        other = became.get(candidate.filename, candidate)
        if other.sha256 != candidate.sha256 and candidate.sha256:  # some indexes say none
            return (
                f"{candidate.filename} is wanted from the index here, and is what a URL became elsewhere; use mirrors"
            )
    return ""
