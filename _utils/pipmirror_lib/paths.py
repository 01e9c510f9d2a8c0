"""Every way from what is declared to one project, shortest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice

from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Candidate
from pipmirror_lib.logs import harmless
from pipmirror_lib.world import Want, World

# Ways can be exponentially many: so many are told, and that there are more.
LIMIT = 1000
# Cycles may lead many ways to nowhere; that ends as well.
TRIES = 100 * LIMIT
_Node = tuple[NormalizedName, str]  # a project's base (''), or one of its extras


@dataclass(frozen=True, order=True)
class _Way:
    """Wants, each had by what meets the one before.

    In the order in which ways are followed: by how long they will be at least, the most advanced first.
    """

    length: int
    lacking: int
    number: int
    wants: tuple[Want, ...] = field(compare=False)
    # Where it goes on; None when it has arrived.
    node: _Node | None = field(compare=False)
    passed: frozenset[_Node] = field(compare=False)

    @property
    def chain(self) -> tuple[str, ...]:
        first, *others = self.wants
        return harmless(first.declared), *(harmless(want.written) for want in others)


class Graph:
    """Who wants whom in a closure; for a project that is not in it, its best candidate speaks."""

    def __init__(self, world: World, closure: Mapping[NormalizedName, Candidate]) -> None:
        self._world = world
        self._chosen: dict[NormalizedName, Candidate | None] = dict(closure)
        self._roots = world.roots()
        self._wants: dict[_Node, tuple[Want, ...]] = {}
        wants = list(self._roots)
        for want in wants:  # grows while it is read: the nearest first
            for node in _nodes(want):
                if node not in self._wants:
                    self._wants[node] = self._wants_of(want, node[1])
                    wants.extend(self._wants[node])
        self.projects = {want.project for want in wants}

    def _wants_of(self, want: Want, extra: str) -> tuple[Want, ...]:
        if want.project not in self._chosen:
            # Of what is wanted by URL nothing is known but that.
            matching = () if want.requirement.url else self._world.matching(want.project, [want.requirement.specifier])
            self._chosen[want.project] = next(iter(matching), None)
        candidate = self._chosen[want.project]
        if candidate is None:
            return ()
        wants = self._world.dependencies(candidate, (NormalizedName(extra),) if extra else ())
        # Whatever the base wants, each extra wants as well; one way to it is enough.
        base = {str(one.requirement) for one in self._world.dependencies(candidate)} if extra else ()
        return tuple(one for one in wants if str(one.requirement) not in base)

    def chains(self, project: NormalizedName) -> tuple[list[list[str]], bool]:
        """(chains of requirements from a declared one to one of the project, whether there are more of them)."""
        found: dict[tuple[str, ...], None] = {}
        more = False
        for tries, way in enumerate(self._ways(project)):
            if way.node is None:
                found[way.chain] = None
            if len(found) > LIMIT or tries >= TRIES:
                more = True
                break
        return [list(chain) for chain in islice(found, LIMIT)], more

    def _ways(self, project: NormalizedName) -> Iterator[_Way]:
        """Every way that is followed, until it arrives.

        What is shortest goes on first, by the known distance of where it is, so that no way but those around a
        cycle is followed for nothing, and the work grows with what is told, not with what could be told.
        """
        distances, numbers = self._distances(project), count()

        def continued(want: Want, before: tuple[Want, ...], passed: frozenset[_Node]) -> Iterator[_Way]:
            wants = (*before, want)
            if want.project == project:
                yield _Way(len(wants), 0, next(numbers), wants, None, passed)
                return
            nodes = _nodes(want)
            for node in nodes:
                if node in distances and node not in passed:
                    lacking = distances[node]
                    yield _Way(len(wants) + lacking, lacking, next(numbers), wants, node, passed.union(nodes))

        heap = [way for root in self._roots for way in continued(root, (), frozenset())]
        heapq.heapify(heap)
        while heap:
            way = heapq.heappop(heap)
            yield way
            if way.node is not None:
                for want in self._wants[way.node]:
                    for longer in continued(want, way.wants, way.passed):
                        heapq.heappush(heap, longer)

    def _distances(self, project: NormalizedName) -> dict[_Node, int]:
        """How many wants lie between a node and the project, for every node that leads to it."""
        before: dict[_Node, list[_Node]] = {}
        for node, wants in self._wants.items():
            for want in wants:
                for target in _nodes(want):
                    before.setdefault(target, []).append(node)
        distances: dict[_Node, int] = {}
        level = before.get((project, ""), [])
        distance = 1
        while level:
            fresh = [node for node in dict.fromkeys(level) if node not in distances and node[0] != project]
            distances.update(dict.fromkeys(fresh, distance))
            level = [node for target in fresh for node in before.get(target, ())]
            distance += 1
        return distances


def _nodes(want: Want) -> list[_Node]:
    return [(want.project, extra) for extra in ("", *want.extras)]
