"""Work that threads share: each piece done once, by whichever thread asks first, and no endless waiting."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


# A chain of work is a recursion as well; nothing real needs a tenth of that.
DEEPEST = 30


class Endless(Exception):
    """Work that would wait for itself, or for too much else. All who take part in it have failed, and say the same:

    which of them has met the fault is chance where several threads are at work.
    """


class Circle(Endless):
    """The members are the pieces of work in their order, told from the first by name on."""

    def __init__(self, members: Sequence[str]) -> None:
        start = members.index(min(members))
        super().__init__(" -> ".join([*members[start:], *members[:start], members[start]]))


class Chain(Endless):
    """More than DEEPEST pieces of work, each for the one before."""

    def __init__(self, members: Sequence[str]) -> None:
        super().__init__(" -> ".join([*members[:3], "…", members[-1]]))


class Chores(Generic[T]):
    """Results by key. Work may ask for more work; what it failed with is told to everybody who asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[str, Future[T]] = {}
        # What a piece of work is waiting for: one thread does it, so that is one other piece at a time.
        self._awaits: dict[str, str] = {}
        self._endless: dict[str, Endless] = {}
        self._mine = threading.local()

    def do(self, key: str, work: Callable[[], T]) -> T:
        """The result of that key, from `work` if nobody has begun it; Endless where that could not end."""
        asking = self._underway[-1] if self._underway else None
        with self._lock:
            if asking is not None:
                self._refuse_circle(asking, key)
            first = key not in self._results
            if first and len(self._underway) >= DEEPEST:
                raise self._failed(self._underway, Chain([*self._underway, key]))
            if asking is not None:
                self._awaits[asking] = key
            result = self._results.setdefault(key, Future())
        try:
            if first:
                self._work(key, result, work)
            return result.result()
        finally:
            if asking is not None:
                with self._lock:
                    del self._awaits[asking]

    @property
    def _underway(self) -> list[str]:
        """What this thread is at work on, the innermost last."""
        if not hasattr(self._mine, "underway"):
            self._mine.underway = []
        underway: list[str] = self._mine.underway
        return underway

    def _refuse_circle(self, asking: str, key: str) -> None:
        way = [key]
        while way[-1] != asking:
            if way[-1] not in self._awaits:
                return
            way.append(self._awaits[way[-1]])
        raise self._failed(way, Circle(way))

    def _failed(self, members: Iterable[str], fault: Endless) -> Endless:
        for member in members:
            self._endless.setdefault(member, fault)
        return fault

    def _work(self, key: str, result: Future[T], work: Callable[[], T]) -> None:
        self._underway.append(key)
        try:
            made = work()
        except BaseException as error:  # whoever waits must not wait for ever
            result.set_exception(self._endless.get(key, error))
        else:
            if key in self._endless:  # it has found a way around what it was refused, by chance
                result.set_exception(self._endless[key])
            else:
                result.set_result(made)
        finally:
            self._underway.pop()


def at_once(processors: float, memory: int, sharers: int) -> int:
    """How many containers with these limits this machine has room for, where so many have to share it."""
    known = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else memory
    return max(1, min(int((os.cpu_count() or 1) / processors), there // memory) // max(1, sharers))
