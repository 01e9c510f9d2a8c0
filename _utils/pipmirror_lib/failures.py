"""Why the last sync of a platform failed: remembered when it ends, and told until one has everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipmirror_lib import plan
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.explain import count
from pipmirror_lib.logs import short
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.moments import now
from pipmirror_lib.parts import canonical
from pipmirror_lib.settings import Mirror, Platform, RequirementSet

# {set: the files or requirements that could not be had, and keep the others of the set away}
AtFault = Mapping[str, Sequence[str]]


def note(
    mirror: Mirror, platform: Platform, directory: PlatformDirectory, problems: Sequence[str], at_fault: AtFault
) -> None:
    """The platform's lock must be held."""
    first, *more = [line for problem in problems for line in problem.splitlines()]
    why = short(first) + (f" (and {count(len(more), 'more line')})" if more else "")
    failed = {"at": now(), "why": why, "declared": plan.declaration(mirror, platform), "at_fault": dict(at_fault)}
    with suppress(OSError, MirrorError):  # a disk without room, say, of which the problems have told
        plan.remember(directory, failed=failed)


def told(state: Mapping[str, Any]) -> dict[str, str]:
    """What `status` says of it: when, and why in one line; '' since a sync has had everything."""
    failed = state.get("failed") or {}
    return {"last_failure": str(failed.get("at", "")), "failure": str(failed.get("why", ""))}


def blaming(missing: Mapping[str, str], platform: Platform, state: Mapping[str, Any], declared: str) -> dict[str, str]:
    """{requirement: reason}: one that only waits for the rest of its set has the reason that keeps the set away."""
    failed = state.get("failed") or {}
    if failed.get("declared") != declared:  # what has changed since may be at fault itself
        return dict(missing)
    said = failed.get("at_fault")
    at_fault = {name: list(map(str, who)) for name, who in (said if isinstance(said, dict) else {}).items()}
    waiting = {text: who for wanted in platform.sets for text, who in _waiting(wanted, at_fault.get(wanted.name, []))}
    return {
        text: f"comes together with {', '.join(waiting[text])}, which the last sync could not get"
        if text in waiting
        else reason
        for text, reason in missing.items()
    }


def _waiting(wanted: RequirementSet, at_fault: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The requirements of a set that are not at fault themselves; files are told as `PROJECT VERSION`."""
    projects = {one.split(" ")[0] for one in at_fault}
    for requirement in wanted.requirements:
        if at_fault and str(requirement) not in at_fault and canonical(requirement.name) not in projects:
            yield str(requirement), at_fault
