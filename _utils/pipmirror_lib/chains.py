"""Who leads to whom: from a want back to the declared requirements that brought it in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Candidate
from pipmirror_lib.parts import within
from pipmirror_lib.world import Want, World

Extras = tuple[NormalizedName, ...]


@dataclass(frozen=True)
class Chain:
    """Wants from a declared requirement to the one in question, each had by a candidate that meets the one before."""

    wants: tuple[Want, ...]

    @property
    def declared(self) -> str:
        return self.wants[0].declared

    def __str__(self) -> str:
        if len(self.wants) == 1:
            return str(self.wants[0])
        return " -> ".join([*(str(want.parent) for want in self.wants[1:]), self.wants[-1].written])


class Chains:
    """The chains of a world, as far as it was looked at; versions that were tried and given up count."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._leading: dict[tuple[Candidate, Extras], list[Want]] = {}
        self._extras: dict[tuple[str, Candidate], list[Extras]] = {}
        for candidate, extras, want in world.drawn():
            self._extras.setdefault((str(want.requirement), candidate), []).append(extras)

    def of(self, want: Want) -> list[Chain]:
        """One shortest chain from each declared requirement that leads to the want."""
        found: dict[str, Chain] = {}
        seen: set[tuple[Candidate, Extras]] = set()
        level: list[tuple[Want, ...]] = [(want,)]
        while level:
            following: list[tuple[Want, ...]] = []
            for wants in level:
                first = wants[0]
                if first.parent is None:
                    found.setdefault(first.declared, Chain(wants))
                    continue
                for extras in self._extras.get((str(first.requirement), first.parent), ()):
                    if (first.parent, extras) not in seen:
                        seen.add((first.parent, extras))
                        following += [(before, *wants) for before in self._wants_of(first.parent, extras)]
            level = following
        return list(found.values())

    def _wants_of(self, candidate: Candidate, extras: Extras) -> list[Want]:
        """The wants that may have brought in this candidate, with these extras."""
        key = (candidate, extras)
        if key not in self._leading:
            wants = self._world.wants.get(candidate.project, {}).values()
            self._leading[key] = [
                want
                for want in wants
                if extras in ((), want.extras) and within(want.requirement.specifier, candidate.version)
            ]
        return self._leading[key]

    def is_certain(self, chain: Chain) -> bool:
        """Whether every step of it has but one candidate: then nothing else could have been chosen."""
        return all(len(list(islice(self._candidates(want), 2))) == 1 for want in chain.wants[:-1])

    def _candidates(self, want: Want) -> Iterator[Candidate]:
        return self._world.conceivable(want.project, [want.requirement.specifier])
