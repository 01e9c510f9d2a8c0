"""Simple Repository pages of a platform, made from its manifest alone; no wheel is opened or hashed.

PEP 503, 592 and 691 (https://packaging.python.org/en/latest/specifications/simple-repository-api/), flat wheels
beside `simple/`, so that `pip -f`, `wget -r` and an index URL all work from one directory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from pipmirror_lib import STAMP, upstream
from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.moments import in_utc
from pipmirror_lib.wheels import parse_name

API_VERSION = "1.1"


def pages(wheels: Mapping[str, Record]) -> dict[str, str]:
    """{path below `simple/`: content} of every page that these wheels make."""
    projects: dict[str, dict[str, Record]] = {}
    for filename in sorted(wheels):
        projects.setdefault(parse_name(filename).project, {})[filename] = wheels[filename]
    made = root_pages(sorted(projects))
    for name, files in projects.items():
        made[f"{name}/index.html"] = _html(f"Links for {name}", [_anchor(f, r) for f, r in files.items()])
        made[f"{name}/index.json"] = _json(_project(name, files))
    return made


def root_pages(names: Sequence[str]) -> dict[str, str]:
    """The same of the root alone."""
    root = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    return {
        "index.html": _html("Simple index", [f'<a href="{name}/">{name}</a>' for name in names]),
        "index.json": _json(root),
    }


def _project(name: str, files: Mapping[str, Record]) -> dict[str, object]:
    versions = sorted({parse_name(filename).version for filename in files})
    return {
        "meta": {"api-version": API_VERSION},
        "name": name,
        "versions": [str(version) for version in versions],
        "files": [_file(filename, record) for filename, record in files.items()],
    }


def _file(filename: str, record: Record) -> dict[str, object]:
    uploaded = in_utc(record.get("upload_time") or "")
    entry = {
        "filename": filename,
        "url": f"../../{quote(filename)}",
        "hashes": {"sha256": record["sha256"]},
        "size": record["size"],
        "upload-time": uploaded or record["admitted"],
        "core-metadata": {"sha256": record["metadata_sha256"]},
    }
    if not uploaded:  # a key of our own, for people
        entry["_upload-time-is"] = "when it came into this mirror"
    if record.get("requires_python"):
        entry["requires-python"] = record["requires_python"]
    yanked = upstream.yanked(record)
    if yanked is not None:
        entry["yanked"] = yanked or True
    return entry


def _anchor(filename: str, record: Record) -> str:
    python = f' data-requires-python="{escape(record["requires_python"])}"' if record.get("requires_python") else ""
    metadata = f' data-core-metadata="sha256={record["metadata_sha256"]}"'
    yanked = upstream.yanked(record)
    # A bare attribute is ignored by pip.
    why = "" if yanked is None else f' data-yanked="{escape(yanked)}"'
    return f'<a href="../../{quote(filename)}#sha256={record["sha256"]}"{python}{metadata}{why}>{escape(filename)}</a>'


def _html(title: str, lines: list[str]) -> str:
    body = "".join(f"{line}<br>\n" for line in lines)
    return (
        "<!DOCTYPE html>\n"
        f'<html><head><meta charset="utf-8"><meta name="pypi:repository-version" content="{API_VERSION}">'
        f"<title>{title}</title></head>\n<body>\n{body}</body></html>\n"
    )


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=True)


def drift(directory: PlatformDirectory, wheels: Mapping[str, Record]) -> tuple[dict[str, str], list[Path]]:
    """(pages that are missing or differ, with their content; pages of projects that are gone)."""
    wanted = pages(wheels)
    simple = directory.public / "simple"
    changed = {path: content for path, content in wanted.items() if _read(simple / path) != content.encode()}
    gone = []
    if simple.is_dir():
        gone = [
            simple / entry.name / page
            for entry in os.scandir(simple)
            if entry.is_dir(follow_symlinks=False) and f"{entry.name}/index.html" not in wanted
            for page in ("index.html", "index.json")
            if (simple / entry.name / page).is_file()
        ]
    return changed, gone


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def unaltered(directory: PlatformDirectory, remembered: Record, stamp: str) -> bool:
    """Whether the pages are still, file by file, those that were published for this manifest; none of them is read."""
    found = _proof(directory, stamp)
    return bool(found["pages"]) and found == remembered


def _proof(directory: PlatformDirectory, stamp: str) -> Record:
    """What a publication remembers: for which manifest, by which code, and as which files the pages were written."""
    try:
        files = "\n".join(sorted(_stamps(directory.public / "simple", "")))
    except OSError:
        return {"pages": ""}  # absent, or being written just now
    return {"manifest": stamp, "code": STAMP, "pages": hashlib.sha256(files.encode()).hexdigest()}


def _stamps(folder: str | Path, prefix: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _stamps(entry.path, f"{prefix}{entry.name}/")
        else:
            stat = entry.stat(follow_symlinks=False)
            yield f"{prefix}{entry.name}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"


def publish(directory: PlatformDirectory, wheels: Mapping[str, Record], stamp: str) -> dict[str, list[str]]:
    """Bring the pages up to date; an unchanged page is not written. Returns which were written and removed.

    Projects' pages come before the root that names them, and those of projects that are gone go after it.
    """
    changed, gone = drift(directory, wheels)
    simple = directory.public / "simple"
    try:
        for path in sorted(changed, key=lambda path: ("/" not in path, path)):
            write_page(directory, simple / path, changed[path])
        remove_pages(gone)
    except OSError as error:
        raise MirrorError(f"cannot publish below {directory.public}: {why(error)}") from error
    directory.save(directory.published_path, json.dumps({"manifest": stamp, **_proof(directory, stamp)}))
    return {"written": sorted(changed), "removed": sorted(str(p.relative_to(directory.public)) for p in gone)}


def write_page(directory: PlatformDirectory, page: Path, content: str) -> None:
    """Replace a page in one step; who reads it sees it as the settings say from the first moment on."""
    for folder in (page.parent.parent, page.parent):
        if folder != directory.public and not folder.is_dir():
            folder.mkdir(parents=True)
            directory.own(folder, directory.files.dir_mode)

    def finish(temporary: Path) -> None:
        directory.own(temporary, directory.files.file_mode)
        _tell_apart(temporary, page)

    write_atomically(page, content.encode(), mode=directory.files.file_mode, finish=finish)


def _tell_apart(new: Path, old: Path) -> None:
    """Let the page be younger by a second at least.

    Web servers and clients tell versions of a file apart by size and whole seconds: who had seen another page of the
    same length in the same second would be told for ever that nothing had changed.
    """
    try:
        before = old.stat().st_mtime
    except FileNotFoundError:
        return
    if new.stat().st_mtime < int(before) + 1:
        os.utime(new, (int(before) + 1, int(before) + 1))


def remove_pages(gone: Iterable[Path]) -> None:
    """Take pages away, and the directories in which nothing else lies."""
    pages = list(gone)
    for page in pages:
        page.unlink(missing_ok=True)
    for folder in sorted({page.parent for page in pages}):
        if not os.listdir(folder):
            folder.rmdir()
