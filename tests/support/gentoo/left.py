"""What a sync of a Gentoo mirror leaves, without a container: a snapshot, and what Portage has said."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipmirror_lib import gentoo_plan
from pipmirror_lib.gentoo_settings import GentooMirror
from pipmirror_lib.gentoo_store import State, Store
from pipmirror_lib.gentoo_tree import Digest
from pipmirror_lib.moments import now

from tests.support.gentoo import content, hashed

DATA = content("demo")
NAME = "demo-1.tar.xz"
PATH = hashed(NAME)
DIGESTS = [Digest(len(DATA), (("BLAKE2B", hashlib.blake2b(DATA).hexdigest()),))]
SNAPSHOT = "gentoo-20260102.tar.xz"


def with_snapshot(store: Store, folder: Path, name: str = SNAPSHOT) -> State:
    """As after a sync whose tree was just brought."""
    state = store.load()
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"tree")
    (folder / f"{name}.gpgsig").write_bytes(b"signature")
    (folder / f"{name}.md5sum").write_text(f"{hashlib.md5(b'tree').hexdigest()}  {name}\n")
    store.admit_snapshot(state, folder, name)
    store.tree(name).mkdir()
    state.update(snapshot=name, looked=now())
    return state


def asked(mirror: GentooMirror, state: State) -> State:
    """As after Portage was asked."""
    pairs = [[one.size, [list(pair) for pair in one.hashes]] for one in DIGESTS]
    state.update(key=gentoo_plan.key(mirror), asked=state["snapshot"], sets={"packages": [NAME]}, digests={NAME: pairs})
    return state
