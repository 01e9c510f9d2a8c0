"""What was decided about a platform, and how it is remembered: a small verdict, and lists that few ever read."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from pipmirror_lib import caches
from pipmirror_lib.mirror import PlatformDirectory

T = TypeVar("T")
# A directory that changed less than this before we looked may change again within its time stamp's grain.
RACY = 2_000_000_000


@dataclass(frozen=True)
class Lists:
    """What grows with the number of wheels, and what a run that has nothing to do never reads."""

    closure: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    wanted_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Later(Generic[T]):
    """A value that is made when somebody asks for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    @cached_property
    def value(self) -> T:
        return self._make()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Later) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class PlatformPlan:
    """What one platform has and lacks. `due` is the work beside missing wheels, each a line for people."""

    satisfied: bool
    missing: Mapping[str, str] = field(default_factory=dict)
    # The sets that lack something.
    incomplete: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    # Recorded, but without the METADATA beside them that the pages name.
    bare: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    # The records do not say of every wheel whether the administrator has yanked it.
    remarked: bool = False
    warnings: tuple[str, ...] = ()
    due: tuple[str, ...] = ()
    # Stand for the lists where they are only to be recognised; '' for empty ones.
    closure_digest: str = ""
    orphans_digest: str = ""
    lists: Later[Lists] = field(default_factory=lambda: Later(Lists), repr=False)

    @property
    def closure(self) -> tuple[str, ...]:
        return self.lists.value.closure

    @property
    def orphans(self) -> tuple[str, ...]:
        return self.lists.value.orphans

    @property
    def wanted_by(self) -> Mapping[str, tuple[str, ...]]:
        return self.lists.value.wanted_by

    @property
    def nothing_to_do(self) -> bool:
        return self.satisfied and not (self.unrecorded or self.vanished or self.broken or self.due)


def load(directory: PlatformDirectory, key: str, decide: Callable[[], PlatformPlan | None]) -> PlatformPlan | None:
    """The verdict of this key, if it was remembered; `decide` makes its lists anew where they were not."""
    content = caches.load(directory.verdict_path, key)
    if content is None:
        return None
    said = json.loads(content)
    tuples = {name: tuple(said[name]) for name in ("incomplete", "unrecorded", "vanished", "bare", "warnings")}
    return PlatformPlan(**{**said, **tuples}, lists=Later(lambda: _lists(directory, key, decide)))


def _lists(directory: PlatformDirectory, key: str, decide: Callable[[], PlatformPlan | None]) -> Lists:
    content = caches.load(directory.lists_path, key)
    if content is None:
        plan = decide()
        return plan.lists.value if plan else Lists()
    said = json.loads(content)
    wanted_by = {name: tuple(who) for name, who in said["wanted_by"].items()}
    return Lists(tuple(said["closure"]), tuple(said["orphans"]), wanted_by)


def store(directory: PlatformDirectory, key: str, plan: PlatformPlan) -> None:
    """Remember it, unless the directory may change once more without showing it."""
    try:
        if time.time_ns() - os.stat(directory.public).st_mtime_ns < RACY:
            return
    except OSError:
        return
    lists = plan.lists.value
    caches.store(directory.lists_path, key, json.dumps(vars(lists)).encode())
    small = {name: value for name, value in vars(plan).items() if name not in ("due", "lists")}
    caches.store(directory.verdict_path, key, json.dumps(small).encode())
