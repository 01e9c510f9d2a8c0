"""Our decision against current pip, running natively in the platforms, on worlds that nobody thought of.

The worlds are the same in every run; PIPMIRROR_SEED gives others, and PIPMIRROR_WORLDS another number of them (for
each platform, half of them from a directory and half from an index). What pip and we disagree on is printed as a
data case, made small, ready to be pasted into tests/unit/cases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pipmirror_lib.engine import Engine

from tests.integration.conftest import Ensure
from tests.support.oracle import Verdict, decide, lay_out
from tests.support.reduce import smallest
from tests.support.target import Target
from tests.support.worldgen import generate
from tests.support.worlds import Case, as_json

pytestmark = pytest.mark.integration

SUITES = ("bullseye", "bookworm", "trixie")
SEED = int(os.environ.get("PIPMIRROR_SEED", "20241122"))
WORLDS = int(os.environ.get("PIPMIRROR_WORLDS", "340"))
# pip's resolver, done, recurses for ever over a cycle that it has left behind on its way.
CRASH = "RecursionError: maximum recursion depth exceeded"


@dataclass(frozen=True)
class Worlds:
    """Worlds of one platform and what both sides make of them; `ours` is {project: file name} or None."""

    place: Path
    target: Target
    directory: Sequence[Case]
    index: Sequence[Case]
    theirs: dict[str, Verdict]
    ours: dict[str, dict[str, str] | None]


def compare(target: Target, place: Path, directory: Sequence[Case], index: Sequence[Case]) -> Worlds:
    """Lay the worlds out and ask both sides."""
    ours = {}
    for cases, as_index in ((directory, False), (index, True)):
        for case in cases:
            world = lay_out(case, place, index=as_index)
            answer = decide(case, world, target.profile, index=as_index)
            closure = {name: candidate.filename for name, candidate in answer.closure.items()}
            ours[case.name] = closure if answer.satisfied else None
    return Worlds(place, target, directory, index, target.ask(place, directory, index), ours)


def disagreements(worlds: Worlds) -> list[Case]:
    """Smallest first; a world on which pip crashes is none."""
    every = [*worlds.directory, *worlds.index]
    crashed = {case.name for case in every if CRASH in worlds.theirs[case.name].output}
    differ = [case for case in every if worlds.ours[case.name] != worlds.theirs[case.name].closure]
    return sorted((case for case in differ if case.name not in crashed), key=lambda case: len(as_json(case)))


@pytest.fixture(scope="module", params=SUITES)
def worlds(
    request: pytest.FixtureRequest, engine: Engine, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory
) -> Worlds:
    suite = str(request.param)
    ensure(f"debian:{suite}")
    place = tmp_path_factory.mktemp(f"differential-{suite}")
    target = Target.prepare(engine, suite, place / "target")
    seed = SEED * 10 + SUITES.index(suite)
    directory = [replace(case, name=f"directory {case.name}") for case in generate(WORLDS // 2, seed, index=False)]
    index = [replace(case, name=f"index {case.name}") for case in generate(WORLDS // 2, -seed, index=True)]
    return compare(target, place / "worlds", directory, index)


def told(worlds: Worlds, tmp_path: Path) -> str:
    """The smallest disagreement as a data case, made smaller still, and what either side says."""
    case = disagreements(worlds)[0]
    as_index = case in worlds.index
    attempts: Iterator[int] = iter(range(1000))

    def ask(cases: Sequence[Case]) -> Worlds:
        sides = ((), cases) if as_index else (cases, ())
        return compare(worlds.target, tmp_path / str(next(attempts)), *sides)

    def disagree(cases: Sequence[Case]) -> Sequence[bool]:
        bad = {one.name for one in disagreements(ask(cases))}
        return [one.name in bad for one in cases]

    small = smallest(case, disagree)
    again = ask([small])
    return f"{as_json(small)}\nours: {again.ours[small.name]}\npip: {again.theirs[small.name].closure}"


def test_the_same_verdict_and_closure(worlds: Worlds, tmp_path: Path) -> None:
    found = disagreements(worlds)
    assert not found, f"{len(found)} disagreements, the smallest one:\n{told(worlds, tmp_path)}"
