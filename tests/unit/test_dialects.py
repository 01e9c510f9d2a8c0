"""Warnings where the target's own pip reads a set otherwise; that it does, real old pips prove (tests/integration)."""

from __future__ import annotations

import pytest
from pipmirror_lib import resolve

from tests.support.dialects import PIPS, Difference, load_differences
from tests.support.worlds import make_profile

DIFFERENCES = load_differences()


@pytest.mark.parametrize("pip", PIPS)
@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.case.name)
def test_a_difference_is_warned_of(difference: Difference, pip: str) -> None:
    case = difference.case
    answer = resolve.resolve(case.question(make_profile(pip_version=pip)), case.source())
    if pip in difference.pips:
        assert any(difference.said in line and f"pip {pip} of the target" in line for line in answer.warnings)
    else:
        assert answer.warnings == ()


def test_there_is_a_case_for_and_against() -> None:
    assert {pip for difference in DIFFERENCES for pip in difference.pips} == set(PIPS[:-2])
    assert sum(not difference.pips for difference in DIFFERENCES) >= 5


@pytest.mark.parametrize("allowed", [True, ("demo",)])
def test_prereleases_that_are_allowed_are_no_surprise(allowed: bool | tuple[str, ...]) -> None:
    from dataclasses import replace

    case = next(one.case for one in DIFFERENCES if "no final release fits" in one.case.name)
    question = replace(case, prereleases=allowed).question(make_profile(pip_version="23.0.1"))
    assert resolve.resolve(question, case.source()).warnings == ()


def test_a_pip_that_says_nothing_of_itself() -> None:
    case = DIFFERENCES[0].case
    assert resolve.resolve(case.question(make_profile(pip_version="")), case.source()).warnings == ()
