"""A wheel that no index vouches for, because strangers' code made it here: every lie, and whatever two readers of an
archive could understand differently, is refused.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/
https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.tags import Tag, parse_tag

from pipmirror_lib import archives
from pipmirror_lib.errors import WheelError
from pipmirror_lib.logs import short
from pipmirror_lib.wheels import CHUNK, parse_name

_MEMBERS, _UNPACKED = 200_000, 16 << 30
# What compresses better than that, and is large, is made to fill a disk.
_RATIO, _SMALL = 200, 256 << 20
# A real WHEEL has less than 2 KB. Of its tags, short ones may stand for thousands, and long ones for billions.
_WHEEL, _TAG = 16 << 10, 255
# Real ones have less than 300 characters; readers look at each part of a path.
_PATH = 1000
_HASHES = ("sha256", "sha384", "sha512")
_LOCAL_HEADER, _END = 30, 22
# Of a member beyond 4 GB the size stands elsewhere.
_FAR = 0xFFFFFFFF
_OTHER_NAME = 0x7075
# Behind a member that was written without going back: with or without signature, of 32 or 64 bits.
_DESCRIPTORS = (12, 16, 20, 24)


def check_built(wheel: Path) -> None:
    """WheelError with the file's name and its first faults."""
    try:
        with archives.opened_zip(wheel) as archive:
            # Nothing is unpacked before what can be told without that is known to be sound.
            faults = list(_archive_faults(archive, wheel)) or list(_content_faults(archive, wheel.name))
    except Exception as error:  # for damage, zipfile and what it decompresses with know a dozen kinds
        faults = [str(error) or type(error).__name__]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WheelError(f"{wheel.name}: {'; '.join(map(short, faults[:3]))}{more}")


def _archive_faults(archive: zipfile.ZipFile, wheel: Path) -> Iterator[str]:
    members = archive.infolist()
    unpacked, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if len(members) > _MEMBERS or unpacked > _UNPACKED:
        yield f"it holds {len(members)} members of {unpacked >> 20} MiB, which is beyond any sense"
    elif unpacked > _SMALL and unpacked > _RATIO * packed:
        yield f"{packed} bytes unpack to {unpacked >> 20} MiB, which is absurd"
    else:
        yield from filter(None, map(_member_fault, members))
        yield from _colliding([member.filename for member in members])
        yield from _hidden(archive, members, wheel)


def _member_fault(member: zipfile.ZipInfo) -> str:
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    # Beyond a NUL, and of the backslash on Windows, zipfile itself makes something else.
    parts = member.orig_filename.removesuffix("/").split("/")
    if "\\" in member.orig_filename or re.match(r"[A-Za-z]:", name) or {"", ".", ".."} & set(parts):
        return f"the path {name!r} leads out of it, or is not plain"
    if len(member.orig_filename) > _PATH:
        return f"a path of {len(member.orig_filename)} characters is beyond any sense"
    if re.search(r"[\x00-\x1f\x7f-\x9f]", member.orig_filename):
        return f"the path {name!r} holds control characters"
    if kind not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
        return f"{name} is a link or a device, not a file"
    return "a directory that holds bytes" if member.is_dir() and member.file_size else ""


def _colliding(names: list[str]) -> Iterator[str]:
    """Names that are one file somewhere, or a file that others call a directory."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", name.removesuffix("/")).casefold()
        if folded in seen:
            yield f"{name} is there twice" if seen[folded] == name else f"{seen[folded]} and {name} are one elsewhere"
        seen[folded] = name
    files = {folded for folded, name in seen.items() if not name.endswith("/")}
    for folded, name in seen.items():
        if any(folded[:at] in files for at in (match.start() for match in re.finditer("/", folded))):
            yield f"{name} lies in a file"


def _hidden(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], wheel: Path) -> Iterator[str]:
    """What lies before, between or behind the members; a reader who goes through from the start would find it."""
    position = described = 0
    with wheel.open("rb") as file:
        for member in sorted(members, key=lambda member: member.header_offset):
            gap = member.header_offset - position
            if gap and not (described and gap in _DESCRIPTORS):
                yield f"bytes that belong to no member lie before {member.filename}"
                return
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER)
            *said, name, extra = struct.unpack("<HHHHLLLHH", header[6:])
            file.seek(name, os.SEEK_CUR)
            described = member.flag_bits & 0x08
            if _differs(member, said) or _renames(member.extra) or _renames(file.read(extra)):
                yield f"{member.filename} is described in two ways"
                return
            position = member.header_offset + _LOCAL_HEADER + name + extra + member.compress_size
        gap = archive.start_dir - position
        if gap and not (described and gap in _DESCRIPTORS):
            yield "bytes that belong to no member lie before its directory"
        file.seek(-_END, 2)
        if file.read(4) != b"PK\5\6":
            yield "bytes lie behind its end"


def _differs(member: zipfile.ZipInfo, said: list[int]) -> bool:
    """Whether the header before a member says something else than the directory; what follows it, or stands
    elsewhere, it may leave open.
    """
    flags, method, _, _, crc, packed, size = said
    later = {0} if flags & 0x08 else set()
    return (
        (flags, method) != (member.flag_bits, member.compress_type)
        or crc not in {member.CRC, *later}
        or packed not in {member.compress_size, _FAR, *later}
        or size not in {member.file_size, _FAR, *later}
    )


def _renames(extra: bytes) -> bool:
    """Whether it gives the member another name, which some readers take and others do not."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind == _OTHER_NAME:
            return True
        extra = extra[4 + length :]
    return False


def _content_faults(archive: zipfile.ZipFile, filename: str) -> Iterator[str]:
    (folder,) = {name.split("/")[0] for name in archive.namelist() if name.split("/")[0].endswith(".dist-info")}
    wheel = archives.unpacked(archive, archive.getinfo(f"{folder}/WHEEL"), _WHEEL).decode()
    if not _has_tags(wheel, parse_name(filename).tags):
        yield "the tags in WHEEL are not those of its name"
    name = f"{folder}/RECORD"
    rows = list(csv.reader(archives.record_lines(archive, name)))
    recorded = {row[0]: row for row in rows if len(row) == 3}
    if len(recorded) != len(rows):
        yield "RECORD has lines that are none, or two for one file"
    for member in archive.infolist():
        if not member.is_dir():
            yield from _recorded_faults(archive, member, recorded.pop(member.filename, None), name)
    yield from (f"RECORD names {path}, which is not there" for path in recorded)


def _has_tags(wheel: str, wanted: frozenset[Tag]) -> bool:
    """Whether it names these tags and no others."""
    said: set[Tag] = set()
    for text in dict.fromkeys(re.findall(r"^Tag:\s*(\S+)\s*$", wheel, re.MULTILINE)):
        found = parse_tag(text) if len(text) <= _TAG else frozenset()
        if not found or found - wanted:
            return False
        said |= found
    return said == wanted


def _recorded_faults(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, row: list[str] | None, record: str
) -> Iterator[str]:
    if row is None:
        yield f"{member.filename} is not in RECORD"
    elif member.filename == record:
        if row[1:] != ["", ""]:
            yield "RECORD has a hash or size of itself"
    else:
        algorithm, _, expected = row[1].partition("=")
        if algorithm not in _HASHES or not row[2].isdecimal():
            yield f"RECORD has no hash that proves anything, or no size, of {member.filename}"
        elif int(row[2]) != member.file_size or _hash(archive, member, algorithm) != expected.rstrip("="):
            yield f"{member.filename} is not what RECORD says"


def _hash(archive: zipfile.ZipFile, member: zipfile.ZipInfo, algorithm: str) -> str:
    archives.check_packing(member)
    digest = hashlib.new(algorithm)
    with archive.open(member) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
