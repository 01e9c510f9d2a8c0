"""Simple Repository pages of a platform, made from its manifest alone; no wheel is opened or hashed.

PEP 503, 592 and 691 (https://packaging.python.org/en/latest/specifications/simple-repository-api/), flat wheels
beside `simple/`, so that `pip -f`, `wget -r` and an index URL all work from one directory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from pipmirror_lib import published, yanks
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.moments import in_utc
from pipmirror_lib.page_files import PageFiles
from pipmirror_lib.plan import read_json
from pipmirror_lib.published import PAGES, ROOT, Publication
from pipmirror_lib.wheels import parse_name, parse_version

API_VERSION = "1.1"
# One for all pages: to make it takes longer than to use it.
_json = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
# What needs no quoting; nearly every wheel's name.
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")


def pages(wheels: Mapping[str, Record]) -> dict[str, str]:
    """{path below `simple/`: content} of every page that these wheels make."""
    projects = _by_project(sorted(wheels))
    made = root_pages(sorted(projects))
    for name, filenames in projects.items():
        made |= project_pages(name, {filename: wheels[filename] for filename in filenames})
    return made


def root_pages(names: Sequence[str]) -> dict[str, str]:
    """The same of the root alone."""
    root = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    return {
        "index.html": _html("Simple index", [f'<a href="{name}/">{name}</a>' for name in names]),
        "index.json": _json(root),
    }


def project_pages(name: str, files: Mapping[str, Record]) -> dict[str, str]:
    """The same of one project alone, with its files in this order."""
    return {
        f"{name}/index.html": _html(f"Links for {name}", [_anchor(f, r) for f, r in files.items()]),
        f"{name}/index.json": _json(_project(name, files)),
    }


def _by_project(filenames: Iterable[str]) -> dict[str, list[str]]:
    projects: dict[str, list[str]] = {}
    for filename in filenames:
        projects.setdefault(parse_name(filename).project, []).append(filename)
    return projects


def _project(name: str, files: Mapping[str, Record]) -> dict[str, object]:
    return {
        "meta": {"api-version": API_VERSION},
        "name": name,
        "versions": _versions(filename.split("-", 2)[1] for filename in files),
        "files": [_file(filename, record) for filename, record in files.items()],
    }


def _versions(texts: Iterable[str]) -> list[str]:
    """In order; few spellings are many files', and projects share them."""
    return list(dict.fromkeys(map(_spelled, sorted(dict.fromkeys(texts), key=parse_version))))


@lru_cache(maxsize=65536)
def _spelled(version: str) -> str:
    return str(parse_version(version))


def _file(filename: str, record: Record) -> dict[str, object]:
    """What `published.digest` has to tell from something else."""
    uploaded = in_utc(record["upload_time"]) if record.get("upload_time") else ""
    entry = {
        "filename": filename,
        "url": _url(filename),
        "hashes": {"sha256": record["sha256"]},
        "size": record["size"],
        "upload-time": uploaded or record["admitted"],
        "core-metadata": {"sha256": record["metadata_sha256"]},
    }
    if not uploaded:  # a key of our own, for people
        entry["_upload-time-is"] = "when it came into this mirror"
    if record.get("requires_python"):
        entry["requires-python"] = record["requires_python"]
    yanked = yanks.told(record)
    if yanked is not None:
        entry["yanked"] = yanked or True
    return entry


def _anchor(filename: str, record: Record) -> str:
    python = f' data-requires-python="{escape(record["requires_python"])}"' if record.get("requires_python") else ""
    metadata = f' data-core-metadata="sha256={record["metadata_sha256"]}"'
    yanked = yanks.told(record)
    # A bare attribute is ignored by pip.
    why = "" if yanked is None else f' data-yanked="{escape(yanked)}"'
    return f'<a href="{_url(filename)}#sha256={record["sha256"]}"{python}{metadata}{why}>{escape(filename)}</a>'


def _url(filename: str) -> str:
    return f"../../{filename if _PLAIN.fullmatch(filename) else quote(filename)}"


def _html(title: str, lines: Iterable[str]) -> str:
    body = "".join([f"{line}<br>\n" for line in lines])
    return (
        "<!DOCTYPE html>\n"
        f'<html><head><meta charset="utf-8"><meta name="pypi:repository-version" content="{API_VERSION}">'
        f"<title>{title}</title></head>\n<body>\n{body}</body></html>\n"
    )


@dataclass(frozen=True)
class _Work:
    """What a publication has to look at: the pages that may be others than they should, and what lies there."""

    simple: Path
    wheels: Mapping[str, Record]
    # As they are to be; of the projects, and ROOT, that are `suspect` the pages are made and compared.
    sources: dict[str, dict[str, str]]
    suspect: frozenset[str]
    present: frozenset[str]

    @classmethod
    def of(cls, simple: Path, wheels: Mapping[str, Record], before: Publication | None) -> _Work:
        known, digests = before or Publication(), published.digests(wheels)
        sources, suspect = dict(known.sources), known.touched(simple)
        moved = published.changed(known.digests, digests)
        for project, filenames in _by_project(moved).items():
            files = {name: digest for name, digest in sources.pop(project, {}).items() if name not in moved}
            files |= {name: digests[name] for name in filenames if name in digests}
            suspect.add(project)
            if files:
                sources[project] = files
        if before is None or sources.keys() != before.sources.keys():
            suspect.add(ROOT)
        return cls(simple, wheels, sources, frozenset(suspect), _entries(simple))

    def differing(self) -> Iterator[tuple[str, str]]:
        """(path, content) of pages that are to be written; projects come before the root that names them."""
        for project in sorted(self.suspect & self.sources.keys()):
            files = {filename: self.wheels[filename] for filename in sorted(self.sources[project])}
            yield from self._different(project_pages(project, files))
        if ROOT in self.suspect:
            yield from self._different(root_pages(sorted(self.sources)))

    def _different(self, made: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for path, text in made.items():
            if path.partition("/")[0] not in self.present or _read(self.simple / path) != text.encode():
                yield path, text

    def gone(self) -> list[Path]:
        return _gone(self.simple, self.present - self.sources.keys())

    def done(self, before: Publication | None) -> Publication:
        """What there is when all that differed has been written."""
        untouched = {} if before is None else {p: s for p, s in before.stamps.items() if p not in self.suspect}
        stamps = {one: untouched.get(one) or published.look(self.simple, one) for one in (ROOT, *self.sources)}
        return Publication(self.sources, stamps)


def _entries(simple: Path) -> frozenset[str]:
    return frozenset(os.listdir(simple) if simple.is_dir() else ())


def _gone(simple: Path, others: Iterable[str]) -> list[Path]:
    """Pages in what is no project's directory, or is no more."""
    folders = (simple / name for name in sorted(others))
    found = (folder / page for folder in folders if folder.is_dir() and not folder.is_symlink() for page in PAGES)
    return [page for page in found if page.is_file()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def drift(directory: PlatformDirectory, wheels: Mapping[str, Record]) -> tuple[dict[str, str], list[Path]]:
    """(pages that are missing or differ, with their content; pages of projects that are gone)."""
    before = published.load(directory, read_json(directory.published_path))
    work = _Work.of(directory.public / "simple", wheels, before)
    return dict(work.differing()), work.gone()


def unaltered(directory: PlatformDirectory, remembered: Record, stamp: str) -> bool:
    """Whether the pages are still, file by file, those that were published for this manifest; none of them is read."""
    before = published.load(directory, remembered) if remembered.get("manifest") == stamp else None
    if before is None:
        return False
    simple = directory.public / "simple"
    return not before.touched(simple) and not _gone(simple, _entries(simple) - before.sources.keys())


def publish(directory: PlatformDirectory, wheels: Mapping[str, Record], stamp: str) -> dict[str, list[str]]:
    """Bring the pages up to date; an unchanged page is not written. Returns which were written and removed.

    Projects' pages come before the root that names them, and those of projects that are gone go after it.
    """
    remembered = read_json(directory.published_path)
    before = published.load(directory, remembered)
    work = _Work.of(directory.public / "simple", wheels, before)
    gone, files = work.gone(), PageFiles(directory, work.simple)
    try:
        for path, text in work.differing():
            files.write(path, text.encode())
        files.remove(gone)
        files.flush()
    except OSError as error:
        raise MirrorError(f"cannot publish below {directory.public}: {why(error)}") from error
    if before is None or work.suspect or remembered.get("manifest") != stamp:
        published.save(directory, work.done(before), stamp)
    return {"written": sorted(files.written), "removed": sorted(str(p.relative_to(directory.public)) for p in gone)}
