"""The only place where the steps of a Gentoo mirror meet: tree -> question -> fetch -> admit -> prune."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from pipmirror_lib import gentoo_plan, gentoo_tree, prune
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import MirrorError, PortageError
from pipmirror_lib.explain import count
from pipmirror_lib.gentoo_portage import FETCH, Portage
from pipmirror_lib.gentoo_settings import GentooMirror, PackageSet
from pipmirror_lib.gentoo_store import Store, distfile, snapshot_parts
from pipmirror_lib.logs import short
from pipmirror_lib.mirror import discard
from pipmirror_lib.moments import now
from pipmirror_lib.progress import Listener, Step

Report = dict[str, Any]
# Of what is missing, as many are named in a comment.
SHOWN = 10


def sync(mirror: GentooMirror, progress: Listener) -> Report:
    """Have every distfile that the sets need in the mirror, and the tree that says so."""
    began = time.monotonic()
    store = Store(mirror)
    store.create()

    def say(text: str) -> None:
        progress(Step("gentoo", text))

    with store.locked(say):
        run = _Run(mirror, store)
        run.go(say)
    return {**run.report(), "seconds": round(time.monotonic() - began, 1)}


class _Run:
    """One sync. What is done is recorded at once, so that a run that is killed has done that much."""

    def __init__(self, mirror: GentooMirror, store: Store) -> None:
        self.mirror, self.store = mirror, store
        self.state = store.load()
        self.before = self.state["snapshot"]
        self.added: dict[str, int] = {}
        self.removed: dict[str, int] = {}
        self.faults: list[str] = []
        self.refused: dict[str, str] = {}

    def go(self, say: Callable[[str], None]) -> None:
        self.store.write_layout()
        # A killed run may have left what it had fetched, or not have come to record it; or somebody has put it there.
        self._gather([self.store.work / FETCH / "out", self.store.target / "distfiles"])
        plan = gentoo_plan.of(self.mirror, self.store, self.state)
        wanted = any(gentoo_plan.incomplete(self.mirror, plan.missing, self.state))
        left = list(self.store.work.iterdir())
        if plan.snapshot or plan.question or wanted or left:
            with closing(Engine.connect(self.mirror.container.engine_url)) as engine:
                engine.remove_abandoned()  # which may still write there
                for path in left:
                    discard(path)
                self._work(Portage.of(engine, self.mirror, self.store, say), plan)
        self._note()
        self._prune()

    def report(self) -> Report:
        # What was refused may have come since, or not be needed any more by a newer tree.
        missing = {
            name: self.refused.get(name, why) for name, why in gentoo_plan.missing(self.store, self.state).items()
        }
        return {
            "result": not (self.faults or missing),
            "comment": "\n".join([self._summary(), *self.faults, *_some(missing)]),
            "added": self.added,
            "removed": self.removed,
            "missing": missing,
            "snapshot": {"old": self.before, "new": self.state["snapshot"]},
        }

    def _summary(self) -> str:
        names = {name for names in self.state["sets"].values() for name in names}
        missing = gentoo_plan.missing(self.store, self.state)
        have = (
            f"{len(names) - len(missing)} of {count(len(names), 'distfile')}"
            if missing
            else count(len(names), "distfile")
        )
        name = self.state["snapshot"]
        return f"{have} in the mirror, {f'with the tree of {name}' if name else 'and no tree yet'}"

    # -- steps ---------------------------------------------------------------------------------------------

    def _work(self, portage: Portage, plan: gentoo_plan.Plan) -> None:
        if plan.snapshot:
            self._attempt("the tree", partial(self._bring_tree, portage))
        if not self.state["snapshot"]:
            return
        tree = self.store.tree(self.state["snapshot"])
        if self.state["image"] != portage.image:  # it was pulled, or loaded, anew
            self.state["asked"] = ""
        if gentoo_plan.of(self.mirror, self.store, self.state).question:
            self._ask(portage, tree)
            self._gather([self.store.target / "distfiles"])
        for packages in self.mirror.sets:
            missing = gentoo_plan.missing(self.store, self.state)
            if packages in gentoo_plan.incomplete(self.mirror, missing, self.state):
                self._attempt(packages.name, partial(self._fetch, portage, packages, tree))

    def _attempt(self, what: str, step: Callable[[], None]) -> None:
        """One step that fails never keeps the others from being done."""
        try:
            step()
        except PortageError as error:
            self.faults.append(f"{what}: {error}")
        finally:
            self.store.save(self.state)

    def _bring_tree(self, portage: Portage) -> None:
        with portage.fetched_tree() as (folder, tree):
            name = gentoo_tree.newest_snapshot({path.name for path in folder.iterdir()})
            if not name:
                raise PortageError(f"emerge-webrsync has left no whole snapshot; its logs are in {self.store.logs}")
            whole, before = self.store.has_snapshot(self.state), self.state["snapshot"]
            if whole and gentoo_tree.snapshot_date(name) < gentoo_tree.snapshot_date(before):
                raise PortageError(f"{name} is the newest that is to be had, and is older than {before}")
            if not whole or name != before:
                self._take_tree(folder, tree, name)
            self.state["looked"] = now()

    def _take_tree(self, folder: Path, tree: Path, name: str) -> None:
        self.store.admit_snapshot(self.state, folder, name)
        place = self.store.tree(name)
        discard(place)
        tree.rename(place)
        self.added.update({path: self.state["files"][path]["stat"][0] for path in snapshot_parts(name)})
        self.state.update(snapshot=name, asked="")
        self.store.save(self.state)
        self.store.forget_trees(name)

    def _ask(self, portage: Portage, tree: Path) -> None:
        """What Portage cannot say of a set now still holds as it was said last."""
        sets, failed = dict(self.state["sets"]), {}
        for packages in self.mirror.sets:
            try:
                sets[packages.name] = sorted(portage.wanted(packages, tree))
            except PortageError as error:
                failed[packages.name] = str(error)
        declared = {packages.name for packages in self.mirror.sets}
        sets = {name: names for name, names in sets.items() if name in declared or failed}
        found = gentoo_tree.digests(tree, {name for names in sets.values() for name in names})
        known = {name: [[one.size, [list(pair) for pair in one.hashes]] for one in all] for name, all in found.items()}
        self.state.update(sets=sets, failed=failed, digests={**self.state["digests"], **known}, image=portage.image)
        self.state.update(key=gentoo_plan.key(self.mirror), asked=self.state["snapshot"])
        self.faults += [f"{name}: {why}" for name, why in failed.items()]
        self.store.save(self.state)

    def _fetch(self, portage: Portage, packages: PackageSet, tree: Path) -> None:
        with portage.fetched(packages, tree) as (folder, fault):
            self._gather([folder])
            missing = gentoo_plan.missing(self.store, self.state).keys() & set(self.state["sets"][packages.name])
            if missing and fault:
                raise PortageError(f"{count(len(missing), 'distfile')} did not come: {fault}")

    def _gather(self, folders: Iterable[Path]) -> None:
        """Bring in every missing distfile that lies in its place already, or is what it should be in one of these."""
        for name in gentoo_plan.missing(self.store, self.state):
            digests = gentoo_plan.digests_of(self.state, name)
            if digests and not self.store.adopt(self.state, distfile(name), digests):
                self._take(name, digests, folders)
        self.store.save(self.state)

    def _take(self, name: str, digests: list[gentoo_tree.Digest], folders: Iterable[Path]) -> None:
        for folder in folders:
            try:
                size = self.store.admit(self.state, folder / name, distfile(name), digests)
            except FileNotFoundError:
                continue
            except PortageError as error:
                self.refused[name] = short(str(error))
                continue
            self.added[distfile(name)] = size
            self.refused.pop(name, None)
            return

    def _note(self) -> None:
        """From when on nobody has needed what lies there; a held plan counts no days."""
        if gentoo_plan.of(self.mirror, self.store, self.state).held:
            return
        before = prune.by_this_clock(self.state["unneeded"], self.state["seen"])
        unneeded = prune.since(self.state["files"].keys() - gentoo_plan.needed(self.state), before)
        wanted = {name for names in self.state["sets"].values() for name in names}
        self.state.update(unneeded=unneeded, seen=now())
        self.state["digests"] = {name: all for name, all in self.state["digests"].items() if name in wanted}
        self.store.save(self.state)

    def _prune(self) -> None:
        expired = gentoo_plan.of(self.mirror, self.store, self.state).expired
        for path in expired:
            ours = self.store.has(self.state, path)
            try:
                size = self.store.remove(self.state, path)
                if ours:
                    self.removed[path] = size
                del self.state["unneeded"][path]
            except MirrorError as error:
                self.faults.append(str(error))
        if expired:
            self.store.save(self.state)


def _some(missing: dict[str, str]) -> list[str]:
    """Enough to know what is wrong; the answer itself has them all."""
    lines = [f"{name}: {why}" for name, why in sorted(missing.items())]
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]
