"""What a sync of a Gentoo mirror would do, and why, from what lies there and what is recorded: without container.

Which distfiles packages need only Portage can say, and what a newer tree brings only that tree; so a plan names the
distfiles that are known to be missing, and says when there is something to be asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pipmirror_lib import moments, prune
from pipmirror_lib.explain import count
from pipmirror_lib.gentoo_settings import GentooMirror, PackageSet
from pipmirror_lib.gentoo_store import State, Store, distfile, snapshot_parts
from pipmirror_lib.gentoo_tree import Digest

# Raised whenever the same declaration would be answered differently.
_ANSWER = 1


@dataclass(frozen=True)
class Plan:
    """What is due: texts for people, '' or empty where nothing is."""

    snapshot: str
    question: str
    missing: dict[str, str]  # distfile: why
    expired: tuple[str, ...]  # paths to be removed
    held: str  # why nothing is removed

    @property
    def nothing_to_do(self) -> bool:
        return not (self.snapshot or self.question or self.missing or self.expired)

    def __str__(self) -> str:
        parts = [self.snapshot and f"a snapshot is to be fetched: {self.snapshot}"]
        parts.append(self.question and f"Portage is to be asked what the packages need: {self.question}")
        parts += [f"{name}: {why}" for name, why in sorted(self.missing.items())]
        parts.append(f"{len(self.expired)} files are to be removed" if self.expired else "")
        return "\n".join(filter(None, parts))


def of(mirror: GentooMirror, store: Store, state: State) -> Plan:
    held = _held(mirror, state)
    return Plan(
        snapshot=_snapshot_due(mirror, store, state),
        question=_question(mirror, state),
        missing=missing(store, state),
        expired=() if held or not mirror.prune else tuple(_expired(mirror, state)),
        held=held,
    )


def report(mirror: GentooMirror) -> dict[str, Any]:
    """The plan and what is known, for whoever asks."""
    store = Store(mirror)
    state = store.load()
    plan = of(mirror, store, state)
    here = {path: record["stat"][0] for path, record in state["files"].items() if store.has(state, path)}
    distfiles = sum(1 for path in here if path.startswith("distfiles/"))
    return {
        **asdict(plan),
        "expired": sorted(plan.expired),
        "nothing_to_do": plan.nothing_to_do,
        "comment": str(plan) or f"{count(distfiles, 'distfile')} in the mirror, with the tree of {state['snapshot']}",
        "latest": state["snapshot"],
        "looked": state["looked"],
        "distfiles": distfiles,
        "size": sum(here.values()),
        "unneeded": dict(sorted(state["unneeded"].items())),
    }


def key(mirror: GentooMirror) -> str:
    """The digest of everything that decides which distfiles are wanted."""
    asked = {
        "format": _ANSWER,
        "image": [mirror.image, mirror.image_source, mirror.architecture],
        "sets": [asdict(one) for one in mirror.sets],
        "make_conf": dict(mirror.make_conf),
        "options": [mirror.emptytree, mirror.fetch_all_uri],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def digests_of(state: State, name: str) -> list[Digest]:
    return [
        Digest(size, tuple((hash, value) for hash, value in hashes)) for size, hashes in state["digests"].get(name, ())
    ]


def missing(store: Store, state: State) -> dict[str, str]:
    """The distfiles that sets need, as far as was said, and that are not there; {name: why}."""
    found = {}
    for name in sorted({name for names in state["sets"].values() for name in names}):
        digests = digests_of(state, name)
        if not digests:
            found[name] = "no Manifest of the tree says what it must be"
        elif not store.has(state, distfile(name), digests):
            found[name] = "it is not in the mirror, or not as it was"
    return found


def incomplete(mirror: GentooMirror, names: dict[str, str], state: State) -> Iterator[PackageSet]:
    """The sets that need one of these, and can be had."""
    for packages in mirror.sets:
        if any(name in names and digests_of(state, name) for name in state["sets"].get(packages.name, ())):
            yield packages


def needed(state: State) -> set[str]:
    """Paths of what must stay."""
    names = {name for names in state["sets"].values() for name in names}
    return {*map(distfile, names), *(snapshot_parts(state["snapshot"]) if state["snapshot"] else ())}


def _snapshot_due(mirror: GentooMirror, store: Store, state: State) -> str:
    if not state["snapshot"]:
        return "there is none yet"
    if not store.has_snapshot(state):
        return f"{state['snapshot']} is not there any more, or not as it was"
    if mirror.refresh == 0 or moments.older(state["looked"], mirror.refresh):
        return f"a newer one was last looked for at {state['looked']} (refresh)"
    return ""


def _question(mirror: GentooMirror, state: State) -> str:
    if not state["key"]:
        return "it never was"
    if state["key"] != key(mirror):
        return "the declaration has changed"
    if state["asked"] != state["snapshot"]:
        return "the tree has changed"
    if state["failed"]:
        return "; ".join(f"{name}: {why}" for name, why in sorted(state["failed"].items()))
    return ""


def _held(mirror: GentooMirror, state: State) -> str:
    if mirror.trial:
        return "nothing is removed, because arguments ask for something else than is declared"
    if question := _question(mirror, state):
        return f"nothing is removed before Portage has said what is needed: {question}"
    return "" if any(state["sets"].values()) else "nothing is removed, because nothing is needed"


def _expired(mirror: GentooMirror, state: State) -> Iterator[str]:
    for path, since in sorted(prune.by_this_clock(state["unneeded"], state["seen"]).items()):
        if path in state["files"] and moments.age(since) >= mirror.keep_days * prune.DAY:
            yield path
