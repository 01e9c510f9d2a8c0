"""Files that outlive a kill and a power cut: written beside and renamed; on the disk before anything relies on them."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from pipmirror_lib.errors import MirrorError, why

TEMPORARY = ".{}.{}.tmp"
# So many files are synced one by one.
FEW = 32


def sync(path: Path | str) -> None:
    """Wait until the disk has a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class EarlySync:
    """Lets the disk begin with what has been written, while more is: at the end there is less to wait for."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._good = True

    def begin(self, path: str) -> None:
        """With the whole file system of a path, unless it is still at it."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._sync, args=(path,), name="pipmirror-sync", daemon=True)
            self._thread.start()

    def _sync(self, path: str) -> None:
        try:
            done = _sync_file_system(path)
        except OSError:
            done = False
        self._good = self._good and done

    def end(self) -> bool:
        """Whether all went well: what the system tells of a failure, it tells whoever asks first, and nobody else."""
        if self._thread:
            self._thread.join()
        return self._good


def sync_all(paths: Iterable[Path | str], *, together: bool = True) -> None:
    """Wait until the disk has these files and the names in these directories, all of one file system.

    Many are had `together` at the cost of a few, and with them whatever else waits to be written there.
    """
    wanted = list(dict.fromkeys(map(str, paths)))
    if len(wanted) <= FEW or not (together and _sync_file_system(wanted[0])):
        for path in wanted:
            sync(path)


def _sync_file_system(path: str) -> bool:
    """Whether that could be done; Python has no name for it, and not every C library has."""
    import ctypes  # takes its time, and few need it

    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError, TypeError):
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return bool(call(descriptor) == 0)
    finally:
        os.close(descriptor)


def write_atomically(
    path: Path | str,
    content: bytes,
    *,
    mode: int = 0o600,
    durable: bool = False,
    finish: Callable[[int], None] = lambda descriptor: None,
) -> None:
    """Write beside, then rename: a reader sees the old content or the new, never a part.

    `finish` may change owner, mode or time of the open file before anybody sees it. What is `durable` is on the disk
    under its name at the end, and with it all that was renamed there before.
    """
    temporary = _beside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            _write(descriptor, content)
            finish(descriptor)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        if durable:
            sync(os.path.dirname(path))
    except MirrorError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise MirrorError(f"cannot write {path}: {why(error)}") from error


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def move(source: Path, target: Path) -> None:
    """Rename in one step, also onto another file system, where a synced copy is what is renamed."""
    try:
        os.replace(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    temporary = _beside(target)
    try:
        shutil.copy2(source, temporary)
        stat = source.stat()
        shutil.chown(temporary, stat.st_uid, stat.st_gid)
        sync(temporary)
        os.replace(temporary, target)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    source.unlink()


def _beside(path: Path | str) -> str:
    folder, separator, name = os.fspath(path).rpartition(os.sep)
    return f"{folder}{separator}{TEMPORARY.format(name, f'{os.getpid()}-{threading.get_ident()}')}"
