"""What Gentoo says of distfiles: where a mirror has them, what they must be, and which ones Portage wants.

https://www.gentoo.org/glep/glep-0074.html (Manifest files)
https://www.gentoo.org/glep/glep-0075.html (the layout of a mirror)
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipmirror_lib.errors import PortageError
from pipmirror_lib.workplace import read_untrusted

# What Gentoo's own mirrors have had since 2019, and alone since 2023.
LAYOUT = "[structure]\n0=filename-hash BLAKE2B 8\n"
# A mirror that Portage is told of while it only lists: there every file has its own name, whatever its sources are
# called, and no restriction excludes it. It is `local`, so it comes first (portage(5), /etc/portage/mirrors).
LISTED_FROM = "pipmirror://mirror"
_LISTED = re.compile(rf"^{re.escape(LISTED_FROM)}/distfiles/(\S+)(?=\s|$)", re.MULTILINE)
_ADDRESSES = re.compile(r"^(?:https?|ftp|mirror)://\S", re.MULTILINE)
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f]{1,255}")
_MANIFEST = 16 << 20
_CHUNK = 1 << 20
# In the order of our preference; what Manifests also hold, or have held, proves nothing any more.
HASHES: dict[str, Callable[[], Any]] = {
    "BLAKE2B": hashlib.blake2b,
    "SHA512": hashlib.sha512,
    "SHA3_512": hashlib.sha3_512,
    "SHA3_256": hashlib.sha3_256,
    "SHA256": hashlib.sha256,
}
_SNAPSHOT = re.compile(r"(?:gentoo|portage)-([0-9]{8})\.tar\.(?:xz|bz2|gz)")
# The order in which a client asks for them, backwards: what it asks for first comes last.
SNAPSHOT_PARTS = ("", ".gpgsig", ".md5sum")


@dataclass(frozen=True)
class Digest:
    """What a file must be, by one Manifest."""

    size: int
    hashes: tuple[tuple[str, str], ...]

    @property
    def best(self) -> str:
        """By which a record tells whether it still means the same file."""
        name, value = self.hashes[0]
        return f"{name}={value}"

    def difference(self, size: int, hashes: dict[str, str]) -> str:
        """What is wrong with a file, or ''."""
        if size != self.size:
            return f"it has {size} bytes, not {self.size}"
        wrong = next((name for name, value in self.hashes if hashes[name] != value), "")
        return f"its {wrong} is {hashes[wrong]}, not {dict(self.hashes)[wrong]}" if wrong else ""


def is_name(text: str) -> bool:
    """Whether a distfile may be called that: no path, nothing hidden, nothing that could be a file of ours."""
    return bool(_NAME.fullmatch(text)) and not text.startswith(".") and text != "layout.conf"


def place(name: str) -> str:
    """Where the mirror has a distfile, below its `distfiles`: the first eight bits of its name's hash, and the name."""
    return f"{hashlib.blake2b(name.encode()).hexdigest()[:2]}/{name}"


def listed(text: str) -> set[str]:
    """The distfiles that `emerge --pretend --fetchonly` names; PortageError for a name that is none, and for a Portage
    that names them otherwise: nothing would seem to be needed.
    """
    names = set(_LISTED.findall(text))
    if not names and _ADDRESSES.search(text):
        raise PortageError("Portage names addresses, and no distfile as it was told to: it is too old or too new")
    if bad := sorted(name for name in names if not is_name(name)):
        raise PortageError(f"Portage names the distfile {bad[0]!r}, which is no name of a file; nothing is fetched")
    return names


def digests(tree: Path, names: Collection[str]) -> dict[str, list[Digest]]:
    """What the Manifests of all packages say of these distfiles; one that is shared may stand in several."""
    wanted, found = frozenset(names), dict[str, list[Digest]]()
    for manifest in _manifests(tree):
        for name, digest in _entries(_read(manifest), wanted):
            if digest not in found.setdefault(name, []):
                found[name].append(digest)
    return found


def _manifests(tree: Path) -> Iterator[Path]:
    """CATEGORY/PACKAGE/Manifest, through no link: the tree was unpacked by a container."""
    for category in _folders(tree):
        for package in _folders(category):
            yield package / "Manifest"


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(
            folder / entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )


def _read(manifest: Path) -> str:
    try:
        return read_untrusted(manifest, _MANIFEST).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""  # directories such as profiles and metadata have none
    except (OSError, ValueError) as error:
        raise PortageError(f"{manifest} cannot be read ({error}); remove the snapshot, and sync again") from error


def _entries(text: str, wanted: Collection[str]) -> Iterator[tuple[str, Digest]]:
    """`DIST NAME SIZE HASH VALUE HASH VALUE …`; a line without a hash that proves anything counts as none."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 4 and words[0] == "DIST" and words[1] in wanted and re.fullmatch(r"[0-9]{1,15}", words[2]):
            said = dict(zip(words[3::2], words[4::2], strict=False))
            hashes = tuple((name, said[name].lower()) for name in HASHES if name in said)
            if hashes:
                yield words[1], Digest(int(words[2]), hashes)


def measured(reader: BinaryIO, hashes: Collection[str], writer: BinaryIO | None = None) -> tuple[int, dict[str, str]]:
    """(size, {hash: value}) of what is read, which is copied to `writer` on the way."""
    running, size = {name: HASHES[name]() for name in hashes}, 0
    while chunk := reader.read(_CHUNK):
        size += len(chunk)
        for digest in running.values():
            digest.update(chunk)
        if writer:
            writer.write(chunk)
    return size, {name: digest.hexdigest() for name, digest in running.items()}


def newest_snapshot(names: Collection[str]) -> str:
    """The archive of the youngest tree that is there with its sum and signature; '' where none is."""
    archives = (name for name in sorted(names) if snapshot_date(name))
    whole = [name for name in archives if all(f"{name}{part}" in names for part in SNAPSHOT_PARTS)]
    return max(whole, key=snapshot_date, default="")


def snapshot_date(name: str) -> str:
    """Of which day it is; '' for the name of anything else."""
    match = _SNAPSHOT.fullmatch(name)
    return match[1] if match else ""
