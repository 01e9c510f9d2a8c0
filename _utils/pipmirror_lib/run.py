"""What the platforms of one run share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pipmirror_lib import locks, machine
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError
from pipmirror_lib.explain import count
from pipmirror_lib.index import Index
from pipmirror_lib.mirror import downloads, known_downloads, known_sources, metadata_cache, slots, using_downloads
from pipmirror_lib.progress import Board, Listener, Step
from pipmirror_lib.settings import Mirror
from pipmirror_lib.sources import Sources


class Run:
    """The mirror, the index (every page and file is fetched once for all platforms) and the progress report."""

    def __init__(self, mirror: Mirror, progress: Listener) -> None:
        self.mirror = mirror
        self.board = Board(progress)
        self.failed = self.interrupted = False
        # Every platform of the mirror has all that is declared: what was fetched and not used, nobody will ask for.
        self.nothing_pending = False
        self.uses_engine = False
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._index: Index | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._index is None and _left(self.mirror.target):
            self._stack.enter_context(using_downloads(self.mirror.target, self._done))
        self._stack.__exit__(*exception)

    def holds(self, resource: AbstractContextManager[object]) -> None:
        """Have something until the run is over."""
        with self._lock:
            self._stack.enter_context(resource)

    @contextmanager
    def turn(self, say: Callable[[str], None]) -> Iterator[None]:
        """One of the mirror's `parallel` places, whichever processes have the others: a highstate starts many at once.

        Taken after the platform's lock, so that nobody waits for a platform in a place that its holder needs; and
        waited for however long it takes, because what is ahead is no fault, and ends.
        """
        number = self.mirror.parallel
        text = f"waiting until one of {count(number, 'platform')} at work is done (parallel)"
        with locks.one_of(slots(self.mirror.target, number), lambda: say(text)):
            yield

    def so_far(self, platform: str) -> Step:
        """While nobody knows yet what has to come, what has come for whatever platform."""
        files, received = self.index.fetched_files, self.index.fetched_bytes
        text = f"asking the index, fetched {count(files, 'file')}, {received / 1e6:.0f} MB so far"
        return Step(platform, text if files else "asking the index", files, bytes=received)

    def interrupt(self) -> None:
        """End this run's containers and processes, so that the threads that wait for them end as well."""
        self.failed = self.interrupted = True
        machine.end_all()
        if self.uses_engine:
            with suppress(EngineError):
                Engine.connect(self.mirror.container.engine_url).remove_own()

    def _done(self) -> Iterable[Path]:
        """What this run has fetched, and an earlier one that did not come to its end: it lies in the mirror."""
        left = _left(self.mirror.target)
        if self.nothing_pending:
            return left.values()
        done = self._index.own_downloads.intersection(left.values()) if self._index and not self.failed else set()
        if left.keys() - {path.name for path in done}:
            names = [platform.name for platform in self.mirror.platforms]
            done |= {left[sha256] for sha256 in left.keys() & known_downloads(self.mirror.target, names).keys()}
            if not self.failed:
                done |= {left[sha256] for sha256 in left.keys() & known_sources(self.mirror.target, names)}
        return done

    @cached_property
    def sources(self) -> Sources:
        return Sources(self.mirror, self.index)

    @property
    def index(self) -> Index:
        """Opened when a platform first needs it: a run with nothing to do asks nobody."""
        with self._lock:
            if self._index is None:
                place = self._stack.enter_context(using_downloads(self.mirror.target, self._done))
                cache = metadata_cache(self.mirror.target)
                known = known_downloads(self.mirror.target, [platform.name for platform in self.mirror.platforms])
                index = Index(self.mirror.index, place, cache, known)
                self._index = self._stack.enter_context(index)
            return self._index


def _left(target: Path) -> dict[str, Path]:
    try:
        return {path.name: path for path in downloads(target).iterdir() if path.is_dir()}
    except OSError:
        return {}  # nothing was ever fetched
