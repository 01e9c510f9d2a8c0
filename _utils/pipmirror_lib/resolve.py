"""The decision: would pip install this set from these candidates, and which would it choose?

One semantics for both sources. The optimistic closure takes the best candidate of every name; where that
leaves nothing missing and nobody unhappy, no other answer could be better and resolvelib is not asked.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver
from resolvelib.structs import RequirementInformation

from pipmirror_lib import explain
from pipmirror_lib.candidates import Candidate, Source
from pipmirror_lib.errors import BuildError, ResolutionError
from pipmirror_lib.parts import within
from pipmirror_lib.world import Question, Want, World

# As pip has them: how many rounds before it gives up, and after how many conflicts a name is tried first.
MAX_ROUNDS = 200_000
PROMOTE_AFTER = 5


@dataclass(frozen=True)
class Answer:
    """Either a closure, or for each declared requirement that is not met the reason."""

    closure: Mapping[NormalizedName, Candidate] = field(default_factory=dict)
    wanted_by: Mapping[NormalizedName, tuple[str, ...]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def satisfied(self) -> bool:
        return not self.missing


def resolve(question: Question, source: Source) -> Answer:
    """Answer the question from the source; ResolutionError only when time or rounds run out."""
    try:
        world = World(source, question)
        if unserved := world.unserved():
            return Answer(missing=unserved)
        roots = world.roots()
    except ValueError as error:
        return Answer(missing={str(r): f"a marker cannot be evaluated: {error}" for r in question.requirements})
    # A declared requirement that nothing meets settles the matter before anything is fetched or built for others.
    source.prefetch(dict.fromkeys(root.project for root in roots), ())
    absent = [root.project for root in roots if world.likely(root.project, [root.requirement.specifier]) is None]
    if absent:
        return Answer(missing=explain.failure(world, world.wants_of(absent)))
    first: Mapping[NormalizedName, Sequence[Want]] = {}
    try:
        closure, absent, unhappy = _optimistic(world, roots)
        if closure is None:
            first = world.wants_of([*absent, *unhappy])
            closure = _search(world, roots)
    except ResolutionImpossible as impossible:
        causes = [cause.requirement.want for cause in impossible.causes if cause.requirement.want]
        return Answer(missing=explain.failure(world, first, causes), warnings=tuple(world.warnings))
    except BuildError:
        # What did not build is the reason, unless it was an old version, tried only because others cannot agree.
        return Answer(missing=explain.failed_builds(world, first), warnings=tuple(world.warnings))
    wanted = {name: tuple(dict.fromkeys(map(str, wants))) for name, wants in world.trace(closure).items()}
    kept = {name: closure[name] for name in wanted}
    return Answer(closure=kept, wanted_by=wanted, warnings=tuple(world.warnings))


def _optimistic(
    world: World, roots: Sequence[Want]
) -> tuple[dict[NormalizedName, Candidate] | None, list[NormalizedName], list[NormalizedName]]:
    """(the closure of best candidates, or None if someone would be unhappy; projects nothing serves; unhappy ones).

    It goes level by level, so that a source over a network can fetch each level in parallel.
    """
    chosen: dict[NormalizedName, Candidate] = {}
    wants: dict[NormalizedName, list[Want]] = {}
    heard: dict[NormalizedName, int] = {}  # how many wants a choice has taken into account
    absent: dict[NormalizedName, None] = {}
    seen: set[tuple[NormalizedName, str]] = set()
    level = list(roots)
    while level:
        fresh = [w.project for w in level if w.project not in chosen]
        world.source.prefetch(dict.fromkeys(fresh), ())
        for want in level:
            wants.setdefault(want.project, []).append(want)
        # A source that has everything at hand does not look at these.
        likely = (world.likely(name, _specifiers(wants[name])) for name in fresh)
        world.source.prefetch((), (candidate for candidate in likely if candidate))
        for name in dict.fromkeys(fresh):
            best = _best(world, name, wants[name])
            if best is None:
                absent[name] = None
            else:
                chosen[name], heard[name] = best, len(wants[name])
        level = list(_next_level(world, level, chosen, seen))
    # Told without looking for a better candidate, because an older one may have to be built for that.
    unhappy = [
        name
        for name, candidate in chosen.items()
        if not all(within(one, candidate.version) for one in _specifiers(wants[name][heard[name] :]))
    ]
    late = [name for name in chosen if heard[name] < len(wants[name])]
    settled = not unhappy and all(_best(world, name, wants[name]) == chosen[name] for name in late)
    return (chosen if settled and not absent else None), list(absent), unhappy


def _best(world: World, project: NormalizedName, wants: Sequence[Want]) -> Candidate | None:
    if any(want.requirement.url for want in wants):
        return None
    return next(world.matching(project, _specifiers(wants)), None)


def _specifiers(wants: Iterable[Want]) -> list[SpecifierSet]:
    return [want.requirement.specifier for want in wants]


def _next_level(
    world: World,
    level: Iterable[Want],
    chosen: Mapping[NormalizedName, Candidate],
    seen: set[tuple[NormalizedName, str]],
) -> Iterator[Want]:
    for want in level:
        project = want.project
        for extra in ("", *want.extras) if project in chosen else ():
            if (project, extra) not in seen:
                seen.add((project, extra))
                yield from world.dependencies(chosen[project], extra)


@dataclass(frozen=True)
class _Need:
    """A requirement as resolvelib sees it: a want of a project's base or of one extra, or one exact candidate."""

    project: NormalizedName
    want: Want | None = None
    extra: str = ""
    exact: Candidate | None = None

    @property
    def key(self) -> tuple[NormalizedName, str]:
        return self.project, self.extra

    @property
    def specifier(self) -> SpecifierSet:
        return self.want.requirement.specifier if self.want else SpecifierSet()

    @property
    def by_url(self) -> bool:
        """A dependency by URL: nothing but that URL meets it, and no source holds URLs."""
        return bool(self.want and self.want.requirement.url)

    def met_by(self, candidate: Candidate) -> bool:
        if self.exact:
            return self.exact == candidate
        return not self.by_url and within(self.specifier, candidate.version)


@dataclass(frozen=True)
class _Choice:
    """A candidate as resolvelib sees it. An extra is a choice of its own that drags its base along, as in pip."""

    candidate: Candidate
    extra: str = ""


_Key = tuple[NormalizedName, str]
_Information = RequirementInformation[_Need, _Choice]


def _search(world: World, roots: Sequence[Want]) -> dict[NormalizedName, Candidate]:
    provider = _Provider(world, roots)
    resolver: Resolver[_Need, _Choice, _Key] = Resolver(provider, BaseReporter())
    needs = [need for root in roots for need in _needs(root)]
    try:
        result = resolver.resolve(needs, max_rounds=MAX_ROUNDS)
    except ResolutionTooDeep as error:
        raise ResolutionError(provider.exhausted("too many rounds")) from error
    return {name: choice.candidate for (name, extra), choice in result.mapping.items() if not extra}


def _needs(want: Want) -> Iterator[_Need]:
    """The extras' needs come without the base's: each drags its base along."""
    if want.extras:
        yield from (_Need(want.project, want, extra) for extra in want.extras)
    else:
        yield _Need(want.project, want)


class _Provider(AbstractProvider[_Need, _Choice, _Key]):
    """pip's policy for resolvelib: what to decide first, which candidates fit, what they drag along."""

    def __init__(self, world: World, roots: Sequence[Want]) -> None:
        self.world = world
        self.deadline = time.monotonic() + world.question.timeout
        self.order = {need.key: number for number, root in reversed(list(enumerate(roots))) for need in _needs(root)}
        # By identity, with the objects themselves, so that no identity is given to another one.
        self._satisfied: dict[tuple[int, int], tuple[bool, _Need, Candidate]] = {}
        self.visits: Counter[NormalizedName] = Counter()
        self.conflicts: Counter[_Key] = Counter()
        self.promoted: set[_Key] = set()

    def identify(self, requirement_or_candidate: _Need | _Choice) -> _Key:
        if isinstance(requirement_or_candidate, _Need):
            return requirement_or_candidate.key
        return requirement_or_candidate.candidate.project, requirement_or_candidate.extra

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[_Key],
        resolutions: Mapping[_Key, _Choice],
        candidates: Mapping[_Key, Iterator[_Choice]],
        information: Mapping[_Key, Iterator[_Information]],
        backtrack_causes: Sequence[_Information],
    ) -> Iterable[_Key]:
        """Backtrack causes first, then names that keep appearing in conflicts (pip's heuristic)."""
        causes: set[_Key] = set()
        for info in backtrack_causes:
            for key in [info.requirement.key, *([self.identify(info.parent)] if info.parent else [])]:
                causes.add(key)
                if key not in resolutions:
                    self.conflicts[key] += 1
                    if self.conflicts[key] >= PROMOTE_AFTER:
                        self.promoted.add(key)
        every = list(identifiers)
        return [key for key in every if key in causes] or [key for key in every if key in self.promoted] or every

    def get_preference(
        self,
        identifier: _Key,
        resolutions: Mapping[_Key, _Choice],
        candidates: Mapping[_Key, Iterator[_Choice]],
        information: Mapping[_Key, Iterator[_Information]],
        backtrack_causes: Sequence[_Information],
    ) -> Any:
        """pip's order: promoted, pinned, bounded above, as declared, any specifier at all, by name."""
        operators = [
            (one.operator, one.version) for info in information[identifier] for one in info.requirement.specifier
        ]
        pinned = any(operator[:2] == "==" and "*" not in version for operator, version in operators)
        bounded = any(op in ("<", "<=", "~=") or (op == "==" and "*" in version) for op, version in operators)
        order = self.order.get(identifier, math.inf)
        return identifier not in self.promoted, not pinned, not bounded, order, not operators, identifier

    def find_matches(
        self,
        identifier: _Key,
        requirements: Mapping[_Key, Iterator[_Need]],
        incompatibilities: Mapping[_Key, Iterator[_Choice]],
    ) -> Callable[[], Iterator[_Choice]]:
        self._check_time()
        project, extra = identifier
        self.visits[project] += 1
        needs = list(requirements.get(identifier, ()))
        if extra:  # what is known of the base binds its extras as well
            needs += requirements.get((project, ""), ())
        excluded = {choice.candidate for choice in incompatibilities.get(identifier, ())}
        exact = {need.exact for need in needs if need.exact}
        if any(need.by_url for need in needs):
            return lambda: iter(())

        def matches() -> Iterator[_Choice]:
            for candidate in exact or self.world.matching(project, [need.specifier for need in needs]):
                if candidate not in excluded and all(need.met_by(candidate) for need in needs):
                    yield _Choice(candidate, extra)

        return matches

    def is_satisfied_by(self, requirement: _Need, candidate: _Choice) -> bool:
        # resolvelib asks the same again in every round.
        key = (id(requirement), id(candidate.candidate))
        if key not in self._satisfied:
            self._satisfied[key] = requirement.met_by(candidate.candidate), requirement, candidate.candidate
        return self._satisfied[key][0]

    def get_dependencies(self, candidate: _Choice) -> list[_Need]:
        wants = self.world.dependencies(candidate.candidate, candidate.extra)
        self.world.source.prefetch(dict.fromkeys(want.project for want in wants), ())
        needs = [need for want in wants for need in _needs(want)]
        if candidate.extra:
            needs.insert(0, _Need(candidate.candidate.project, exact=candidate.candidate))
        return needs

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise ResolutionError(self.exhausted(f"resolve_timeout of {self.world.question.timeout} s is over"))

    def exhausted(self, why: str) -> str:
        busiest = ", ".join(f"{name} ({times}x)" for name, times in self.visits.most_common(5))
        return (
            f"no decision: {why}; revisited most: {busiest}. "
            "Put requirements that cannot live together into sets of their own, or pin these projects"
        )
