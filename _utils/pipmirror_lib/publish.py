"""Simple Repository pages of a platform, made from its manifest alone; no wheel is opened or hashed.

PEP 503, 592 and 691 (https://packaging.python.org/en/latest/specifications/simple-repository-api/), flat wheels
beside `simple/`, so that `pip -f`, `wget -r` and an index URL all work from one directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from json.encoder import encode_basestring_ascii
from pathlib import Path
from urllib.parse import quote

from pipmirror_lib import projects, published, yanks
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.moments import in_utc
from pipmirror_lib.page_files import Look, PageFiles
from pipmirror_lib.plan import read_json
from pipmirror_lib.projects import Project
from pipmirror_lib.published import PAGES, ROOT, Publication
from pipmirror_lib.wheels import parse_version

API_VERSION = "1.1"
_META = f'"meta":{{"api-version":"{API_VERSION}"}}'
# A text in JSON. Pages are put together from texts: thousands of dictionaries take three times as long.
_json = encode_basestring_ascii
# What needs no quoting; nearly every wheel's name.
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")


def pages(wheels: Mapping[str, Record]) -> dict[str, str]:
    """{path below `simple/`: content} of every page that these wheels make."""
    found = projects.of(wheels)
    made = root_pages(list(found))
    for name, project in found.items():
        made |= project_pages(name, project.files)
    return made


def root_pages(names: Sequence[str]) -> dict[str, str]:
    """The same of the root alone."""
    named = ",".join([f'{{"name":{_json(name)}}}' for name in names])
    return {
        "index.html": _html("Simple index", [f'<a href="{name}/">{name}</a>' for name in names]),
        "index.json": f'{{{_META},"projects":[{named}]}}',
    }


def project_pages(name: str, files: Mapping[str, Record]) -> dict[str, str]:
    """The same of one project alone, with its files in this order."""
    versions = ",".join(_versions(filename.split("-", 2)[1] for filename in files))
    told = [_file(filename, record) for filename, record in files.items()]
    entries = ",".join([entry for _, entry in told])
    return {
        f"{name}/index.html": _html(f"Links for {name}", [anchor for anchor, _ in told]),
        f"{name}/index.json": f'{{{_META},"name":{_json(name)},"versions":[{versions}],"files":[{entries}]}}',
    }


def _versions(texts: Iterable[str]) -> list[str]:
    """In order, as JSON; few spellings are many files', and projects share them."""
    return list(dict.fromkeys(map(_spelled, sorted(dict.fromkeys(texts), key=parse_version))))


# Of what thousands of files share.
_escaped, _shared = lru_cache(maxsize=4096)(escape), lru_cache(maxsize=4096)(_json)


@lru_cache(maxsize=65536)
def _spelled(version: str) -> str:
    return _json(str(parse_version(version)))


def _file(filename: str, record: Record) -> tuple[str, str]:
    """(HTML, JSON) of a wheel."""
    sha256, metadata, python = record["sha256"], record["metadata_sha256"], record.get("requires_python")
    if _PLAIN.fullmatch(f"{filename}{sha256}{metadata}"):
        text, url, name, digest, other = filename, filename, f'"{filename}"', f'"{sha256}"', f'"{metadata}"'
    else:
        text, url = escape(filename), quote(filename)
        name, digest, other = _json(filename), _json(sha256), _json(metadata)
    uploaded = in_utc(record["upload_time"]) if record.get("upload_time") else ""
    anchor = f'<a href="../../{url}#sha256={sha256}"'
    entry = (
        f'{{"filename":{name},"url":"../../{url}","hashes":{{"sha256":{digest}}},'
        f'"size":{record["size"]},"upload-time":{_json(uploaded or record["admitted"])},'
        f'"core-metadata":{{"sha256":{other}}}'
    )
    if not uploaded:  # a key of our own, for people
        entry += ',"_upload-time-is":"when it came into this mirror"'
    if python:
        anchor += f' data-requires-python="{_escaped(python)}"'
        entry += f',"requires-python":{_shared(python)}'
    anchor += f' data-core-metadata="sha256={metadata}"'
    yanked = yanks.told(record)
    if yanked is not None:
        anchor += f' data-yanked="{escape(yanked)}"'  # a bare attribute is ignored by pip
        entry += f',"yanked":{_json(yanked) if yanked else "true"}'
    return f"{anchor}>{text}</a>", f"{entry}}}"


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
    projects: Mapping[str, Project]
    looks: Mapping[str, tuple[Look, ...]]
    # Of these projects, and ROOT, the pages are made and compared.
    suspect: frozenset[str]

    @classmethod
    def of(cls, simple: Path, projects: Mapping[str, Project], before: Publication | None) -> _Work:
        known, looks = before or Publication(), published.look(simple)
        suspect = {name for name, project in projects.items() if known.sources.get(name) != project.fingerprint}
        suspect |= {one for one in (ROOT, *projects) if known.looks.get(one) != looks.get(one, ())}
        if before is None or projects.keys() != before.sources.keys():
            suspect.add(ROOT)
        return cls(simple, projects, looks, frozenset(suspect))

    def differing(self) -> Iterator[tuple[str, str]]:
        """(path, content) of pages that are to be written; projects come before the root that names them."""
        for project in sorted(self.suspect & self.projects.keys()):
            yield from self._different(project, project_pages(project, self.projects[project].files))
        if ROOT in self.suspect:
            yield from self._different(ROOT, root_pages(list(self.projects)))

    def _different(self, project: str, made: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for path, text in made.items():
            if project not in self.looks or _read(self.simple / path) != _bytes(text):
                yield path, text

    def gone(self) -> list[Path]:
        return _gone(self.simple, self.looks.keys() - self.projects.keys())

    def done(self, written: Mapping[str, Look]) -> Publication:
        """What there is when all that differed has been written."""
        looks = {one: self.looks.get(one, ((), ())) for one in (ROOT, *self.projects)}
        for project in self.suspect & looks.keys():
            paths = (f"{project}/{page}" if project else page for page in PAGES)
            looks[project] = tuple(written.get(path, look) for path, look in zip(paths, looks[project], strict=True))
        return Publication({name: project.fingerprint for name, project in self.projects.items()}, looks)


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # a manifest that somebody has altered may hold halves of characters


def _gone(simple: Path, others: Iterable[str]) -> list[Path]:
    """Pages in what is no project's directory, or is no more."""
    folders = (simple / name for name in sorted(others) if name != ROOT)
    found = (folder / page for folder in folders if not folder.is_symlink() for page in PAGES)
    return [page for page in found if page.is_file()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def drift(directory: PlatformDirectory, wheels: Mapping[str, Record]) -> tuple[dict[str, str], list[Path]]:
    """(pages that are missing or differ, with their content; pages of projects that are gone)."""
    before = published.load(directory, read_json(directory.published_path))
    work = _Work.of(directory.public / "simple", projects.of(wheels), before)
    return dict(work.differing()), work.gone()


def unaltered(directory: PlatformDirectory, remembered: Record, stamp: str) -> bool:
    """Whether the pages are still, file by file, those that were published for this manifest; none of them is read."""
    return published.is_of(remembered, published.look(directory.public / "simple"), stamp)


def publish(directory: PlatformDirectory, wheels: Mapping[str, Record], stamp: str) -> dict[str, list[str]]:
    """Bring the pages up to date; an unchanged page is not written. Returns which were written and removed."""
    return publish_projects(directory, projects.of(wheels), stamp)


def publish_projects(directory: PlatformDirectory, wanted: Mapping[str, Project], stamp: str) -> dict[str, list[str]]:
    """The same. Projects' pages come before the root that names them, and those of projects that are gone go after."""
    remembered = read_json(directory.published_path)
    before = published.load(directory, remembered)
    work = _Work.of(directory.public / "simple", wanted, before)
    gone, files = work.gone(), PageFiles(directory, work.simple)
    try:
        for path, text in work.differing():
            files.write(path, _bytes(text))
        files.remove(gone)
        files.flush()
    except OSError as error:
        raise MirrorError(f"cannot publish below {directory.public}: {why(error)}") from error
    if before is None or work.suspect or remembered.get("manifest") != stamp:
        published.save(directory, work.done(files.written), stamp)
    return {"written": sorted(files.written), "removed": sorted(str(p.relative_to(directory.public)) for p in gone)}
