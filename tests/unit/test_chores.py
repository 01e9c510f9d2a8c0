"""Work that threads share: once, and never in a circle."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from pipmirror_lib.chores import DEEPEST, Chain, Chores, Circle, at_once

from tests.support.leaks import until


def test_a_failure_is_told_to_everybody() -> None:
    chores: Chores[int] = Chores()
    calls = []

    def work() -> int:
        calls.append(1)
        raise ValueError("broken")

    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            chores.do("key", work)
    assert len(calls) == 1


def test_what_needs_itself_is_told() -> None:
    chores: Chores[int] = Chores()
    with pytest.raises(Circle, match=r"^a -> a$"):
        chores.do("a", lambda: chores.do("a", lambda: 1))


@pytest.mark.parametrize("closing", "abc")
def test_whoever_closes_a_circle_all_say_the_same(closing: str) -> None:
    """Also who would have made something of the failure of another one."""
    chores: Chores[str] = Chores()
    following = {"a": "b", "b": "c", "c": "a"}

    def work(key: str) -> str:
        if key == closing:
            assert until(lambda: len(chores._awaits) == 2)
        try:
            return chores.do(following[key], lambda: work(following[key]))
        except Circle:
            return "made without it"

    def answer(key: str) -> str:
        with pytest.raises(Circle) as caught:
            chores.do(key, lambda: work(key))
        return str(caught.value)

    with ThreadPoolExecutor(3) as pool:
        answers = set(pool.map(answer, following))
    assert answers == {"a -> b -> c -> a"}


def test_a_chain_without_end_is_told() -> None:
    chores: Chores[int] = Chores()

    def work(number: int) -> int:
        return chores.do(str(number + 1), lambda: work(number + 1))

    for number in (0, 1, DEEPEST - 1):
        with pytest.raises(Chain, match=rf"^0 -> 1 -> 2 -> … -> {DEEPEST}$"):
            chores.do(str(number), lambda: work(0))


def test_asking_again_is_no_circle() -> None:
    chores: Chores[int] = Chores()

    def work() -> int:
        return chores.do("b", lambda: 1) + chores.do("b", lambda: 1) + chores.do("c", lambda: chores.do("b", lambda: 1))

    assert chores.do("a", work) == 3


def test_room_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 16 << 18, "SC_PAGE_SIZE": 4096}[name])
    assert at_once(2.0, 1 << 30, 1) == 8, "by processors"
    assert at_once(2.0, 4 << 30, 1) == 4, "by memory"
    assert at_once(2.0, 1 << 30, 3) == 2, "shared with other platforms"
    assert at_once(64.0, 1 << 40, 8) == 1, "always one"
    assert at_once(0.5, 1 << 20, 0) == 32
