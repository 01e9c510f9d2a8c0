"""What the platforms of one run share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError
from pipmirror_lib.index import Index
from pipmirror_lib.mirror import known_downloads, metadata_cache, using_downloads
from pipmirror_lib.settings import Mirror
from pipmirror_lib.sources import Sources

Progress = Callable[[str], None]


class Run:
    """The mirror, the index (every page and file is fetched once for all platforms) and the progress report."""

    def __init__(self, mirror: Mirror, progress: Progress) -> None:
        self.mirror = mirror
        self.progress = progress
        self.failed = self.interrupted = False
        self.uses_engine = False
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._index: Index | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def holds(self, resource: AbstractContextManager[object]) -> None:
        """Have something until the run is over."""
        with self._lock:
            self._stack.enter_context(resource)

    def interrupt(self) -> None:
        """End this run's containers, so that the threads that wait for them end as well."""
        self.failed = self.interrupted = True
        if self.uses_engine:
            with suppress(EngineError):
                Engine.connect(self.mirror.container.engine_url).remove_own()

    def _done(self) -> Iterable[Path]:
        return self._index.own_downloads if self._index and not self.failed else ()

    @cached_property
    def sources(self) -> Sources:
        return Sources(self.mirror, self.index)

    @property
    def index(self) -> Index:
        """Opened when a platform first needs it: a run with nothing to do asks nobody."""
        with self._lock:
            if self._index is None:
                downloads = self._stack.enter_context(using_downloads(self.mirror.target, self._done))
                cache = metadata_cache(self.mirror.target)
                known = known_downloads(self.mirror.target, [platform.name for platform in self.mirror.platforms])
                index = Index(self.mirror.index, downloads, cache, known, self.progress)
                self._index = self._stack.enter_context(index)
            return self._index
