"""Candidates from a directory: the wheels that lie there, each opened once and remembered."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import MirrorError, WheelError
from pipmirror_lib.wheels import Metadata, checked_metadata, parse_name

CACHE_FORMAT = 1


@dataclass
class LocalSource:
    """The wheels of one directory.

    `broken` says which of them pip would choose and then give up on; `ignored`, which it skips for their names.
    """

    where = "in the mirror"

    by_project: dict[NormalizedName, list[Candidate]] = field(default_factory=dict)
    metadata_of: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    # What a link leads to can change without the directory showing it.
    links: bool = False

    def files(self, project: NormalizedName) -> Sequence[Candidate]:
        return self.by_project.get(project, ())

    def withheld(self, project: NormalizedName) -> str:
        return ""

    def metadata(self, candidate: Candidate) -> Metadata:
        return Metadata.from_data(self.metadata_of[candidate.filename])

    def prefetch(self, projects: Iterable[NormalizedName], candidates: Iterable[Candidate]) -> None:
        """Nothing to fetch: the scan has read everything."""

    @property
    def all_files(self) -> list[Candidate]:
        return [candidate for files in self.by_project.values() for candidate in files]


def scan(
    directory: Path, cache: Path | None = None, manifest: Mapping[str, Mapping[str, Any]] | None = None
) -> LocalSource:
    """Read the wheels of a directory, opening only those that the cache does not know by size, time and inode.

    `manifest` (by file name) adds sha256 and whether a wheel was built here. The cache is only a cache: it is
    replaced in one rename, and one that cannot be read or written costs time, nothing else.
    """
    known = _load(cache)
    source, entries = LocalSource(), {}
    try:
        found = [entry for entry in os.scandir(directory) if entry.name.endswith(".whl")]
    except FileNotFoundError:
        return source
    except OSError as error:
        raise MirrorError(f"cannot read {directory}: {error.strerror}") from error
    for entry in found:
        try:
            parse_name(entry.name)
        except WheelError as error:
            source.ignored[entry.name] = str(error)
            continue
        try:
            stat = entry.stat()
        except OSError as error:  # a link to nowhere, or gone since we looked
            source.broken[entry.name] = f"{entry.name} cannot be read: {error.strerror}"
            continue
        source.links = source.links or entry.is_symlink()
        key = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        old = known.get(entry.name)
        entries[entry.name] = old if old and old[:3] == key else [*key, _inspect(Path(entry.path))]
        _add(source, entry, entries[entry.name], (manifest or {}).get(entry.name, {}))
    if cache and entries != known:
        _store(cache, entries)
    return source


def _inspect(path: Path) -> Mapping[str, Any] | str:
    """The metadata, or the reason why pip could not use the file."""
    try:
        if not path.is_file():
            return f"{path.name} is not a regular file"
        return asdict(checked_metadata(path, path.name)[1])
    except WheelError as error:
        cause = error.__cause__
        # A disk that cannot be read says nothing of the wheel (EINVAL is what damaged archives lead to).
        if isinstance(cause, OSError) and cause.errno != errno.EINVAL:
            raise MirrorError(f"cannot read {path}: {cause.strerror}") from error
        return str(error)


def _add(source: LocalSource, entry: os.DirEntry[str], known: Sequence[Any], record: Mapping[str, Any]) -> None:
    content = known[3]
    if isinstance(content, str):
        source.broken[entry.name] = content
        return
    if record.get("origin") in ("index", "built", "url") and record.get("size", known[0]) != known[0]:
        source.broken[entry.name] = f"{entry.name} was replaced: {known[0]} bytes instead of {record.get('size')}"
        return
    name = parse_name(entry.name)
    source.metadata_of[entry.name] = content
    source.by_project.setdefault(name.project, []).append(
        Candidate(
            project=name.project,
            version=name.version,
            filename=entry.name,
            wheel=name,
            path=Path(entry.path),
            sha256=str(record.get("sha256", "")),
            size=known[0],
            requires_python=content.get("requires_python"),
            built=record.get("origin") == "built",
            yanked=record.get("yanked", "" if record.get("withdrawn") else None),
            source=tuple(str(value) for value in record.get("source", {}).values()),
        )
    )


def _load(cache: Path | None) -> dict[str, Any]:
    if cache is None:
        return {}
    try:
        data = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    fits = isinstance(data, dict) and data.get("format") == CACHE_FORMAT and isinstance(data.get("wheels"), dict)
    known = data["wheels"] if fits else {}
    return {name: entry for name, entry in known.items() if isinstance(entry, list) and len(entry) == 4}


def _store(cache: Path, entries: Mapping[str, Any]) -> None:
    """Best effort on purpose: a read-only mirror is still scanned, only slower."""
    if not cache.parent.is_dir():
        return
    with suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=cache.parent, prefix=cache.name)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"format": CACHE_FORMAT, "wheels": entries}, file)
            os.replace(temporary, cache)
        except OSError:
            os.unlink(temporary)
