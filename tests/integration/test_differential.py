"""Our decision against current pip, running natively in the platforms, on worlds that nobody thought of.

The worlds are the same in every run; PIPMIRROR_SEED gives others, and PIPMIRROR_WORLDS another number of them (for
each platform, half of them from a directory and half from an index). What pip and we disagree on is printed as a
data case, made small, ready to be pasted into tests/unit/cases.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from packaging.version import Version
from pipmirror_lib import provider
from pipmirror_lib.engine import Engine
from pipmirror_lib.world import World

from tests.integration.conftest import Ensure
from tests.support.oracle import REFUSALS, Verdict, decide, lay_out
from tests.support.reduce import smallest
from tests.support.target import Target
from tests.support.worldgen import generate
from tests.support.worlds import Case, as_json

pytestmark = pytest.mark.integration

SUITES = ("bullseye", "bookworm", "trixie")
SEED = int(os.environ.get("PIPMIRROR_SEED", "20241122"))
WORLDS = int(os.environ.get("PIPMIRROR_WORLDS", "340"))
# Done, pip's resolver recurses for ever over a cycle that it has left behind on its way; rarely it trips over itself.
CRASH = re.compile("RecursionError: maximum recursion depth|Error: Internal issue: Candidate is not for this")
# Since this version pip decides first what keeps appearing in conflicts; Python 3.9 has no such pip.
PROMOTING = Version("26.1")


@dataclass(frozen=True)
class Worlds:
    """Worlds of one platform and what both sides make of them; `ours` is {project: file name} or None."""

    target: Target
    directory: Sequence[Case]
    index: Sequence[Case]
    theirs: dict[str, Verdict]
    ours: dict[str, dict[str, str] | None]

    @property
    def every(self) -> list[Case]:
        return [*self.directory, *self.index]

    def is_answered(self, case: Case) -> bool:
        """Whether pip neither crashes nor comes to a set that does not fit together, which rarely happens."""
        theirs = self.theirs[case.name]
        if theirs.closure is None:
            return CRASH.search(theirs.output) is None
        source = case.source()
        chosen = {c.project: c for c in source.candidates if c.filename in theirs.closure.values()}
        return not World(source, case.question(self.target.profile)).unmet(chosen)

    def disagreements(self) -> list[Case]:
        """Smallest first."""
        differ = [case for case in self.every if self.ours[case.name] != self.theirs[case.name].closure]
        return sorted(filter(self.is_answered, differ), key=lambda case: len(as_json(case)))


def compare(target: Target, place: Path, directory: Sequence[Case], index: Sequence[Case]) -> Worlds:
    """Lay the worlds out and ask both sides."""
    place.mkdir()
    ours = {}
    with pytest.MonkeyPatch.context() as patch:
        if Version(target.current_pip) < PROMOTING:
            patch.setattr(provider, "PROMOTE_AFTER", math.inf)
        for cases, as_index in ((directory, False), (index, True)):
            for case in cases:
                world = lay_out(case, place, index=as_index)
                answer = decide(case, world, target.profile, index=as_index)
                closure = {name: candidate.filename for name, candidate in answer.closure.items()}
                ours[case.name] = closure if answer.satisfied else None
    return Worlds(target, directory, index, target.ask(place, directory, index, pip=target.current_pip), ours)


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
    case = worlds.disagreements()[0]
    attempts: Iterator[int] = iter(range(1000))

    def ask(cases: Sequence[Case]) -> Worlds:
        sides = ((), cases) if case in worlds.index else (cases, ())
        return compare(worlds.target, tmp_path / str(next(attempts)), *sides)

    def disagree(cases: Sequence[Case]) -> Sequence[bool]:
        bad = {one.name for one in ask(cases).disagreements()}
        return [one.name in bad for one in cases]

    small = smallest(case, disagree)
    again = ask([small])
    return f"{as_json(small)}\nours: {again.ours[small.name]}\npip: {again.theirs[small.name].closure}"


def test_the_same_verdict_and_closure(worlds: Worlds, tmp_path: Path) -> None:
    found = worlds.disagreements()
    assert not found, f"{len(found)} disagreements, the smallest one:\n{told(worlds, tmp_path)}"


def test_where_pip_has_no_answer_it_agrees_with_ours(worlds: Worlds, tmp_path: Path) -> None:
    """Asked of nothing but the files that we chose; otherwise the mirror would not install."""
    unanswered = [case for case in worlds.every if not worlds.is_answered(case)]
    assert len(unanswered) <= len(worlds.every) / 20
    sides: tuple[list[Case], list[Case]] = ([], [])
    for case in unanswered:
        if chosen := worlds.ours[case.name]:
            files = tuple(file for file in case.files if file.filename in chosen.values())
            sides[case in worlds.index].append(replace(case, files=files))
    again = compare(worlds.target, tmp_path / "chosen", *sides)
    for case in again.every:
        assert again.theirs[case.name].closure == worlds.ours[case.name], as_json(case)


def test_the_worlds_are_worth_their_time(worlds: Worlds) -> None:
    """Neither all too easy nor all hopeless; and pip refuses for the reasons that we think."""
    assert len(worlds.every) == WORLDS
    refused = [case for case in worlds.every if worlds.theirs[case.name].closure is None]
    large = [case for case in worlds.every if len(worlds.theirs[case.name].closure or ()) >= 4]
    assert len(refused) >= WORLDS / 10
    assert len(large) >= WORLDS / 10
    for case in filter(worlds.is_answered, refused):
        assert re.search(REFUSALS, worlds.theirs[case.name].output), worlds.theirs[case.name].output
