"""The files that the page of a platform is made of, and how few of its lines have to be made anew.

In the page and in its data every project is a line. Lines of projects of which nothing has changed are taken from
the files that lie there, if those are still the ones that were written last.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pipmirror_lib import STAMP, caches, projects, showcase_html
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.page_files import PageFiles
from pipmirror_lib.parts import canonical
from pipmirror_lib.showcase import Data, Project
from pipmirror_lib.showcase_assets import CSS
from pipmirror_lib.showcase_html import CSS_NAME, DATA_NAME, JS_NAME
from pipmirror_lib.showcase_script import JS

PAGE = "index.html"
# What lies in a platform's directory, in the order in which it is written: what the page needs is there before it.
_ITEM = re.compile(rb'<li><a href="([^"]*)">.*?</li>')
NAMES = (CSS_NAME, JS_NAME, DATA_NAME, PAGE)


class Line(NamedTuple):
    """A project, as it stands in the page and in the data."""

    fingerprint: bytes
    html: bytes
    data: bytes


class Present:
    """The files of a page as they lie there, each read once."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._contents: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._contents:
            self._contents[name] = _read(self._place / name)
        return self._contents[name]

    def differing(self, wanted: Mapping[str, bytes]) -> list[str]:
        """Which of the files do not lie there as they should."""
        return [name for name, content in wanted.items() if self[name] != content]


def lines(directory: PlatformDirectory, wanted: Iterable[Project], present: Present) -> dict[str, Line]:
    """The line of every project, from the files that lie there where it would be the same."""
    known = _known(directory, present)
    found = {}
    for project in wanted:
        line, fingerprint = known.get(project.name), project.fingerprint()
        found[project.name] = line if line and line.fingerprint == fingerprint else _line(project, fingerprint)
    return found


def files(head: Data, wanted: Mapping[str, Line]) -> dict[str, bytes]:
    """{name: content}, in the order in which they are to be written."""
    before, after = showcase_html.platform_page(head)
    html = b"\n".join([_bytes(before[:-1]), *(line.html for line in wanted.values()), _bytes(after[1:])])
    opening = f'{_json(head)[:-1]},"projects":['.encode()
    data = opening + b"\n" + b",\n".join(line.data for line in wanted.values()) + b"\n]}\n"
    return dict(zip(NAMES, (CSS.encode(), JS.encode(), data, html), strict=True))


def remember(directory: PlatformDirectory, wanted: Mapping[str, Line]) -> None:
    """Say of which projects the lines are that have just been written."""
    fingerprints = [(name, line.fingerprint) for name, line in wanted.items()]
    caches.store(directory.page_cache, _key(directory), projects.packed(fingerprints))


def root_files(platforms: Iterable[Data]) -> dict[str, bytes]:
    """The same of the page of all platforms."""
    rows = list(platforms)
    data = _json({"format": 1, "platforms": rows}).encode() + b"\n"
    return {CSS_NAME: CSS.encode(), DATA_NAME: data, PAGE: _bytes(showcase_html.root_page(rows))}


def write(directory: PlatformDirectory, place: Path, contents: Mapping[str, bytes]) -> None:
    """Put files where readers see them, in that order."""
    files = PageFiles(directory, place)
    try:
        for name, content in contents.items():
            files.write(name, content)
        files.flush()
    except OSError as error:
        raise MirrorError(f"cannot publish below {place}: {why(error)}") from error


def withdraw(directory: PlatformDirectory, going: Collection[str]) -> None:
    """Take wheels out of the page as it lies there, and out of its data; the next publication counts the others."""
    present = Present(directory.public)
    known, links = _known(directory, present), {quote(name).encode() for name in going}
    losing = {canonical(name.partition("-")[0]) for name in going}
    page, data = (present[name].split(b"\n") for name in (PAGE, DATA_NAME))
    html = [_without(line, links) if _project_of(line) in losing else line for line in page]
    entries = [_data_without(line, going) if _project_of(line) in losing else line for line in data]
    contents = {}
    if html != page:
        contents[PAGE] = b"\n".join([line for line in html if line is not None])
    if entries != data:
        rest = [line.rstrip(b",") for line in entries[1:-2] if line is not None]
        contents[DATA_NAME] = b"\n".join([data[0], b",\n".join(rest), *data[-2:]])
    if contents:
        write(directory, directory.public, contents)
    if contents and known:  # these projects' lines are to be made anew, the others not
        left = [name for line in html if line is not None and (name := _project_of(line))]
        remember(directory, {n: known[n]._replace(fingerprint=b"") if n in losing else known[n] for n in left})


def _project_of(line: bytes) -> str:
    """The project that a line of the page or of the data is, or ''."""
    for beginning in (showcase_html.PROJECT.encode(), b'{"name":"'):
        if line.startswith(beginning):
            return line[len(beginning) :].partition(b'"')[0].decode()
    return ""


def _without(line: bytes, links: Collection[bytes]) -> bytes | None:
    """A line of the page without some of its files; None where no file is left."""
    left = _ITEM.sub(lambda item: b"" if item[1] in links else item[0], line)
    return left if _ITEM.search(left) else None


def _data_without(line: bytes, going: Collection[str]) -> bytes | None:
    try:
        project = json.loads(line.rstrip(b","))
        files = [file for file in project["files"] if file["filename"] not in going]
    except (ValueError, LookupError, TypeError):  # somebody has damaged it
        return None
    return _json({**project, "files": files}).encode() if files else None


def stamp(path: Path) -> str:
    """Tells a file from any other that takes its place; OSError where there is none."""
    stat = os.lstat(path)
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"


def _known(directory: PlatformDirectory, present: Present) -> dict[str, Line]:
    try:
        content = caches.load(directory.page_cache, _key(directory))
    except OSError:
        return {}
    if content is None:
        return {}
    fingerprints = projects.unpacked(content)
    beginning = showcase_html.PROJECT.encode()
    html = [line for line in present[PAGE].split(b"\n") if line.startswith(beginning)]
    data = present[DATA_NAME].split(b"\n")[1:-2]
    if not len(fingerprints) == len(html) == len(data):
        return {}  # replaced since we looked
    whole = zip(fingerprints, html, data, strict=True)
    return {name: Line(fingerprint, page, entry.rstrip(b",")) for (name, fingerprint), page, entry in whole}


def _key(directory: PlatformDirectory) -> str:
    return " ".join([STAMP, *(stamp(directory.public / name) for name in (PAGE, DATA_NAME))])


def _line(project: Project, fingerprint: bytes) -> Line:
    data = project.data()
    return Line(fingerprint, _bytes(showcase_html.project(data)), _json(data).encode())


def _json(data: object) -> str:
    """Harmless wherever somebody may paste it."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # strangers' words may hold what is no character


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
