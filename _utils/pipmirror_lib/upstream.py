"""What became upstream of the files that lie here: yanked (PEP 592), or withdrawn altogether.

Both are reported, published and never chosen by an upgrade; what needs them goes on until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from packaging.utils import NormalizedName

from pipmirror_lib.candidates import NewestFirst
from pipmirror_lib.logs import short
from pipmirror_lib.wheels import parse_name

Page = Callable[[NormalizedName], NewestFirst | None]


def look(wheels: Mapping[str, dict[str, Any]], page: Page) -> bool:
    """Note in the records what the pages say, where they have been read; whether that changed any."""
    changed = False
    for filename, record in wheels.items():
        offered = page(parse_name(filename).project) if record["origin"] in ("index", "adopted") else None
        if offered is None:
            continue
        found = _found(filename, record, offered)
        before = {key: record.pop(key) for key in ("yanked", "withdrawn") if key in record}
        record.update(found)
        changed = changed or found != before
    return changed


def _found(filename: str, record: Mapping[str, Any], offered: NewestFirst) -> dict[str, Any]:
    release = offered.release(parse_name(filename).version)
    same = next((candidate for candidate in release if candidate.filename == filename), None)
    if same is None:
        # Whoever brought an adopted wheel, it need not have been this index.
        return {"withdrawn": True} if record["origin"] == "index" else {}
    is_it = same.sha256 in ("", record["sha256"])
    return {"yanked": short(same.yanked)} if is_it and same.yanked is not None else {}


def yanked(record: Mapping[str, Any]) -> str | None:
    """Why a wheel is not to be chosen anew ('' without a reason), or None; a withdrawn one is as good as yanked."""
    reason: str | None = record.get("yanked")
    return "withdrawn upstream" if reason is None and record.get("withdrawn") else reason


def warnings(wheels: Mapping[str, Mapping[str, Any]], closure: Iterable[str]) -> list[str]:
    """A line for each wheel that is needed and that upstream does not stand by any more."""
    lines = []
    for filename in sorted(closure):
        record = wheels.get(filename, {})
        if "yanked" in record:
            reason = f": {record['yanked']}" if record["yanked"] else ""
            lines.append(f"{filename} was yanked upstream{reason}; an upgrade takes another one")
        elif record.get("withdrawn"):
            lines.append(f"{filename} was withdrawn upstream; an upgrade takes another one")
    return lines
