"""Archives from strangers, opened so that what they say of their own sizes cannot take our memory.

zipfile and tarfile read directories and headers in one piece, of the size that stands there, and unpack a member as
a whole, whatever its size was said to be.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

# The directory of the largest known wheels has some 4 MB; a header of a tar archive some kilobytes.
ZIP_READ, TAR_READ = 17 << 20, 4 << 20
# Of all headers of a tar archive: those of large ones have some 20 MB, and a few that hold for all of its members.
TAR_HEADERS, TAR_GLOBAL = 64 << 20, 100
# RECORD of the largest known wheels has some 2 MB; whatever ends a line for some reader of it.
RECORD_LIMIT = 32 << 20
_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
# What wheels and sdists are packed with; of the others' output the standard library bounds nothing.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNPACKERS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


class Careful:
    """A file of which nobody reads more than so much at once."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit = file, limit

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._limit + 1 if size is None or size < 0 else size
        content = self._file.read(wanted) if wanted <= self._limit + 1 else None
        if content is None or len(content) > self._limit:
            raise ValueError(f"it wants more than {self._limit >> 20} MB to be read at once")
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class CarefulTar(Careful):
    """A tar archive of which not much is read for a member, nor for all of them; what is passed over does not count."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, TAR_READ)
        self._left, self._left_for_all = TAR_READ, TAR_HEADERS

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._left -= len(content)
        self._left_for_all -= len(content)
        if min(self._left, self._left_for_all) < 0:
            raise ValueError("its headers are larger than those of any real archive")
        return content

    def begin(self) -> None:
        """With the next member."""
        self._left = TAR_READ


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """One after the other, none of them kept; ValueError where headers could take our memory."""
    for member in tar:
        if len(tar.pax_headers) > TAR_GLOBAL:  # each member has a copy
            raise ValueError("its headers are more than those of any real archive")
        yield member
        cast("Any", tar).members.clear()  # which its type does not tell of
        cast("CarefulTar", tar.fileobj).begin()


@contextmanager
def opened_zip(place: Path | IO[bytes]) -> Iterator[zipfile.ZipFile]:
    with ExitStack() as stack:
        file = stack.enter_context(place.open("rb")) if isinstance(place, Path) else place
        yield stack.enter_context(zipfile.ZipFile(cast("IO[bytes]", Careful(file, ZIP_READ))))


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    """A member of at most so many bytes; ValueError for a larger one, and for what wheels are not packed with."""
    check_packing(member)
    with archive.open(member) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{member.filename} is larger than {limit} bytes")
    return content


def record_lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    """Those of RECORD; ValueError for more than there can be, each of which would take many times its size."""
    text = unpacked(archive, archive.getinfo(name), RECORD_LIMIT).decode()
    if sum(map(text.count, _ENDS)) > 2 * len(archive.infolist()):  # some write \r\n
        raise ValueError("RECORD has more lines than there are files")
    return text.splitlines()


def check_packing(member: zipfile.ZipInfo) -> None:
    if member.compress_type not in _PACKED:
        raise ValueError(f"{member.filename} is packed with neither nothing nor deflate")


@contextmanager
def opened_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        start = file.read(6)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _UNPACKERS if start.startswith(magic)), None)
        stream = stack.enter_context(unpack(file)) if unpack else file
        yield stack.enter_context(tarfile.open(fileobj=cast("IO[bytes]", CarefulTar(stream)), mode="r:"))
