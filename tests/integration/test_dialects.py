"""That the targets' own old pips come to something else exactly where we warn of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pipmirror_lib import local, resolve
from pipmirror_lib.engine import Engine
from pipmirror_lib.resolve import Answer

from tests.integration.conftest import Ensure
from tests.support.dialects import OTHERS, OWN, load_differences
from tests.support.oracle import lay_out
from tests.support.target import Target
from tests.support.worlds import Case, slug

pytestmark = pytest.mark.integration


@pytest.fixture
def worlds(tmp_path: Path) -> Path:
    for difference in load_differences():
        lay_out(difference.case, tmp_path / "worlds")
    return tmp_path / "worlds"


@pytest.mark.parametrize("suite", ["bullseye", "bookworm", "trixie"])
def test_where_the_target_s_own_pip_differs(
    suite: str, engine: Engine, ensure: Ensure, worlds: Path, tmp_path: Path
) -> None:
    ensure(f"debian:{suite}")
    target = Target.prepare(engine, suite, tmp_path / "target")
    pip = target.profile.pip_version
    assert pip in OWN, "another pip than the cases know: see what it makes of them, and add it"
    check(target, pip, worlds)


def test_where_pips_of_other_systems_differ(engine: Engine, ensure: Ensure, worlds: Path, tmp_path: Path) -> None:
    ensure("debian:bookworm")
    target = Target.prepare(engine, "bookworm", tmp_path / "target")
    for pip in OTHERS:
        check(target, pip, worlds)


def check(target: Target, pip: str, worlds: Path) -> None:
    """That pip differs from us on the cases that name it, which are those that we warn of, and on no other."""
    cases = [difference.case for difference in load_differences()]
    profile = replace(target.profile, pip_version=pip)
    answers = {case.name: resolve.resolve(case.question(profile), local.scan(files(worlds, case))) for case in cases}
    theirs = target.ask(worlds, cases, pip=pip)
    differ = {name: theirs[name].closure != closure(answer) for name, answer in answers.items()}
    assert differ == {one.case.name: pip in one.pips for one in load_differences()}, pip
    assert differ == {name: bool(answer.warnings) for name, answer in answers.items()}, pip


def files(worlds: Path, case: Case) -> Path:
    return worlds / slug(case) / "files"


def closure(answer: Answer) -> dict[str, str] | None:
    found = {name: candidate.filename for name, candidate in answer.closure.items()}
    return found if answer.satisfied else None
