"""pip's policy for resolvelib: what is decided first, which candidates fit, what they drag along.

Where versions conflict, the closure depends on the order in which they are tried. So this follows pip's own
provider and factory to the letter: the same identifiers (a set of extras is one of its own, and so is the
interpreter), the same requirements for each want, the same preference, the same places for every refusal.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from resolvelib import AbstractProvider, BaseReporter, ResolutionTooDeep
from resolvelib.resolvers import Criterion, RequirementInformation, Resolution

from pipmirror_lib import explain
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import ResolutionError
from pipmirror_lib.parts import within
from pipmirror_lib.world import ANY, Want, World

# As pip has them: how many rounds before it gives up, and after how many conflicts a name is tried first.
MAX_ROUNDS = 200_000
PROMOTE_AFTER = 5
REMEMBERED = 1 << 12
# No project can be called so.
PYTHON = NormalizedName("<Python from Requires-Python>")


@dataclass(frozen=True)
class Choice:
    """A candidate as resolvelib sees it. Its extras are a choice of their own that drags the base along."""

    candidate: Candidate
    extras: tuple[NormalizedName, ...] = ()

    @property
    def key(self) -> str:
        return _key(self.candidate.project, self.extras)


@dataclass(frozen=True)
class Need:
    """A requirement as resolvelib sees it: a want, one exact base, or (in `python`) what a base asks of Python."""

    project: NormalizedName
    extras: tuple[NormalizedName, ...] = ()
    want: Want | None = None
    exact: Candidate | None = None
    python: Candidate | None = None

    @property
    def key(self) -> str:
        return _key(self.project, self.extras)

    @property
    def specifier(self) -> SpecifierSet:
        return self.want.requirement.specifier if self.want else ANY

    @property
    def by_url(self) -> bool:
        """A dependency by URL: nothing but that URL meets it, and no source holds URLs."""
        return bool(self.want and self.want.requirement.url)

    @cached_property
    def strength(self) -> tuple[bool, bool, bool, bool]:
        """(exact, pinned, bounded above, with any specifier at all), which is what pip's preference is made of."""
        operators = [(one.operator, one.version) for one in self.specifier]
        pinned = any(operator[:2] == "==" and "*" not in version for operator, version in operators)
        bounded = any(op in ("<", "<=", "~=") or (op == "==" and "*" in version) for op, version in operators)
        return self.exact is not None, pinned, bounded, bool(operators)


_WEAKEST = (False, False, False, False)
_Information = RequirementInformation[Need, Choice]


class _Resolution(Resolution[Need, Choice, str]):
    """resolvelib's, which asks of every pin in every round whether it meets everything that is known of it.

    What is known is never altered in place, so that one answer for each serves until something else is known.
    With `faithful=False` it does not forget what a pin wanted that is about to be replaced.
    """

    def __init__(self, provider: Provider, *, faithful: bool) -> None:
        super().__init__(provider, BaseReporter())
        self._faithful = faithful
        self._pins: dict[tuple[int, int], tuple[bool, Criterion[Need, Choice], Choice]] = {}

    def _is_current_pin_satisfying(self, name: str, criterion: Criterion[Need, Choice]) -> bool:
        pin = self.state.mapping.get(name)
        if pin is None:
            return False
        key = (id(criterion), id(pin))
        if key not in self._pins:
            if len(self._pins) >= REMEMBERED:
                self._pins.clear()
            met = super()._is_current_pin_satisfying(name, criterion)
            self._pins[key] = met, criterion, pin  # with the objects, so that no identity is given to another one
        return self._pins[key][0]

    def _remove_information_from_criteria(
        self, criteria: dict[str, Criterion[Need, Choice]], parents: Collection[str]
    ) -> None:
        if self._faithful:
            super()._remove_information_from_criteria(criteria, parents)


def search(world: World, roots: Sequence[Want]) -> dict[NormalizedName, Candidate]:
    """The closure that pip would find, and perhaps more; ResolutionImpossible where there is none.

    resolvelib forgets what a pin wanted when something else excludes it, also where it turns back later and keeps
    that pin: then, rarely, pip installs what does not fit together. From such a set alone it could not, so that is
    no answer.
    """
    closure = _attempt(world, roots, faithful=True)
    if world.unmet(closure):
        closure = _attempt(world, roots, faithful=False)
    if unmet := world.unmet(closure):
        raise ResolutionError(f"no decision: {unmet[0]} is not met by what was found; pin {unmet[0].project}")
    return closure


def _attempt(world: World, roots: Sequence[Want], *, faithful: bool) -> dict[NormalizedName, Candidate]:
    provider = Provider(world, roots)
    # Not by its Resolver, whose graph of the result recurses for ever over a cycle that was left behind.
    resolution = _Resolution(provider, faithful=faithful)
    # Extras last: by then is known what binds their base.
    needs = sorted((need for root in roots for need in _needs(root)), key=lambda need: bool(need.extras))
    try:
        state = resolution.resolve(needs, max_rounds=MAX_ROUNDS)
    except ResolutionTooDeep as error:
        raise ResolutionError(provider.exhausted("too many rounds")) from error
    chosen = [choice.candidate for choice in state.mapping.values() if not choice.extras]
    return {candidate.project: candidate for candidate in chosen if candidate.project != PYTHON}


def leads_to(world: World, roots: Sequence[Want], closure: Mapping[NormalizedName, Candidate]) -> bool:
    """Whether pip, on its way to these candidates, would never choose another one first.

    It would keep what a discarded candidate had bound. This asks for candidates in pip's order, each with what is
    known by then; no want of the closure can conflict, so nothing else of a resolution is needed.
    """
    if all(world.has_one(project) for project in closure):
        return True
    if any(candidate.yanked is not None for candidate in closure.values()):
        return False  # served only to who pins it, whatever comes later
    known: dict[str, list[Need]] = {}
    order = _declared_order(roots)
    waiting: list[tuple[Any, str]] = []
    pinned: set[str] = set()

    def learn(need: Need) -> None:
        known.setdefault(need.key, []).append(need)
        heapq.heappush(waiting, (_preference(need.key, known[need.key], order), need.key))

    for need in (need for root in roots for need in _needs(root)):
        learn(need)
    while waiting:
        key = heapq.heappop(waiting)[1]
        if key in pinned:
            continue
        pinned.add(key)
        project, extras = _parts(key)
        needs = [*known[key], *(known.get(project, ()) if extras else ())]
        candidate = closure[project]
        exact = any(need.exact for need in needs)
        if not exact and next(world.matching(project, [need.specifier for need in needs]), None) != candidate:
            return False
        for need in _dragged(world, Choice(candidate, extras)):
            learn(need)
    return True


def _declared_order(roots: Sequence[Want]) -> dict[str, int]:
    return {next(_needs(root)).key: number for number, root in reversed(list(enumerate(roots)))}


def _preference(key: str, needs: Iterable[Need], order: Mapping[str, int]) -> tuple[Any, ...]:
    """pip's order: exact, pinned, bounded above, as declared, any specifier at all, by name."""
    strengths = [need.strength for need in needs] or [_WEAKEST]
    exact, pinned, bounded, any_at_all = map(any, zip(*strengths, strict=True))
    return not exact, not pinned, not bounded, order.get(key, math.inf), not any_at_all, key


def _dragged(world: World, choice: Choice) -> list[Need]:
    """What a choice needs."""
    needs = [need for want in world.dependencies(choice.candidate, choice.extras) for need in _needs(want)]
    return [Need(choice.candidate.project, exact=choice.candidate), *needs] if choice.extras else needs


def _parts(key: str) -> tuple[NormalizedName, tuple[NormalizedName, ...]]:
    name, _, listed = key.partition("[")
    return NormalizedName(name), tuple(map(NormalizedName, filter(None, listed[:-1].split(","))))


def _key(project: NormalizedName, extras: Sequence[NormalizedName]) -> str:
    return f"{project}[{','.join(extras)}]" if extras else project


def _needs(want: Want) -> Iterator[Need]:
    """Extras come with what binds their version as a need of the base, so that all of that is in one place."""
    if want.extras and want.requirement.specifier:
        yield Need(want.project, want=want)
    yield Need(want.project, want.extras, want)


class Provider(AbstractProvider[Need, Choice, str]):
    """One resolution's answers to resolvelib."""

    def __init__(self, world: World, roots: Sequence[Want]) -> None:
        self.world = world
        self.deadline = time.monotonic() - world.waited + world.question.timeout
        self.order = _declared_order(roots)
        self.python = Choice(Candidate(PYTHON, world.question.profile.python_version, filename=""))
        self._needs: dict[Choice, list[Need]] = {}
        # By identity, with the objects themselves, so that no identity is given to another one.
        self._satisfied: dict[tuple[int, int], tuple[bool, Need, Candidate]] = {}
        self.visits: Counter[NormalizedName] = Counter()
        # What was asked of the last project for which nothing was left.
        self.stuck: list[Need] = []
        self.conflicts: Counter[str] = Counter()
        self.promoted: set[str] = set()

    def identify(self, requirement_or_candidate: Need | Choice) -> str:
        return requirement_or_candidate.key

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[str],
        resolutions: Mapping[str, Choice],
        candidates: Mapping[str, Iterator[Choice]],
        information: Mapping[str, Iterator[_Information]],
        backtrack_causes: Sequence[_Information],
    ) -> Iterable[str]:
        """Python first, then the causes of backtracking, then names that keep appearing in conflicts."""
        causes: set[str] = set()
        for info in backtrack_causes:
            for key in [info.requirement.key, *([info.parent.key] if info.parent else [])]:
                causes.add(key)
                if key not in resolutions:
                    self.conflicts[key] += 1
                    if self.conflicts[key] >= PROMOTE_AFTER:
                        self.promoted.add(key)
        every = list(identifiers)
        if PYTHON in every:
            return [PYTHON]
        return [key for key in every if key in causes] or [key for key in every if key in self.promoted] or every

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Choice],
        candidates: Mapping[str, Iterator[Choice]],
        information: Mapping[str, Iterator[_Information]],
        backtrack_causes: Sequence[_Information],
    ) -> Any:
        """What keeps appearing in conflicts comes before everything else."""
        needs = [info.requirement for info in information[identifier]]
        return identifier not in self.promoted, *_preference(identifier, needs, self.order)

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Need]],
        incompatibilities: Mapping[str, Iterator[Choice]],
    ) -> Callable[[], Iterator[Choice]] | Sequence[Choice]:
        self._check_time()
        needs = list(requirements[identifier])
        excluded = {choice.candidate for choice in incompatibilities.get(identifier, ())}
        if identifier == PYTHON:
            fits = not excluded and all(self.is_satisfied_by(need, self.python) for need in needs)
            return [self.python] if fits else []
        project, extras = _parts(identifier)
        self.visits[project] += 1
        # What is known of the base binds its extras as well.
        every = [*needs, *(requirements.get(project, ()) if extras else ())]
        if exact := dict.fromkeys(need.exact for need in every if need.exact):
            allowed = [Choice(candidate, extras) for candidate in exact if self._may_be(candidate, excluded)]
            return [choice for choice in allowed if all(self.is_satisfied_by(need, choice) for need in needs)]
        if not every or any(need.by_url for need in every):
            return []

        def matches() -> Iterator[Choice]:
            nothing = True
            for candidate in self.world.offered(project, [need.specifier for need in every]):
                if candidate not in excluded:
                    nothing = False
                    yield Choice(candidate, extras)
            if nothing:
                self.stuck = every

        return matches

    def _may_be(self, candidate: Candidate, excluded: set[Candidate]) -> bool:
        constraint = self.world.constraint(candidate.project)
        return candidate not in excluded and within(constraint, candidate.version)

    def is_satisfied_by(self, requirement: Need, candidate: Choice) -> bool:
        # resolvelib asks the same again in every round.
        key = (id(requirement), id(candidate.candidate))
        if key not in self._satisfied:
            met = self._meets(requirement, candidate.candidate)
            self._satisfied[key] = met, requirement, candidate.candidate
        return self._satisfied[key][0]

    def _meets(self, need: Need, candidate: Candidate) -> bool:
        if need.python:
            return self.world.fits_python(need.python)
        if need.exact:
            return need.exact == candidate
        return not need.by_url and within(need.specifier, candidate.version)

    def get_dependencies(self, candidate: Choice) -> list[Need]:
        # resolvelib asks again while it backtracks.
        if candidate not in self._needs:
            self._needs[candidate] = self._dependencies(candidate)
        return self._needs[candidate]

    def _dependencies(self, choice: Choice) -> list[Need]:
        candidate = choice.candidate
        if candidate.project == PYTHON:
            return []
        needs = _dragged(self.world, choice)
        self.world.source.prefetch(dict.fromkeys(need.project for need in needs), ())
        asks_python = not choice.extras and self.world.asks_python(candidate)
        return [Need(PYTHON, python=candidate), *needs] if asks_python else needs

    def _check_time(self) -> None:
        if time.monotonic() - self.world.waited > self.deadline:
            raise ResolutionError(self.exhausted(f"resolve_timeout of {self.world.question.timeout} s is over"))

    def exhausted(self, why: str) -> str:
        busiest = ", ".join(f"{name} ({times}x)" for name, times in self.visits.most_common(5))
        text, declared = explain.stuck(self.world, [need.want for need in self.stuck if need.want])
        apart = " and ".join(declared) if len(declared) > 1 else "requirements that cannot live together"
        return (
            f"no decision: {why}; {text}revisited most: {busiest}. "
            f"Put {apart} into sets of their own, or pin the projects that were revisited"
        )
