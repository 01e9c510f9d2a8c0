"""Locks between processes: each is a file that is locked, never written, and is free when its holder has died.

They hold between threads as well, because everyone opens the file anew.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipmirror_lib.errors import Interrupted

# Seconds between two attempts, and after which somebody who waits says so again.
POLL = 0.2
AGAIN = 30.0
# Emptied at every boot, and everybody's on most systems: who shares an engine need not share a mirror, nor be one user.
_MACHINE = Path("/run/lock")


@contextmanager
def one_of(
    paths: Sequence[Path],
    waiting: Callable[[], object] = lambda: None,
    *,
    timeout: float | None = None,
    stopped: threading.Event | None = None,
) -> Iterator[Path | None]:
    """Hold the file of these that is free first; None where none is within so many seconds (None: however long).

    Interrupted, when the caller is `stopped` while he waits.
    """
    began = time.monotonic()
    said = float("-inf")
    while (held := _taken(paths)) is None and (timeout is None or time.monotonic() - began < timeout):
        if time.monotonic() - said >= AGAIN:
            said = time.monotonic()
            waiting()
        _pause(stopped)
    try:
        yield held[0] if held else None
    finally:
        if held:
            os.close(held[1])


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold it together with others who share it, once nobody holds it alone."""
    import fcntl

    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def of_machine(name: str) -> Path:
    """A lock for all processes of this machine, whatever mirror they work for."""
    usable = _MACHINE.is_dir() and os.access(_MACHINE, os.W_OK)
    return (_MACHINE if usable else Path(tempfile.gettempdir())) / f"pipmirror-{name}.lock"


def _pause(stopped: threading.Event | None) -> None:
    if stopped is None:
        time.sleep(POLL)
    elif stopped.wait(POLL):
        raise Interrupted


def _taken(paths: Sequence[Path]) -> tuple[Path, int] | None:
    import fcntl  # POSIX only; readers of the library on other systems never come here

    for path in paths:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return path, descriptor
    return None


def _opened(path: Path) -> int:
    """Open it, made by whoever comes first; one of another user may only be read, which is enough to lock it."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        try:
            return os.open(path, os.O_RDWR | flags)
        except PermissionError:
            return os.open(path, os.O_RDONLY | flags)
        except FileNotFoundError:
            try:
                # Not without O_EXCL: in a directory that is everybody's, the kernel refuses to create what exists.
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
            except FileExistsError:
                continue
            os.fchmod(descriptor, 0o644)  # whatever our umask is
            return descriptor
