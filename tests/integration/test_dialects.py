"""That the targets' own old pips come to something else exactly where we warn of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipmirror_lib.engine import Engine

from tests.integration.conftest import Ensure
from tests.support.dialects import PIPS, load_differences
from tests.support.oracle import decide, lay_out
from tests.support.target import Target

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("suite", ["bullseye", "bookworm", "trixie"])
def test_where_the_target_s_own_pip_differs(suite: str, engine: Engine, ensure: Ensure, tmp_path: Path) -> None:
    ensure(f"debian:{suite}")
    target = Target.prepare(engine, suite, tmp_path / "target")
    pip = target.profile.pip_version
    assert pip in PIPS, "another pip than the cases know: see what it makes of them, and add it"
    cases = [difference.case for difference in load_differences()]
    ours, warned = {}, {}
    for case in cases:
        answer = decide(case, lay_out(case, tmp_path / "worlds"), target.profile)
        closure = {name: candidate.filename for name, candidate in answer.closure.items()}
        ours[case.name] = closure if answer.satisfied else None
        warned[case.name] = bool(answer.warnings)
    theirs = target.ask(tmp_path / "worlds", cases, current=False)
    differ = {case.name: theirs[case.name].closure != ours[case.name] for case in cases}
    assert differ == {one.case.name: pip in one.pips for one in load_differences()}
    assert differ == warned
