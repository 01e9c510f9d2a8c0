"""The decision: would pip install this set from these candidates, and which would it choose?

One semantics for both sources. The optimistic closure takes the best candidate of every name; where that
leaves nothing missing and nobody unhappy, and pip would get there without a detour, resolvelib is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from resolvelib import ResolutionImpossible

from pipmirror_lib import dialects, explain
from pipmirror_lib.candidates import Candidate, Source
from pipmirror_lib.errors import BuildError
from pipmirror_lib.logs import harmless
from pipmirror_lib.parts import within
from pipmirror_lib.provider import Need, leads_to, search
from pipmirror_lib.scout import Scout
from pipmirror_lib.world import Question, Want, World


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
    absent = [root.project for root in roots if _serves_nobody(world, root, roots)]
    if absent:
        return Answer(missing=explain.failure(world, world.wants_of(absent)))
    _go_ahead(source, question)
    first: Mapping[NormalizedName, Sequence[Want]] = {}
    try:
        closure, absent, unhappy = _optimistic(world, roots)
        if closure is None or not leads_to(world, roots, closure):
            first = world.wants_of([*absent, *unhappy])
            closure = search(world, roots)
    except ResolutionImpossible as impossible:
        causes = [want for cause in impossible.causes for want in _blamed(world, cause.requirement)]
        return Answer(missing=explain.failure(world, first, causes), warnings=_warnings(world, dialects.unread(world)))
    except BuildError:
        # What did not build is the reason, unless it was an old version, tried only because others cannot agree.
        return Answer(missing=explain.failed_builds(world, first), warnings=tuple(world.warnings))
    return _answer(world, closure)


def at_once(question: Question, source: Source) -> Answer | None:
    """The answer where the first choice of every project serves everybody; None where that takes more."""
    try:
        world = World(source, question)
        if world.unserved():
            return None
        roots = world.roots()
        source.prefetch(dict.fromkeys(root.project for root in roots), ())
        if any(_serves_nobody(world, root, roots) for root in roots):
            return None
        _go_ahead(source, question)
        closure, _, _ = _optimistic(world, roots)
        found = closure is not None and leads_to(world, roots, closure)
    except (ValueError, BuildError):
        return None
    return _answer(world, closure) if closure is not None and found else None


def _go_ahead(source: Source, question: Question) -> None:
    if source.ahead:
        Scout(source.ahead, World(source, question)).go()


def _answer(world: World, closure: Mapping[NormalizedName, Candidate]) -> Answer:
    traced = world.trace(closure)
    wanted = {name: tuple(dict.fromkeys(map(str, wants))) for name, wants in traced.items()}
    kept = {name: closure[name] for name in wanted}
    warnings = _warnings(world, dialects.differences(world, closure, traced))
    return Answer(closure=kept, wanted_by=wanted, warnings=warnings)


def _warnings(world: World, more: Iterable[str]) -> tuple[str, ...]:
    return (*world.warnings, *map(harmless, more))


def _serves_nobody(world: World, root: Want, roots: Sequence[Want]) -> bool:
    """Whether nothing meets it, neither alone nor with what the others pin (a yanked file, say)."""
    if world.likely(root.project, [root.requirement.specifier]):
        return False
    together = [other.requirement.specifier for other in roots if other.project == root.project]
    return world.likely(root.project, together) is None


def _blamed(world: World, need: Need) -> Iterable[Want]:
    """The wants that a need of resolvelib stands for."""
    if need.want:
        return [need.want]
    return list(world.wants[need.python.project].values()) if need.python else []


def _optimistic(
    world: World, roots: Sequence[Want]
) -> tuple[dict[NormalizedName, Candidate] | None, list[NormalizedName], list[NormalizedName]]:
    """(the closure of best candidates, or None if someone would be unhappy; projects nothing serves; unhappy ones).

    It goes level by level, so that a source over a network can fetch each level in parallel. A project that does
    not build ends the matter, but only when all that can be reached without it were asked to build as well: who has
    several to correct wants to know of them all. Raises BuildError then.
    """
    chosen: dict[NormalizedName, Candidate] = {}
    wants: dict[NormalizedName, list[Want]] = {}
    heard: dict[NormalizedName, int] = {}  # how many wants a choice has taken into account
    absent: dict[NormalizedName, None] = {}
    seen: set[tuple[NormalizedName, tuple[NormalizedName, ...]]] = set()
    level = list(roots)
    while level:
        fresh = [w.project for w in level if w.project not in chosen and w.project not in world.failed]
        world.source.prefetch(dict.fromkeys(fresh), ())
        for want in level:
            wants.setdefault(want.project, []).append(want)
        # A source that has everything at hand does not look at these.
        likely = (world.likely(name, _specifiers(wants[name])) for name in fresh)
        world.source.prefetch((), (candidate for candidate in likely if candidate))
        for name, best in _choices(world, fresh, wants):
            if best is None:
                absent[name] = None
            else:
                chosen[name], heard[name] = best, len(wants[name])
        level = list(_next_level(world, level, chosen, seen))
    if world.failed:
        raise BuildError("; ".join(world.failed.values()))
    # Told without looking for a better candidate, because an older one may have to be built for that.
    unhappy = [
        name
        for name, candidate in chosen.items()
        if not all(within(one, candidate.version) for one in _specifiers(wants[name][heard[name] :]))
    ]
    late = [name for name in chosen if heard[name] < len(wants[name])]
    settled = not unhappy and all(_best(world, name, wants[name]) == chosen[name] for name in late)
    return (chosen if settled and not absent else None), list(absent), unhappy


def _choices(
    world: World, names: Iterable[NormalizedName], wants: Mapping[NormalizedName, Sequence[Want]]
) -> Iterator[tuple[NormalizedName, Candidate | None]]:
    """The best candidate of each project, but of those that do not build, which the world remembers."""
    for name in dict.fromkeys(names):
        try:
            best = _best(world, name, wants[name])
        except BuildError:
            continue
        yield name, best


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
    seen: set[tuple[NormalizedName, tuple[NormalizedName, ...]]],
) -> Iterator[Want]:
    for want in level:
        for extras in dict.fromkeys(((), want.extras)):
            if want.project in chosen and (want.project, extras) not in seen:
                seen.add((want.project, extras))
                yield from world.dependencies(chosen[want.project], extras)
