"""An end to every conversation: a server that sends a byte now and then would never let a reader go.

What the library's own timeouts bound is the silence between two bytes, in the handshake, the headers and the body.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class Deadline:
    """Hangs up when it is time, by handles of its own: whom a socket belongs to changes on the way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self.late = threading.Event()

    def within(self, seconds: float) -> None:
        """From now on; what is watched stays so."""
        self._clock.set(self, time.monotonic() + seconds)

    def again(self, seconds: float) -> None:
        """For another attempt, with a connection of its own."""
        self.close()
        self.late.clear()
        self.within(seconds)

    def watch(self, line: socket.socket) -> None:
        handle = socket.socket(fileno=os.dup(line.fileno()))
        with self._lock:
            self._handles.append(handle)
        if self.late.is_set():
            self.drop()

    def hang_up(self) -> None:
        """Now, from whatever thread."""
        self.late.set()
        self.drop()

    def drop(self) -> None:
        """End the conversation; closing leaves it open where something of it is still referred to."""
        with self._lock:
            for handle in self._handles:
                with suppress(OSError):  # it has ended just now
                    handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._clock.set(self, math.inf)  # it may be hanging up right now, and would take the next attempt's connection
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()


class Clock:
    """Tells the conversations of a run when their time is over.

    A thread for all of them, while there are any: to start one for each takes longer than most of them last.
    """

    def __init__(self) -> None:
        self._ends: dict[Deadline, float] = {}
        self._changed = threading.Condition()
        self._wakes = math.inf
        self._runs = False

    @contextmanager
    def deadline(self) -> Iterator[Deadline]:
        """For every connection that this thread opens or uses while it lasts."""
        _current.deadline = made = Deadline(self)
        self.set(made, math.inf)
        try:
            yield made
        finally:
            _current.deadline = None
            made.close()
            with self._changed:
                del self._ends[made]

    def set(self, deadline: Deadline, end: float) -> None:
        """Once this returns, nothing is under way because of what was said before."""
        with self._changed:
            self._ends[deadline] = end
            if end == math.inf:
                return
            if not self._runs:
                threading.Thread(target=self._run, name="pipmirror-clock", daemon=True).start()
                self._runs = True
            elif end < self._wakes:
                self._changed.notify()

    def hang_up(self) -> None:
        """Whatever is said now."""
        with self._changed:
            for deadline in self._ends:
                deadline.hang_up()
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline, end in self._ends.items():
                    if end <= now:
                        self._ends[deadline] = math.inf
                        deadline.hang_up()
                self._wakes = min(self._ends.values(), default=math.inf)
                if self._wakes == math.inf:
                    self._runs = False
                    return
                self._changed.wait(self._wakes - now)


_current = threading.local()


def _watch(line: socket.socket | None) -> None:
    current: Deadline | None = getattr(_current, "deadline", None)
    if current is not None and line is not None:
        current.watch(line)


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        line = super()._new_conn()
        _watch(line)
        return line

    def request(self, *arguments: Any, **options: Any) -> None:
        _watch(self.sock)  # a connection that was kept
        super().request(*arguments, **options)


class _Secure(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        line = super()._new_conn()
        _watch(line)
        return line

    def request(self, *arguments: Any, **options: Any) -> None:
        _watch(self.sock)
        super().request(*arguments, **options)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


class Adapter(HTTPAdapter):
    """Connections that know the deadline of whoever uses them.

    It follows and repeats nothing: the library would read what it skips to the end, and there may be none.
    """

    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=connections, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # whose pools are of another kind
            manager.pool_classes_by_scheme = dict(_POOLS)
        return manager
