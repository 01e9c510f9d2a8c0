"""The garbage collector's threshold is everybody's: it comes back whatever happens, and however many work at once."""

from __future__ import annotations

import gc

import pytest
from pipmirror_lib.garbage import rarely_collected


def test_the_threshold_comes_back() -> None:
    before = gc.get_threshold()
    with rarely_collected():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before


def test_the_threshold_comes_back_after_a_failure() -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), rarely_collected():
        _ = 1 / 0
    assert gc.get_threshold() == before


def test_the_first_to_leave_does_not_disturb_the_last() -> None:
    before = gc.get_threshold()
    one, other = rarely_collected(), rarely_collected()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold() != before
    other.__exit__(None, None, None)
    assert gc.get_threshold() == before
