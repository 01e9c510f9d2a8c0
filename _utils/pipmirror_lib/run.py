"""What the platforms of one run share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from pipmirror_lib import locks, machine
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError, Interrupted
from pipmirror_lib.explain import count
from pipmirror_lib.index import Index
from pipmirror_lib.lazily import made_once
from pipmirror_lib.progress import TICK, Board, Listener, Step
from pipmirror_lib.settings import Mirror
from pipmirror_lib.shared import downloads, known_downloads, known_sources, metadata_cache, slots, using_downloads
from pipmirror_lib.sources import Sources

# Seconds that threads get to notice that the run was interrupted; then they are only waited for.
ENDING = 60


class Run:
    """The mirror, the index (every page and file is fetched once for all platforms) and the progress report."""

    def __init__(self, mirror: Mirror, progress: Listener) -> None:
        self.mirror = mirror
        self.board = Board(progress)
        self.failed = False
        # It is for every platform that the mirror has, not for one, nor a trial.
        self.whole = False
        self.interrupted = threading.Event()
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
        with ExitStack() as mine:
            mine.enter_context(resource)  # which may have to be waited for
            with self._lock:
                self._stack.push(mine.pop_all())

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """One of the mirror's `parallel` places, whichever processes have the others; False where all are taken.

        Whoever holds a platform's lock must not wait for a place: nobody could do anything else with the platform.
        """
        with locks.one_of(slots(self.mirror.target, self.mirror.parallel), timeout=0) as place:
            yield place is not None

    def wait_for_turn(self, say: Callable[[str], None]) -> None:
        """Until a place is free, however long it takes, because what is ahead is no fault, and ends."""
        number = self.mirror.parallel
        text = f"waiting until one of {count(number, 'platform')} at work is done (parallel)"
        with locks.one_of(slots(self.mirror.target, number), lambda: say(text), stopped=self.interrupted):
            """Given back at once: only with the platform's lock it may be kept."""

    def so_far(self, platform: str) -> Step:
        """While nobody knows yet what has to come, what has come for whatever platform."""
        files, received = self.index.fetched_files, self.index.fetched_bytes
        text = f"asking the index, fetched {count(files, 'file')}, {received / 1e6:.0f} MB so far"
        return Step(platform, text if files else "asking the index", files, bytes=received)

    def check(self) -> None:
        """Interrupted, where nothing is to be begun any more."""
        if self.interrupted.is_set():
            raise Interrupted

    def interrupt(self, tasks: Collection[Future[Any]]) -> None:
        """End what this run has under way, until the threads that wait for it have ended as well."""
        self.failed = True
        self.interrupted.set()
        end = time.monotonic() + ENDING
        self._end_all()
        while not all(task.done() for task in tasks) and time.monotonic() < end:
            time.sleep(TICK)
            self._end_all()  # what a thread was about to begin

    def _end_all(self) -> None:
        if self._index:
            self._index.give_up()
        machine.end_all()
        if self.uses_engine:
            with suppress(EngineError), closing(Engine.connect(self.mirror.container.engine_url)) as engine:
                engine.remove_own()

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

    @made_once
    def sources(self) -> Sources:
        return Sources(self.mirror, self.index)

    @property
    def index(self) -> Index:
        """Opened when a platform first needs it: a run with nothing to do asks nobody."""
        with self._lock:
            self.check()
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
