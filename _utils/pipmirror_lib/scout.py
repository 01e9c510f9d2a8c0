"""Who goes ahead of a decision: what the first choices lead to is on its way before anybody asks for it.

A decision goes level by level, and the slowest download of a level would hold back all that the others lead to.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Ahead, Candidate
from pipmirror_lib.errors import PipmirrorError
from pipmirror_lib.parts import canonical, requirement
from pipmirror_lib.wheels import Metadata
from pipmirror_lib.world import World


class Scout:
    """It runs in the threads that fetch, one step at a time, and decides nothing.

    What is likely is told from what is known of a project at that moment. Where more becomes known and changes that,
    a download was in vain; faults of what it asks for are told to whoever asks next.
    """

    def __init__(self, source: Ahead, world: World) -> None:
        """The world is the scout's own: nobody else looks at it meanwhile."""
        self._source, self._world = source, world
        self._specifiers: dict[NormalizedName, dict[SpecifierSet, None]] = {}
        self._extras: dict[NormalizedName, dict[NormalizedName, None]] = {}
        self._expected: dict[NormalizedName, Candidate] = {}
        self._known: dict[Candidate, Metadata] = {}
        self._followed: set[tuple[Candidate, str]] = set()
        self._steps: deque[Callable[[], None]] = deque()
        self._turn = threading.Lock()

    def go(self) -> None:
        self._next(lambda: self._want(root.requirement for root in self._world.roots()))

    def _next(self, step: Callable[[], None]) -> None:
        """Take it, or leave it to the thread whose turn it is."""
        self._steps.append(step)
        while self._steps and self._turn.acquire(blocking=False):
            try:
                while self._steps:
                    # A run that has ended takes no more work.
                    with suppress(RuntimeError, CancelledError, PipmirrorError, ValueError):
                        self._steps.popleft()()
            finally:
                self._turn.release()

    def _want(self, wanted: Iterable[Requirement]) -> None:
        for one in wanted:
            project = canonical(one.name)
            if one.url or self._world.is_served(project):
                continue
            specifiers, extras = self._specifiers.setdefault(project, {}), self._extras.setdefault(project, {})
            before = len(specifiers), len(extras)
            specifiers[one.specifier] = None
            extras.update(dict.fromkeys(map(canonical, one.extras)))
            if (len(specifiers), len(extras)) != before and (page := self._source.page_of(project)):
                self._when(page, partial(self._look, project))

    def _when(self, future: Future[Any], step: Callable[[], None]) -> None:
        future.add_done_callback(lambda _: self._next(step))

    def _look(self, project: NormalizedName) -> None:
        candidate = self._world.likely(project, self._specifiers[project])
        if candidate is None:
            return
        if candidate in self._known:
            self._follow(candidate)
        elif candidate != self._expected.get(project) and (metadata := self._source.metadata_of(candidate)):
            self._expected[project] = candidate
            self._when(metadata, partial(self._learn, candidate, metadata))

    def _learn(self, candidate: Candidate, metadata: Future[Metadata]) -> None:
        self._known[candidate] = metadata.result()
        self._follow(candidate)

    def _follow(self, candidate: Candidate) -> None:
        """What it wants, for its base and for each extra that somebody has asked of it."""
        extras = [e for e in ("", *self._extras.get(candidate.project, ())) if (candidate, e) not in self._followed]
        self._followed.update((candidate, extra) for extra in extras)
        applies = self._world.question.profile.applies
        conditions = self._known[candidate].conditions
        self._want(requirement(text) for text, marker in conditions if any(applies(marker, e) for e in extras))
