"""What may go: the clock of each wheel, and the guards."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pipmirror_lib import prune
from pipmirror_lib.moments import age, now


def ago(**span: int) -> str:
    then = datetime.now(timezone.utc) - timedelta(**span)
    return then.isoformat(timespec="seconds").replace("+00:00", "Z")


def outlook(unneeded: dict[str, str], **more: Any) -> prune.Outlook:
    return prune.outlook(unneeded, **{"total": 100, "keep_days": 30, "declared": True, **more})


def test_the_clock_starts_now_and_goes_on() -> None:
    began, before = ago(days=3), now()
    since = prune.since(["old", "new"], {"old": began, "needed again": began})
    assert set(since) == {"old", "new"}
    assert since["old"] == began
    assert before <= since["new"] <= now()


@pytest.mark.parametrize("memory", [None, [], "text", 5, {}])
def test_without_a_memory_everything_is_new(memory: object) -> None:
    before = now()
    assert before <= prune.since(["a"], memory)["a"] <= now()


@pytest.mark.parametrize("moment", ["", "yesterday", None, 5, [], {}, "2999-01-01T00:00:00Z", "1999-01-01"])
def test_what_is_no_moment_of_the_past_lets_nothing_go_at_once_or_never(moment: object) -> None:
    before = now()
    since = prune.since(["a", "b"], {"a": moment, "b": ago(days=1)})
    assert before <= since["a"] <= now()
    assert age(since["b"]) > 86000
    assert prune.since(["a", "b"], since) == since, "and the clock goes on from there"


def test_only_what_is_old_enough_may_go() -> None:
    unneeded = {"b": ago(days=31), "young": ago(days=29), "a": ago(days=30)}
    assert list(outlook(unneeded).going) == ["a", "b"]
    assert outlook(unneeded).going["b"] == unneeded["b"]
    assert set(outlook(unneeded, keep_days=0).going) == set(unneeded)
    assert outlook({"now": now()}, keep_days=0).going
    assert outlook(unneeded, keep_days=36_500) == prune.Outlook()


@pytest.mark.parametrize(("total", "goes"), [(4, True), (5, True), (3, False), (2, False)])
def test_no_more_than_half_goes(total: int, goes: bool) -> None:
    unneeded = {"a": ago(days=40), "b": ago(days=40), "young": now()}
    found = outlook(unneeded, total=total)
    assert bool(found.going) is goes
    assert bool(found.held) is not goes
    if not goes:
        assert found.held.startswith(f"2 of {total} wheels would go, more than half")
        assert set(outlook(unneeded, total=total, force=True).going) == {"a", "b"}


def test_nothing_declared_is_no_reason_to_remove() -> None:
    unneeded = {"a": ago(days=40)}
    assert outlook(unneeded, declared=False) == prune.Outlook(held=prune.UNDECLARED)
    assert outlook(unneeded, declared=False, force=True).going == unneeded


def test_a_guard_is_told_only_where_something_would_go() -> None:
    assert outlook({"young": now()}, total=1, declared=False) == prune.Outlook()


def test_force_overrides_no_day() -> None:
    assert outlook({"young": ago(days=29)}, force=True) == prune.Outlook()


def test_a_line_holds_a_few_names() -> None:
    assert prune.named(["a", "b"]) == "a, b"
    assert prune.named([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"


def test_an_amount() -> None:
    assert prune.amount([900]) == "1 wheel, 0.9 kB"
    assert prune.amount([1_000_000, 250_000]) == "2 wheels, 1.2 MB"
