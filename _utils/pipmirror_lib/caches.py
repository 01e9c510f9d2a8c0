"""Files that are only caches: one is believed where it is whole and has the very key that was asked for.

What is deleted, half-written, damaged, of another version or overwritten by somebody else costs time, nothing else.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path

from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError


def load(path: Path, key: str) -> bytes | None:
    """What was stored under this key, or None."""
    try:
        seal, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return content if seal == _seal(key, content) else None


def store(path: Path, key: str, content: bytes) -> None:
    """Replace the cache; best effort, for a read-only mirror is still decided about, only slower."""
    with suppress(OSError, MirrorError):
        write_atomically(path, _seal(key, content) + b"\n" + content)


def _seal(key: str, content: bytes) -> bytes:
    # A checksum, because a disk that was full or lost its power may leave a file of the right length.
    return f"{key} {zlib.crc32(content):08x}".encode()
