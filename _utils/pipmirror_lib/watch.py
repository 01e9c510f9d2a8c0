"""An eye on a container that runs strangers' code: what the engine does not limit by itself, or does not tell of."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from pipmirror_lib import disk

# Seconds. Measuring a tree takes long where it is large, and shall never be what a machine is busy with.
_TICK, _BETWEEN, _SHARE = 0.1, 0.5, 10


class Watch:
    """From its start to its end; `excess` tells why it ended the run, `pids_met` whether it met that limit.

    `pid` is the container's first process as this machine sees it, and 0 where the engine is on another one. Without
    a container it is the one that makes the namespaces, or 0.
    """

    def __init__(
        self, directories: Sequence[Path], limit: int, pid: int, stop: Callable[[], None], *, container: bool = True
    ) -> None:
        self._limit, self._stop = limit, stop
        self._directories = directories if os.name == "posix" else ()
        self._pid = pid if not container or (pid and _is_ours(pid)) else 0
        self._events = _pids_events(self._pid) if container and self._pid else None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="pipmirror-watch")
        self.excess = ""
        self.pids_met = False

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None and not self.excess:
            self._measure(pid=0)  # what was quicker than we were

    def _look(self) -> None:
        due = 0.0
        while not self._ended.wait(_TICK):
            self.pids_met = self.pids_met or self._met()
            self._told(lambda: disk.check_free(self._directories))
            if not self.excess and time.monotonic() >= due:
                begun = time.monotonic()
                self._measure(self._pid)
                end = time.monotonic()
                due = end + max(_BETWEEN, _SHARE * (end - begun))
            if self.excess:
                self._stop()  # once more where that has failed

    def _measure(self, pid: int) -> None:
        self._told(lambda: disk.check(self._directories, self._limit, pid))

    def _told(self, check: Callable[[], None]) -> None:
        try:
            check()
        except disk.TooMuch as excess:
            self.excess = self.excess or str(excess)
        except OSError as error:
            # Blind is not safe: what cannot be measured must not go on.
            self.excess = self.excess or f"was stopped, because its disk usage cannot be measured: {error}"

    def _met(self) -> bool:
        try:
            return bool(self._events) and "max 0" not in self._events.read_text()  # type: ignore[union-attr]
        except OSError:
            return False  # it has ended


def _is_ours(pid: int) -> bool:
    """Whether it is a container of ours; an engine in another machine means another process by that number."""
    try:
        return " /pipmirror/" in Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False


def _pids_events(pid: int) -> Path | None:
    """Where the kernel counts how often a container was refused a process."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "pids" in controllers.split(","):
            events = Path("/sys/fs/cgroup", controllers, path.lstrip("/"), "pids.events")
            if events.is_file():
                return events
    return None
