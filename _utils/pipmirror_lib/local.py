"""Candidates from a directory: the wheels that lie there, each opened once and remembered."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import packaging
from packaging.utils import NormalizedName

from pipmirror_lib import STAMP, caches, upstream
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import MirrorError, WheelError
from pipmirror_lib.wheels import Metadata, checked_metadata, parse_name

# What a wheel is found to be depends on our code and on packaging's.
CACHE_KEY = hashlib.sha256(f"{STAMP} {packaging.__version__}".encode()).hexdigest()
# Of one wheel: size, time and inode, by which it is known again; its project; why pip could not use it, or ''.
Known = list[Any]


class _ScanCache:
    """What earlier scans have read: a line about all wheels, then one for each with its metadata, parsed on demand."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        content = caches.load(path, CACHE_KEY) if path else None
        head, _, self._texts = (content or b"{}").partition(b"\n")
        self.wheels: dict[str, Known] = json.loads(head)
        self._metadata: dict[str, Metadata] = {}
        self._fresh: dict[str, str] = {}

    @cached_property
    def _lines(self) -> dict[str, str]:
        return dict(zip(self.wheels, self._texts.decode().split("\n"), strict=False))

    def metadata(self, filename: str) -> Metadata:
        if filename not in self._metadata:
            self._metadata[filename] = Metadata.from_data(json.loads(self._lines[filename]))
        return self._metadata[filename]

    def look(self, path: Path) -> tuple[str, str]:
        """Open a wheel; its project, and why pip could not use it."""
        found = _inspect(path)
        fault = found if isinstance(found, str) else ""
        self._fresh[path.name] = "" if isinstance(found, str) else json.dumps(asdict(found))
        if not isinstance(found, str):
            self._metadata[path.name] = found
        return parse_name(path.name).project, fault

    def keep(self, wheels: dict[str, Known]) -> None:
        """Remember these wheels from now on, and no others."""
        if self._path and wheels != self.wheels:
            lines = (self._fresh[name] if name in self._fresh else self._lines[name] for name in wheels)
            caches.store(self._path, CACHE_KEY, "\n".join([json.dumps(wheels), *lines]).encode())


def _inspect(path: Path) -> Metadata | str:
    """The metadata, or the reason why pip could not use the file."""
    try:
        if not path.is_file():
            return f"{path.name} is not a regular file"
        return checked_metadata(path, path.name)[1]
    except WheelError as error:
        cause = error.__cause__
        # A disk that cannot be read says nothing of the wheel (EINVAL is what damaged archives lead to).
        if isinstance(cause, OSError) and cause.errno != errno.EINVAL:
            raise MirrorError(f"cannot read {path}: {cause.strerror}") from error
        return str(error)


@dataclass
class LocalSource:
    """The wheels of one directory.

    `broken` says which of them pip would choose and then give up on; `ignored`, which it skips for their names;
    `sizes` has all others. Of thousands of wheels most are never wanted, so candidates are made when asked for.
    """

    where = "in the mirror"

    directory: Path
    cache: _ScanCache = field(repr=False)
    manifest: Mapping[str, Mapping[str, Any]] = field(repr=False)
    sizes: dict[str, int] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    # Wheels that have METADATA beside them.
    described: set[str] = field(default_factory=set)
    # What a link leads to can change without the directory showing it.
    links: bool = False
    names: dict[NormalizedName, list[str]] = field(default_factory=dict)
    _made: dict[NormalizedName, list[Candidate]] = field(default_factory=dict, repr=False)

    def files(self, project: NormalizedName) -> Sequence[Candidate]:
        if project not in self._made and project in self.names:
            # Of files that are equally good pip takes the one whose name comes first, and a source lists that one last.
            self._made[project] = [self._candidate(name) for name in sorted(self.names[project], reverse=True)]
        return self._made.get(project, ())

    @property
    def ahead(self) -> None:
        """The scan has read everything."""

    def withheld(self, project: NormalizedName) -> str:
        return ""

    def metadata(self, candidate: Candidate) -> Metadata:
        return self.cache.metadata(candidate.filename)

    def prefetch(self, projects: Iterable[NormalizedName], candidates: Iterable[Candidate]) -> None:
        """Nothing to fetch: the scan has read everything."""

    @property
    def by_project(self) -> Mapping[NormalizedName, Sequence[Candidate]]:
        return _ByProject(self)

    @property
    def all_files(self) -> list[Candidate]:
        return [candidate for files in self.by_project.values() for candidate in files]

    def counts(self, filename: str) -> bool:
        """Whether pip would take this for the name of a wheel at all."""
        try:
            parse_name(filename)
        except WheelError as error:
            self.ignored[filename] = str(error)
            return False
        return True

    def add(self, filename: str, known: Known) -> None:
        size, project, fault = known[0], known[3], known[4]
        record = self.manifest.get(filename)
        if fault:
            self.broken[filename] = fault
        elif record and record.get("size", size) != size and record.get("origin") in ("index", "built", "url"):
            self.broken[filename] = f"{filename} was replaced: {size} bytes instead of {record['size']}"
        else:
            self.sizes[filename] = size
            self.names.setdefault(project, []).append(filename)

    def _candidate(self, filename: str) -> Candidate:
        name, record = parse_name(filename), self.manifest.get(filename, {})
        return Candidate(
            project=name.project,
            version=name.version,
            filename=filename,
            wheel=name,
            path=self.directory / filename,
            sha256=str(record.get("sha256", "")),
            size=self.sizes[filename],
            built=record.get("origin") == "built",
            by_url=record.get("origin") == "url",
            yanked=upstream.yanked(record),
            source=tuple(str(value) for value in record.get("source", {}).values()),
        )


class _ByProject(Mapping[NormalizedName, Sequence[Candidate]]):
    """A view, made anew each time: a source that knew its own would stay until the garbage collector comes."""

    def __init__(self, source: LocalSource) -> None:
        self._source = source

    def __getitem__(self, project: NormalizedName) -> Sequence[Candidate]:
        if project not in self._source.names:
            raise KeyError(project)
        return self._source.files(project)

    def __iter__(self) -> Iterator[NormalizedName]:
        return iter(self._source.names)

    def __len__(self) -> int:
        return len(self._source.names)


def scan(
    directory: Path, cache: Path | None = None, manifest: Mapping[str, Mapping[str, Any]] | None = None
) -> LocalSource:
    """Read the wheels of a directory, opening only those that the cache does not know by size, time and inode.

    `manifest` (by file name) adds sha256 and whether a wheel was built here.
    """
    remembered = _ScanCache(cache)
    source = LocalSource(directory, remembered, manifest or {})
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return source
    except OSError as error:
        raise MirrorError(f"cannot read {directory}: {error.strerror}") from error
    source.described.update(e.name.removesuffix(".metadata") for e in entries if e.name.endswith(".whl.metadata"))
    wheels: dict[str, Known] = {}
    for entry in (one for one in entries if one.name.endswith(".whl")):
        known = remembered.wheels.get(entry.name)
        if known is None and not source.counts(entry.name):
            continue
        try:
            stat = entry.stat()
        except OSError as error:  # a link to nowhere, or gone since we looked
            source.broken[entry.name] = f"{entry.name} cannot be read: {error.strerror}"
            continue
        source.links = source.links or entry.is_symlink()
        size, time, inode = stat.st_size, stat.st_mtime_ns, stat.st_ino
        if known is None or known[0] != size or known[1] != time or known[2] != inode:
            known = [size, time, inode, *remembered.look(Path(entry.path))]
        wheels[entry.name] = known
        source.add(entry.name, known)
    remembered.keep(wheels)
    return source
