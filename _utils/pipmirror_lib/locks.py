"""Locks between processes: each is a file that is locked, never written, and is free when its holder has died.

They hold between threads as well, because everyone opens the file anew.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipmirror_lib.errors import Interrupted, MirrorError, why

# Seconds between two attempts, and after which somebody who waits says so again.
POLL = 0.2
AGAIN = 30.0
# Root's, and emptied at every boot.
_RUN = Path("/run")


@contextmanager
def one_of(
    paths: Sequence[Path],
    waiting: Callable[[], object] = lambda: None,
    *,
    timeout: float | None = None,
    stopped: threading.Event | None = None,
    shared: bool = False,
) -> Iterator[Path | None]:
    """Hold the file of these that is free first; None where none is within so many seconds (None: however long).

    `shared`: together with others who share it, once nobody holds it alone. Interrupted, when the caller is
    `stopped` while he waits. Whoever holds a file alone may remove it.
    """
    began = time.monotonic()
    said = float("-inf")
    while (held := _taken(paths, shared)) is None and (timeout is None or time.monotonic() - began < timeout):
        if time.monotonic() - said >= AGAIN:
            said = time.monotonic()
            waiting()
        _pause(stopped)
    try:
        yield held[0] if held else None
    finally:
        if held:
            os.close(held[1])


def of_machine(name: str) -> Path:
    """A lock for all of our user's processes on this machine, whatever mirror they work for."""
    return _private_directory() / f"{name}.lock"


def _private_directory() -> Path:
    """Nobody else's: whoever may open a lock may hold it for ever."""
    user = os.geteuid()
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    if user == 0 and _RUN.is_dir():
        directory = _RUN / "pipmirror"
    elif user and runtime.is_dir() and runtime.stat().st_uid == user:
        directory = runtime / "pipmirror"
    else:
        directory = Path(tempfile.gettempdir()) / f"pipmirror-{user}"
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
    except OSError as error:
        raise MirrorError(f"{directory}: {why(error)}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise MirrorError(f"{directory}, where locks lie, must be a directory of our own with mode 0700; remove it")
    return directory


def _pause(stopped: threading.Event | None) -> None:
    if stopped is None:
        time.sleep(POLL)
    elif stopped.wait(POLL):
        raise Interrupted


def _taken(paths: Sequence[Path], shared: bool) -> tuple[Path, int] | None:
    import fcntl  # POSIX only; readers of the library on other systems never come here

    for path in paths:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # its holder has removed it just now
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
