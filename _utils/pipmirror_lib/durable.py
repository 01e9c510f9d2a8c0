"""Files that outlive a kill and a power cut: written beside and renamed; on the disk before anything relies on them."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from pipmirror_lib.errors import MirrorError, why

TEMPORARY = ".{}.{}.tmp"


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o600,
    durable: bool = False,
    finish: Callable[[Path], None] = lambda temporary: None,
) -> None:
    """Write beside, then rename: a reader sees the old content or the new, never a part.

    `finish` may alter owner, mode or time before anybody sees the file. What is `durable` is on the disk under its
    name at the end, and with it all that was renamed there before.
    """
    temporary = _beside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            finish(temporary)
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except MirrorError:
        temporary.unlink(missing_ok=True)
        raise
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MirrorError(f"cannot write {path}: {why(error)}") from error


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
        temporary.unlink(missing_ok=True)
        raise
    source.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(TEMPORARY.format(path.name, f"{os.getpid()}-{threading.get_ident()}"))
