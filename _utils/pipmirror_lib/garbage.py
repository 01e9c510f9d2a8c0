"""When the garbage collector looks for what nobody uses any more."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_users: list[tuple[int, int, int]] = []


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Let the garbage collector look less often.

    The pages of an index, or the wheels of a mirror, are a million objects that all stay; searching them for garbage
    every 700 new ones takes a fifth of a run, or a third. The last thread to leave restores what the first one found.
    """
    with _lock:
        _users.append(gc.get_threshold() if not _users else _users[0])
        gc.set_threshold(200_000, 100, 100)
    try:
        yield
    finally:
        with _lock:
            before = _users.pop()
            if not _users:
                # What is still there stays: it joins the old objects without being searched first.
                if not gc.get_freeze_count():
                    gc.freeze()
                    gc.unfreeze()
                gc.set_threshold(*before)
