"""The arguments of a call, which override the declaration: their faults are told apart from those of the pillar."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

# What functions of pipmirror take beside settings: all of them the first two, the rest where it means something.
OWN = ("mirror", "platform", "test", "upgrade", "resolve", "force", "hashes", "pending")


def unknown(arguments: Mapping[str, Any], known: Sequence[str], own: Sequence[str], module: str) -> dict[str, str]:
    """{argument: fault} of those that are no setting, with the nearest name that would be understood.

    `own` is what the module's functions take beside them.
    """
    instead = {"test": f"{module}.plan tells what would be done, and changes nothing"}
    faults = {}
    for key in arguments:
        if key not in known:
            near = difflib.get_close_matches(key, [one for one in (*own, *known) if one != key], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it"
            faults[key] = f"{key}: unknown argument; {instead.get(key, hint)}"
    return faults


def divided(
    faults: Sequence[str], arguments: Mapping[str, Any], place: str, groups: Collection[str]
) -> tuple[list[str], list[str]]:
    """(faults of the declaration, faults of what the arguments have put in its place, without that place)."""
    given = [f"{place}:{key}" for key in _keys(arguments, groups)]
    own = [fault for fault in faults if any(fault.startswith((f"{at}:", f"{at}[")) for at in given)]
    return [fault for fault in faults if fault not in own], [fault.removeprefix(f"{place}:") for fault in own]


def _keys(arguments: Mapping[str, Any], groups: Collection[str]) -> Iterator[str]:
    """Of a group, only what is given of it overrides anything."""
    for key, value in arguments.items():
        if key in groups and isinstance(value, Mapping):
            yield from (f"{key}:{inner}" for inner in value)
        else:
            yield key
