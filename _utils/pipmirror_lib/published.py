"""What a publication remembers, so that the next one need not read what it has written.

For each project: a digest of what its pages say, by file, and the sizes, times and inodes of the pages themselves. A
page whose sources and whose file are those of the last time is not made, read or written again. The small part lies in
`published.json` and names the large one, which is only a cache: without it every page is made and compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from pipmirror_lib import STAMP, caches, yanks
from pipmirror_lib.mirror import PlatformDirectory, Record

PAGES = ("index.html", "index.json")
# Size, time and inode of each of the two pages; nothing where they are not both there.
Stamp = tuple[int, ...]
# The pages that name the projects.
ROOT = ""


@dataclass
class Publication:
    """Pages as they were written, and what from."""

    # {project: {file name: digest}}
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    # {project, or ROOT: its pages}
    stamps: dict[str, Stamp] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        """By file name, of all projects."""
        return {name: digest for files in self.sources.values() for name, digest in files.items()}

    def touched(self, simple: Path) -> set[str]:
        """Projects (and ROOT) whose pages are not the files that were written."""
        return {one for one, stamp in self.stamps.items() if not stamp or look(simple, one) != stamp}


def look(simple: Path, project: str) -> Stamp:
    """What tells a project's pages from others without reading them."""
    folder = f"{simple}/{project}" if project else str(simple)
    try:
        first, second = os.lstat(f"{folder}/{PAGES[0]}"), os.lstat(f"{folder}/{PAGES[1]}")
    except OSError:
        return ()  # absent, or being written just now
    return (first.st_size, first.st_mtime_ns, first.st_ino, second.st_size, second.st_mtime_ns, second.st_ino)


def digest(record: Record) -> str:
    """Of everything that a page says of a wheel."""
    said = (
        f"{record['sha256']} {record['metadata_sha256']} {record['size']} {record['admitted']}"
        f" {record.get('upload_time')!r} {record.get('requires_python')!r} {yanks.told(record)!r}"
    )
    return blake2b(said.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def digests(wheels: Mapping[str, Record]) -> dict[str, str]:
    return {filename: digest(record) for filename, record in wheels.items()}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    """File names of what came, went, or is said otherwise."""
    return {name for name, _ in before.items() ^ now.items()}


def load(directory: PlatformDirectory, remembered: Record) -> Publication | None:
    """The last publication, if this code has made it and all of it is still known."""
    key = remembered.get("pages")
    if not isinstance(key, str) or not key or remembered.get("code") != STAMP:
        return None
    content = caches.load(directory.publication_path, key)
    if content is None:
        return None
    said = json.loads(content)
    return Publication(said["sources"], {project: tuple(stamp) for project, stamp in said["stamps"].items()})


def save(directory: PlatformDirectory, publication: Publication, manifest: str) -> None:
    """Remember it, of this manifest; what it speaks of is on the disk."""
    content = json.dumps(vars(publication), separators=(",", ":")).encode()
    key = blake2b(content, digest_size=16).hexdigest()
    caches.store(directory.publication_path, key, content)
    directory.save(directory.published_path, json.dumps({"manifest": manifest, "code": STAMP, "pages": key}))
