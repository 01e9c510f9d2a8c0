"""Wheels that are about to go, or to give way to another of their name, leave the pages first."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipmirror_lib import showcase_files
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.page_files import PageFiles
from pipmirror_lib.plan import read_json
from pipmirror_lib.publish import pages, root_pages
from pipmirror_lib.published import PAGES
from pipmirror_lib.wheels import parse_name


def withdraw(directory: PlatformDirectory, wheels: Mapping[str, Record], going: Collection[str]) -> None:
    """Take wheels out of the pages that name them; nothing comes in that these did not name before.

    What was published is forgotten, so that the next run publishes, whatever becomes of this one.
    """
    if going:
        showcase_files.withdraw(directory, going)
    simple = directory.public / "simple"
    named = {project: _named(simple / project) for project in sorted({parse_name(name).project for name in going})}
    named = {project: files for project, files in named.items() if not files.isdisjoint(going)}
    if not named:
        return
    forgotten = {**read_json(directory.published_path), "manifest": ""}
    directory.save(directory.published_path, json.dumps(forgotten))
    staying = {name: wheels[name] for files in named.values() for name in files - set(going) if name in wheels}
    emptied = named.keys() - {parse_name(name).project for name in staying}
    files = PageFiles(directory, simple)
    try:
        for path, content in pages(staying).items():
            if "/" in path:
                files.write(path, content.encode())
        if emptied:
            known = [project["name"] for project in _read(simple / "index.json").get("projects", ())]
            for path, content in root_pages([name for name in known if name not in emptied]).items():
                files.write(path, content.encode())
        files.remove(simple / name / page for name in sorted(emptied) for page in PAGES)
        files.flush()
    except OSError as error:
        raise MirrorError(f"cannot publish below {directory.public}: {why(error)}") from error


def _named(folder: Path) -> set[str]:
    return {file["filename"] for file in _read(folder / "index.json").get("files", ())}


def _read(page: Path) -> dict[str, Any]:
    """A page of ours; of one that is gone or damaged, which only a publication repairs, nothing is known."""
    try:
        found = json.loads(page.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
