"""Values made on demand: once an object, and no object waits for another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pipmirror_lib.lazily import made_once


class Thing:
    def __init__(self) -> None:
        self.made = 0
        self.meeting: threading.Barrier | None = None

    @made_once
    def value(self) -> int:
        """What it is worth."""
        if self.meeting:
            self.meeting.wait(5)
        self.made += 1
        if self.made == 1 and self.meeting is None:
            raise ValueError("not yet")
        return self.made


def test_no_object_waits_for_another() -> None:
    meeting = threading.Barrier(2)
    things = [Thing(), Thing()]
    for thing in things:
        thing.meeting = meeting
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda thing: thing.value, things)) == [1, 1]


def test_one_object_makes_it_once() -> None:
    thing, meeting = Thing(), threading.Barrier(1)
    thing.meeting = meeting
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: thing.value, range(20))) == {1}


def test_what_fails_is_tried_again_and_what_is_set_stays() -> None:
    thing = Thing()
    with pytest.raises(ValueError, match="not yet"):
        _ = thing.value
    assert (thing.value, thing.value) == (2, 2)
    thing.value = 7
    assert thing.value == 7
    assert Thing.value.__doc__ == "What it is worth."
