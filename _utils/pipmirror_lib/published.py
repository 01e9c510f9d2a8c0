"""What a publication remembers, so that the next one need not read what it has written.

For each project: a fingerprint of what its pages tell, and the sizes, times and inodes of the pages themselves. A page
whose sources and whose file are those of the last time is not made, read or written again. The small part lies in
`published.json`; it tells whether any page is another file, and names the large part, which is only a cache: without
it every page is made and compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from pipmirror_lib import STAMP, caches, projects
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.page_files import Look, look_of

PAGES = ("index.html", "index.json")
# The pages that name the projects.
ROOT = ""


@dataclass
class Publication:
    """Pages as they were written, and what from."""

    # {project: fingerprint}
    sources: dict[str, bytes] = field(default_factory=dict)
    # {project, or ROOT: a look at each of its pages}
    looks: dict[str, tuple[Look, ...]] = field(default_factory=dict)


def look(simple: Path) -> dict[str, tuple[Look, ...]]:
    """{project, or ROOT: a look at each of its pages}, of all that have any."""
    names = [ROOT, *(name for name in sorted(os.listdir(simple) if simple.is_dir() else ()) if name not in PAGES)]
    looks = iter(_looks([f"{simple}/{name}/{page}" for name in names for page in PAGES]))
    return {name: both for name, both in zip(names, zip(looks, looks, strict=True), strict=True) if any(both)}


def _looks(paths: list[str]) -> list[Look]:
    try:
        return list(map(look_of, map(os.lstat, paths)))
    except OSError:
        return list(map(_look, paths))


def _look(path: str) -> Look:
    try:
        return look_of(os.lstat(path))
    except OSError:
        return ()  # absent, or being written just now


def is_of(remembered: Record, looks: Mapping[str, tuple[Look, ...]], manifest: str) -> bool:
    """Whether these are the very pages that this code has published for this manifest."""
    return bool(
        remembered.get("manifest") == manifest
        and remembered.get("code") == STAMP
        and remembered.get("looks") == projects.fingerprint(looks).hex()
    )


def load(directory: PlatformDirectory, remembered: Record) -> Publication | None:
    """The last publication, if this code has made it and all of it is still known."""
    key = remembered.get("pages")
    if not isinstance(key, str) or not key or remembered.get("code") != STAMP:
        return None
    content = caches.load(directory.publication_path, key)
    return None if content is None else Publication(*projects.unpacked(content))


def save(directory: PlatformDirectory, publication: Publication, manifest: str) -> None:
    """Remember it, of this manifest; what it speaks of is on the disk."""
    content = projects.packed((publication.sources, publication.looks))
    key, looks = blake2b(content, digest_size=16).hexdigest(), projects.fingerprint(publication.looks).hex()
    caches.store(directory.publication_path, key, content)
    remembered = {"manifest": manifest, "code": STAMP, "pages": key, "looks": looks}
    directory.save(directory.published_path, json.dumps(remembered))
