"""Releases that the administrator has yanked in this mirror (PEP 592), whatever upstream says of them.

Our decision leaves them where a pin (`==`) does not ask for them, as every installer does that reads our pages: a
wheel that lies there serves nobody else either, unlike one that upstream has yanked since it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from packaging.utils import NormalizedName
from packaging.version import Version

from pipmirror_lib import upstream
from pipmirror_lib.candidates import Candidate, NewestFirst
from pipmirror_lib.declared import Mirror, Yank
from pipmirror_lib.parts import within
from pipmirror_lib.wheels import parse_name

Record = dict[str, Any]
# Of the manifest's records.
KEY = "yanked_here"


def reason(yanks: Iterable[Yank], project: NormalizedName, version: Version) -> str | None:
    """Why this release is yanked here ('' without a reason), or None."""
    said = (yank.reason for yank in yanks if yank.project == project and within(yank.specifier, version))
    return next(said, None)


def marked(files: Sequence[Candidate], yanks: Sequence[Yank], project: NormalizedName) -> Sequence[Candidate]:
    """A project's files, those of yanked releases marked as such."""
    own = [yank for yank in yanks if yank.project == project]
    if not own:
        return files

    def mark(candidate: Candidate) -> Candidate:
        why = reason(own, project, candidate.version)
        return candidate if why is None else replace(candidate, yanked=why, yanked_here=True)

    return files.changed(mark) if isinstance(files, NewestFirst) else [mark(candidate) for candidate in files]


def differ(wheels: Mapping[str, Record], mirror: Mirror) -> bool:
    """Whether the records, and so the pages, say something else than is declared; a trial is beside both."""
    return not mirror.trial and any(_differences(wheels, mirror.yanked))


def note(wheels: Mapping[str, Record], mirror: Mirror) -> bool:
    """Have the records say what is declared; whether that changed any."""
    found = [] if mirror.trial else list(_differences(wheels, mirror.yanked))
    for filename, why in found:
        wheels[filename].pop(KEY, None)
        wheels[filename].update({} if why is None else {KEY: why})
    return bool(found)


def _differences(wheels: Mapping[str, Record], yanks: Sequence[Yank]) -> Iterator[tuple[str, str | None]]:
    projects = {yank.project for yank in yanks}
    for filename, record in wheels.items():
        name = parse_name(filename)
        why = reason(yanks, name.project, name.version) if name.project in projects else None
        if why != record.get(KEY):
            yield filename, why


def told(record: Mapping[str, Any]) -> str | None:
    """What pages say of a wheel: the administrator's word comes first."""
    here: str | None = record.get(KEY)
    return upstream.yanked(record) if here is None else here


def warnings(yanks: Sequence[Yank], closure: Iterable[str]) -> Iterator[str]:
    """A line for each wheel that is needed although it is yanked here."""
    names = {filename: parse_name(filename) for filename in sorted(closure)} if yanks else {}
    for filename, name in names.items():
        why = reason(yanks, name.project, name.version)
        if why is not None:
            yield f"{filename} is yanked here{why and ': '}{why}; it is needed by a pin (==)"
