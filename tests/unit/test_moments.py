"""Moments as text: when, how long ago, and which of two was first."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pipmirror_lib.moments import age, in_utc, now, older


def test_now_is_between_before_and_after() -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    text = now()
    assert before <= datetime.fromisoformat(text.replace("Z", "+00:00")) <= datetime.now(timezone.utc)
    assert text.endswith("Z")
    assert age(text) >= 0


def test_a_moment_is_as_old_as_it_says() -> None:
    then = datetime.now(timezone.utc) - timedelta(days=3)
    told = age(then.isoformat())
    assert 3 * 86400 <= told <= (datetime.now(timezone.utc) - then).total_seconds()
    assert age("2999-01-01T00:00:00Z") < 0


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00:00Z", "2024-12-01", "2024-12-01T00:00:00"])
def test_what_is_no_moment_of_ours_is_for_ever_ago(text: str) -> None:
    assert age(text) == float("inf")


@pytest.mark.parametrize(
    ("hours", "seconds", "is_older"),
    [(1, 7200, False), (3, 7200, True), (-1, 7200, False), (-48, 7200, True), (-48, 10 * 86400, True)],
)
def test_what_is_to_come_tomorrow_is_a_clock_of_another_machine_and_later_none(
    hours: int, seconds: int, is_older: bool
) -> None:
    then = datetime.now(timezone.utc) - timedelta(hours=hours)
    assert older(then.isoformat(), seconds) is is_older


@pytest.mark.parametrize("nothing", ["", "yesterday", None, 5, [], {}])
def test_what_is_no_moment_is_old(nothing: Any) -> None:
    assert older(nothing, 1e12)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05.123456Z", "2024-01-02T03:04:05.123456Z"),
        ("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05Z"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05Z"),
        ("2024-02-30T03:04:05Z", ""),
        ("0001-01-01T00:00:00+02:00", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_what_an_index_says_of_a_moment(text: str, told: str) -> None:
    assert in_utc(text) == told
