"""The lock of a sync that did not come to its end, so that the next one fetches what lacks instead of deciding again.

Only for a short while, and only for the very same question: an index changes, and nobody wants to be told an hour
later what was the newest then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import packaging

from pipmirror_lib import STAMP, caches
from pipmirror_lib.candidates import Candidate, named
from pipmirror_lib.credentials import split
from pipmirror_lib.local import LocalSource
from pipmirror_lib.lock import Lock
from pipmirror_lib.moments import age, now
from pipmirror_lib.pages import bare
from pipmirror_lib.plan import asked
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Mirror, Platform

FRESH = 3600  # seconds
_FIELDS = ("project", "filename", "url", "sha256", "size", "requires_python", "upload_time", "yanked")


def key_of(mirror: Mirror, platform: Platform, profile: TargetProfile, *, upgrade: bool) -> str:
    """Whatever the decision depends on beside the index and what lies there."""
    index = mirror.index
    parts = [
        *(STAMP, packaging.__version__, asked(mirror, platform), [str(r) for r in mirror.build_constraints]),
        *(mirror.min_age, upgrade, [split(url)[0] for url in (index.url, *index.extra_urls) if url]),
        asdict(profile),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def store(path: Path, key: str, locked: Lock, present: LocalSource, lacking: Collection[str]) -> None:
    """Keep a lock, if it is complete and nothing of it is a secret or could become another file.

    `lacking` are URLs whose page offers metadata that nobody should compare with.
    """
    if locked.missing or locked.undecided or not all(map(_may_be_kept, locked.coming)):
        return
    content = {
        "made": now(),
        "present": sorted(present.sizes),
        "sets": {name: [_data(c, lacking) for c in closure] for name, closure in locked.sets.items()},
        "warnings": locked.warnings,
    }
    caches.store(path, key, json.dumps(content).encode())


def load(path: Path, key: str, present: LocalSource) -> Lock | None:
    """The lock that was kept; None where it is old, or where anything came or went but what it names."""
    content = caches.load(path, key)
    said: dict[str, Any] = json.loads(content) if content else {}
    if not 0 <= age(said.get("made", "")) < FRESH:
        return None
    named_there = {one["filename"] for closure in said["sets"].values() for one in closure}
    there, before = set(present.sizes), set(said["present"])
    if before - there or (there - before) - named_there:
        return None
    lying = {candidate.filename: candidate for candidate in present.all_files}
    sets = {name: _closure(closure, lying) for name, closure in said["sets"].items()}
    complete = {name: closure for name, closure in sets.items() if closure is not None}
    return Lock(complete, warnings=tuple(said["warnings"])) if len(complete) == len(sets) else None


def _may_be_kept(candidate: Candidate) -> bool:
    """A URL with a query or a user may hold a password, and only a hash tells a file for certain."""
    return bool(candidate.sha256) and candidate.url == bare(candidate.url)


def _data(candidate: Candidate, lacking: Collection[str]) -> dict[str, Any]:
    if candidate.path is not None:
        return {"filename": candidate.filename, "sha256": candidate.sha256}
    vouched = None if candidate.url in lacking else candidate.metadata_sha256
    return {**{name: getattr(candidate, name) for name in _FIELDS}, "metadata_sha256": vouched}


def _closure(files: Iterable[Mapping[str, Any]], lying: Mapping[str, Candidate]) -> tuple[Candidate, ...] | None:
    found = []
    for said in files:
        there = lying.get(said["filename"])
        if there is None and "url" in said:
            there = _candidate(said)
        if there is None or there.sha256 != said["sha256"]:
            return None
        found.append(there)
    return tuple(found)


def _candidate(said: Mapping[str, Any]) -> Candidate | None:
    name = named(said["filename"], said["project"])
    return Candidate(version=name[0], wheel=name[1], **said) if name else None
