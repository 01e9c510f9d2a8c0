"""A project's page on a package index, JSON or HTML, read into candidates.

https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.utils import NormalizedName
from packaging.version import Version

from pipmirror_lib import slices
from pipmirror_lib.candidates import Candidate, NewestFirst, named
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.logs import short
from pipmirror_lib.parts import canonical
from pipmirror_lib.wheels import parse_version

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
_SCHEMES = ("https://", "http://")
# What makes objects of a page, and how many of them some 100 000 files have.
MOST_PARTS = {b"{[,": 3_000_000, b"<": 400_000}
_LARGE, _PIECE, _LONGEST_TAG = 4 << 20, 64 << 10, 1 << 20
_ATTRIBUTES = {
    *("href", "data-requires-python", "data-yanked"),
    *("data-core-metadata", "data-dist-info-metadata"),
}
# Sixteen large pages at once would be too much, where one is fine.
_one_at_a_time = threading.Lock()
_SHA256 = re.compile(r"[0-9a-f]{64}")
# How what a page says of a file is read.
Read = Callable[[Any, str], dict[str, Any]]
ACCEPT = f"{JSON_TYPE}, {HTML_TYPE};q=0.2, text/html;q=0.1"


def candidates(content: bytes, content_type: str, url: str, project: NormalizedName) -> NewestFirst:
    """Every file of the page that pip would consider; PackageIndexError for a page that is none.

    Only the versions are told apart at once. What a page says of a file is read when its version is looked at, and
    a fault there is an error then.
    """
    with _readable(project, url), _one_at_a_time if len(content) > _LARGE else nullcontext():
        if content_type.split(";", maxsplit=1)[0].strip().lower() == JSON_TYPE:
            read, names, files = _json_files(content)
        else:
            _check_parts(content, b"<")
            files = list(_links(content.decode("utf-8", "replace"), url))
            read, names = _from_html, [file["filename"] for file in files]
        releases = _by_version(names, files, project)

    def release(version: Version) -> list[Candidate]:
        with _readable(project, url):
            return [found for file in releases[version] if (found := _candidate(read(file, url), project))]

    return NewestFirst(releases, release)


@contextmanager
def _readable(project: NormalizedName, url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, AssertionError) as error:
        # The standard library's parser asserts what a page need not do.
        raise PackageIndexError(
            f"the page of {project} at {bare(url)} is not a project page: {short(str(error))}"
        ) from error


def _check_parts(content: bytes, marks: bytes) -> None:
    """Each of these becomes an object of some hundred bytes, however short its text is."""
    parts, most = sum(content.count(bytes([mark])) for mark in marks), MOST_PARTS[marks]
    if parts > most:
        raise ValueError(f"it has {parts} parts, and more than {most} are beyond any sense")


def _json_files(content: bytes) -> tuple[Read, Iterable[str], Iterable[Any]]:
    """(how a file is read, the files' names, the files).

    What is not read yet is known by its name alone: among two hundred thousand texts there is nothing that the
    garbage collector would look for.
    """
    parts = slices.sliced(content)
    if parts is None:
        _check_parts(content, b"{[,")
        files = json.loads(content)["files"]
        return _from_json, [str(file["filename"]) for file in files], files

    def read(name: str, url: str) -> dict[str, Any]:
        _check_parts(parts[name].encode(), b"{[,")
        return _from_json(slices.whole(name, parts[name]), url)

    return read, parts, parts


def _by_version(names: Iterable[str], files: Iterable[Any], project: NormalizedName) -> dict[Version, list[Any]]:
    """The files whose names may be of the project, in their order, by version."""
    releases: dict[Version, list[Any]] = {}
    known: dict[str, list[Any]] = {}
    release, same = None, " "
    for filename, file in zip(names, files, strict=True):
        # A version has dozens of wheels, one after another.
        if release is not None and filename.startswith(same) and filename.endswith(".whl"):
            release.append(file)
            continue
        text = _version_text(filename, project)
        release, same = known.get(text), " "
        if release is None:
            version = _version(text) if text else (named(filename, project) or (None,))[0]
            if version is None:
                continue
            release = releases.setdefault(version, [])
            if text:
                known[text] = release
        if text and filename.endswith(".whl"):
            same = filename[: filename.index("-") + len(text) + 2]
        release.append(file)
    return releases


def _version_text(filename: str, project: NormalizedName) -> str:
    """Where the version stands in the name of nearly every file; '' where the name must be read as a whole."""
    if filename.endswith(".whl"):
        parts = filename.split("-", 2)
        return parts[1] if len(parts) == 3 else ""
    if filename.endswith(".tar.gz"):
        head, _, text = filename[:-7].rpartition("-")
        return text if canonical(head) == project else ""
    return ""


def _version(text: str) -> Version | None:
    try:
        return parse_version(text)
    except ValueError:  # also for numbers of thousands of digits
        return None


def bare(url: str) -> str:
    """A URL for people: no credentials, no query."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a page may link to anything
        return "an invalid URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _candidate(file: Mapping[str, Any], project: NormalizedName) -> Candidate | None:
    name = named(file["filename"], project)
    if not name or not file["url"].startswith(_SCHEMES):
        return None
    _ = urlsplit(file["url"].encode().decode()).port  # ValueError for what is no address
    return Candidate(
        project=project,
        version=name[0],
        filename=file["filename"],
        wheel=name[1],
        url=file["url"],
        sha256=file["sha256"],
        size=file["size"],
        requires_python=file["requires_python"],
        upload_time=file["upload_time"],
        yanked=file["yanked"],
        metadata_sha256=file["metadata"],
    )


def _absolute(base: str, url: str) -> str:
    """Joining is slow, and thousands of links of a page are absolute already."""
    return url if url.startswith(_SCHEMES) else urljoin(base, url)


def _sha256(text: object) -> str:
    """A hash, or '' for what is none: hashes become names of files, so nothing else may pass."""
    digest = str(text).lower()
    return digest if _SHA256.fullmatch(digest) else ""


def _moment(text: object) -> str:
    """An ISO 8601 moment, or '': we publish it again, and clients refuse a page over a bad one."""
    try:
        datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return ""
    return str(text)


def _from_json(file: Mapping[str, Any], url: str) -> dict[str, Any]:
    yanked, size = file.get("yanked", False), file.get("size")
    metadata = file.get("core-metadata", file.get("dist-info-metadata", False))
    return {
        "filename": str(file["filename"]),
        "url": _absolute(url, str(file["url"])),
        "sha256": _sha256((file.get("hashes") or {}).get("sha256")),
        "size": size if type(size) is int and size >= 0 else None,
        "requires_python": str(file.get("requires-python") or "") or None,
        "upload_time": _moment(file.get("upload-time")),
        "yanked": None if yanked is False or yanked is None else ("" if yanked is True else _characters(str(yanked))),
        "metadata": _sha256(metadata.get("sha256")) if isinstance(metadata, dict) else "" if metadata else None,
    }


def _characters(text: str) -> str:
    """JSON may hold halves of characters, which nobody can write down."""
    return text.encode(errors="replace").decode()


class _Anchors(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = url
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value for name, value in attrs if name in _ATTRIBUTES}
        if tag == "base" and attributes.get("href"):
            self.base = urljoin(self.base, attributes["href"] or "")
        elif tag == "a" and attributes.get("href"):
            self.found.append(attributes)


def _links(page: str, url: str) -> Iterator[dict[str, Any]]:
    """The anchors of a page, each with where it leads and the file name there."""
    parser = _Anchors(url)
    for begin in range(0, len(page), _PIECE):
        parser.feed(page[begin : begin + _PIECE])
        if len(parser.rawdata) > _LONGEST_TAG:
            raise ValueError(f"a tag, a comment or a script in it is longer than {_LONGEST_TAG} characters")
    for anchor in parser.found:
        link, fragment = urldefrag(_absolute(parser.base, anchor["href"] or ""))
        filename = unquote(urlsplit(link).path.rsplit("/", 1)[-1])
        yield {"filename": filename, "link": link, "fragment": fragment, "anchor": anchor}


def _from_html(file: Mapping[str, Any], url: str) -> dict[str, Any]:
    anchor = file["anchor"]
    digest = re.search(r"(?:^|&)sha256=([^&]*)", file["fragment"])
    metadata = anchor.get("data-core-metadata", anchor.get("data-dist-info-metadata"))
    return {
        "filename": file["filename"],
        "url": file["link"],
        "sha256": _sha256(digest[1]) if digest else "",
        "size": None,
        "requires_python": anchor.get("data-requires-python"),
        "upload_time": "",
        # HTML cannot tell a bare attribute from an empty one: both mean yanked without a reason.
        "yanked": (anchor["data-yanked"] or "") if "data-yanked" in anchor else None,
        "metadata": None if metadata in (None, "false") else _sha256((metadata or "").partition("sha256=")[2]),
    }
