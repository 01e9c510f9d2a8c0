"""A file on a server, read in parts: a search that tries hundreds of wheels needs a few kilobytes of each.

https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import io
from collections.abc import Callable

from pipmirror_lib.errors import WheelError

BLOCK = 64 << 10
# The directory of the largest known wheels has some 4 MB; who wants more does not want us to read METADATA.
LIMIT = 32 << 20
TAIL = 1 << 20
Fetch = Callable[[int, int], bytes]


class RemoteFile(io.RawIOBase):
    """Seekable and readable; `fetch` gets the bytes from one position up to, not including, another."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        super().__init__()
        self._fetch, self._size, self._position = fetch, size, 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        begin, self._position = self._position, max(self._position, end)
        if begin >= end:
            return b""
        blocks = range(begin // BLOCK, (end - 1) // BLOCK + 1)
        self._have(blocks)
        content = b"".join(self._blocks[number] for number in blocks)
        first = blocks[0] * BLOCK
        return content[begin - first : end - first]

    def _have(self, blocks: range) -> None:
        """Fetch what is missing, all between the first and the last missing block in one request."""
        if not self._blocks:  # a wheel's directory and METADATA stand at its end: mostly one request has all of it
            blocks = range(min(blocks[0], (self._size - min(self._size // 4, TAIL)) // BLOCK), blocks[-1] + 1)
        missing = [number for number in blocks if number not in self._blocks]
        if not missing:
            return
        if (len(self._blocks) + len(blocks)) * BLOCK > LIMIT:
            raise WheelError(f"METADATA cannot be read from {LIMIT >> 20} MB of its wheel")
        begin, end = missing[0] * BLOCK, min((missing[-1] + 1) * BLOCK, self._size)
        content = self._fetch(begin, end)
        for number in range(missing[0], missing[-1] + 1):
            offset = number * BLOCK - begin
            self._blocks[number] = content[offset : offset + BLOCK]
