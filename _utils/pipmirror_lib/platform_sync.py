"""One platform's way from what is declared to what is published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipmirror_lib import clean, explain, failures, local, plan, prune, sweep, yanks
from pipmirror_lib.completion import Completion
from pipmirror_lib.errors import EngineError, Interrupted, PipmirrorError
from pipmirror_lib.machine import discard_leftovers
from pipmirror_lib.mirror import Record
from pipmirror_lib.moments import now
from pipmirror_lib.platform_task import PlatformTask
from pipmirror_lib.preparation import Preparation
from pipmirror_lib.pruning import Pruning
from pipmirror_lib.publication import publish
from pipmirror_lib.run import Run
from pipmirror_lib.settings import Platform
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.verification import Verification
from pipmirror_lib.wheels import parse_name
from pipmirror_lib.withdrawal import withdraw
from pipmirror_lib.workplace import Quarters
from pipmirror_lib.workshop import Workshop

Result = dict[str, Any]


class PlatformSync:
    """What can be asked of a platform, and the steps that it takes. It is used once."""

    def __init__(self, run: Run, platform: Platform) -> None:
        self.run = run
        self.mirror = run.mirror
        self.platform = platform
        self.task = PlatformTask(run, platform)
        self.directory = self.task.directory
        self.preparation = Preparation(self.task)
        self.verification = Verification(self.task, self.preparation)
        self.pruning = Pruning(run.mirror, platform, self.directory)
        self.at_fault: failures.AtFault = {}

    # -- what is asked of a platform; each returns its problems, none if all went well ---------------------

    def sync(self, upgrade: bool) -> list[str]:
        self.directory.create()
        while (problems := self._attempted(upgrade)) is None:
            self.run.wait_for_turn(self.task.progress)
        return problems

    def _attempted(self, upgrade: bool) -> list[str] | None:
        """None where it takes long, and there is no place for that now."""
        with self._locked():
            manifest = self._recovered()
            planned = self._tidy(manifest)
            try:
                if not upgrade and not plan.is_long(planned):
                    return self._noted(manifest, planned, upgrade)
                with self.run.turn() as has_place:
                    return self._noted(manifest, planned, upgrade) if has_place else None
            finally:
                self.directory.clear()

    def _noted(self, manifest: Record, planned: PlatformPlan, upgrade: bool) -> list[str]:
        """What a later look at the platform shall tell of a failure, whoever was told now."""
        try:
            problems = self._synced(manifest, planned, upgrade)
        except PipmirrorError as error:
            if not isinstance(error, Interrupted):
                failures.note(self.mirror, self.platform, self.directory, [str(error)], self.at_fault)
            raise
        if problems:
            failures.note(self.mirror, self.platform, self.directory, problems, self.at_fault)
        return problems

    def _synced(self, manifest: Record, planned: PlatformPlan, upgrade: bool) -> list[str]:
        self.run.check()
        busy = upgrade or not planned.nothing_to_do
        if not planned.satisfied or upgrade or any(line in planned.due for line in plan.ENGINE_WORK):
            self.preparation.make_if_possible(plan.REBUILD in planned.due)
            planned = self._tidy(manifest)
        problems = []
        if not planned.satisfied or upgrade or plan.UPGRADE in planned.due:
            problems = self._complete(manifest, upgrade or plan.UPGRADE in planned.due)
            planned = self.task.plan()
            problems = problems or explain.lines(planned.missing)
        unproved = self.verification.verify(planned) if plan.VERIFY in planned.due else []
        moment = now()
        # What does not install is not published, and a first failure leaves no pages of nothing.
        if not unproved and (not problems or manifest["wheels"] or self.directory.published_path.exists()):
            self._publish(manifest, planned, moment if busy and not problems else "")
        problems += unproved
        self._note_unneeded(planned)
        self._say_what_came(planned)
        if not problems:
            sweep.clear(self.mirror.target, sweep.of_builds(self.directory, self.mirror.keep_days))
            self.task.notes.append(f"every set is satisfied, by {explain.count(len(planned.closure), 'wheel')}")
            if self.mirror.prune:
                self._prune(self.task.plan(), manifest)
            self.task.remember(synced=moment, failed={})
        return problems

    def prepare_only(self, force: bool) -> list[str]:
        self.directory.create()
        with self._at_work():
            self.preparation.make(force)
        return []

    def verify_only(self, hashes: bool) -> list[str]:
        planned = self.task.plan()
        if not planned.satisfied:
            return explain.lines(planned.missing)
        with self._at_work():
            damaged = self.task.set_damaged_aside() if hashes else []
            return damaged or self.verification.verify(planned)

    def publish_only(self) -> list[str]:
        if not self.directory.public.is_dir():
            return [f"{self.directory.public} does not exist; sync first"]
        self.directory.create()
        with self._locked():
            manifest = self._recovered()
            planned = self._tidy(manifest)
            if plan.VERIFY in planned.due:
                return ["not published: the sets were not verified; run pipmirror.sync or pipmirror.verify"]
            self._publish(manifest, planned)
        return []

    def prune_only(self, force: bool, test: bool) -> list[str]:
        self.task.details.update(held="", unneeded={"noted": [], "dropped": []}, leftovers={})
        if test or not self.directory.private.is_dir():
            planned = self.task.plan()
            self._note_unneeded(planned, test=True)
            self._prune(planned, force=force)
            self.task.details["leftovers"] = sweep.told(sweep.of_platform(self.directory, self.mirror.keep_days))
            return []
        self.directory.create()
        with self._locked():
            manifest = self._recovered()
            planned = self._tidy(manifest)
            self._note_unneeded(planned)
            self._prune(planned, manifest, force=force)
            cleared = sweep.clear(self.mirror.target, sweep.of_platform(self.directory, self.mirror.keep_days))
            self.task.details["leftovers"] = sweep.told(cleared)
        return []

    def clean_only(self, test: bool) -> list[str]:
        self.task.details.update(leftovers={})
        if test or not self.directory.private.is_dir():
            self.task.details["leftovers"] = sweep.told(clean.of_platform(self.directory))
            return []
        with self._locked(tidy=False):  # containers are looked for, and told, at the end
            found = clean.of_platform(self.directory)
            discard_leftovers(self.directory.private)
            self._recovered()  # what has been promised is no leftover
            self.task.details["leftovers"] = sweep.told(
                clean.rest(self.directory, found, self.task.details.get("recovered", ()))
            )
        return []

    # -- the steps -----------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, *, tidy: bool = True) -> Iterator[None]:
        """Hold the platform; what a run that was killed has left outside the mirror goes first, if `tidy`.

        Whoever comes next is not told of that run again.
        """
        with self.directory.locked(self.mirror.lock_timeout, self.task.progress, self.run.interrupted) as killed:
            if killed and tidy:
                discard_leftovers(self.directory.private)
                # Its container may run for ever, and perhaps nothing will need the engine for a long time.
                with suppress(EngineError):
                    _ = self.platform.image and self.preparation.engine
            yield

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """With the platform's lock and a place; whoever waits for one of them has not the other."""
        while True:
            with self._locked(), self.run.turn() as has_place:
                if has_place:
                    yield
                    return
            self.run.wait_for_turn(self.task.progress)

    def _recovered(self) -> Record:
        """The manifest, after what an interrupted run has promised is finished."""
        manifest = self.directory.manifest()
        if recovered := self.directory.recover(manifest):
            self.task.notes.append(f"finished an interrupted sync: {explain.count(len(recovered), 'wheel')} recovered")
            self.task.details["recovered"] = recovered
        return manifest

    def _tidy(self, manifest: Record) -> PlatformPlan:
        """Bring the manifest in line with the directory before anything else is decided."""
        planned = self.task.plan()
        # Before the pages are written anew may lie a long time, or a failure.
        others = {*planned.broken, *planned.vanished, *planned.unrecorded}
        withdraw(self.directory, manifest["wheels"], others)
        if planned.broken:
            self.directory.set_aside(manifest, planned.broken)
            self.task.removed.update({name: {"reason": why} for name, why in planned.broken.items()})
            self.task.notes += [
                f"set aside in {self.directory.private}/broken: {why}" for why in planned.broken.values()
            ]
        if planned.vanished:
            self.directory.forget(manifest, planned.vanished)
        if planned.unrecorded:
            self.task.progress(f"recording {explain.count(len(planned.unrecorded), 'wheel')} that lay there")
            self.directory.record(manifest, planned.unrecorded)
            self.task.details["recorded"] = list(planned.unrecorded)
            self.task.notes.append(
                f"recorded {explain.count(len(planned.unrecorded), 'wheel')} that lay there, fetched none of them"
            )
        bare = [name for name in planned.bare if name not in others]
        self.task.set_aside(manifest, self.directory.describe(manifest, bare), "its METADATA is not what was recorded")
        remarked = yanks.note(manifest["wheels"], self.mirror)
        if remarked:
            self.directory.save_manifest(manifest)
        return self.task.plan() if others or bare or remarked else planned

    def _complete(self, manifest: Record, upgrade: bool) -> list[str]:
        """Lock, fetch, build and admit what is missing; returns what could not be had."""
        profile = self.task.profile()
        present = local.scan(self.directory.public, self.directory.scan_cache, manifest["wheels"])
        workshop = Workshop(self.mirror, self.directory, profile, self._for_builds, self.run.index, self.task.progress)
        with workshop:
            completion = Completion(self.run, self.platform, self.directory, manifest, present, workshop, upgrade)
            with self.run.board.counting(self.platform.name, lambda: self.run.so_far(self.platform.name)):
                locked = completion.lock()
            self.task.notes += [*completion.notes, *locked.warnings]
            self.run.check()
            completion.admit(locked)
        if (upgrade or not present.names) and not completion.problems:  # else only at what is declared, or lacking
            self.task.remember(looked=now())
        self.task.added.update(completion.added)
        self.at_fault = completion.at_fault
        return completion.problems

    def _for_builds(self) -> Quarters:
        self.run.check()
        return self.preparation.quarters

    def _publish(self, manifest: Record, planned: PlatformPlan, synced: str = "") -> None:
        self.run.check()
        whole = self.run.whole
        changed = publish(self.mirror, self.platform, planned, manifest["wheels"], whole=whole, synced=synced)
        if changed["written"] or changed["removed"]:
            self.task.details["published"] = {key: len(paths) for key, paths in changed.items()}

    def _note_unneeded(self, planned: PlatformPlan, *, test: bool = False) -> None:
        if changed := self.pruning.note(planned, test=test):
            self.task.details["unneeded"] = changed

    def _prune(self, planned: PlatformPlan, manifest: Record | None = None, *, force: bool = False) -> None:
        """Remove the wheels that may go; without the manifest, only tell which."""
        outlook = self.pruning.outlook(planned, force=force)
        about = self.pruning.about(planned, outlook.going)
        if outlook.held:
            self.task.details["held"] = outlook.held
            self.task.notes.append(f"{prune.WOULD_HOLD if manifest is None else prune.HELD}: {outlook.held}")
        if not about:
            return
        what = prune.amount([one["size"] for one in about.values()])
        if manifest is None:
            self.task.removed.update(about)
            self.task.notes.append(f"would remove {what}")
            return
        self.task.progress(f"removing {what}")
        try:
            self.pruning.remove(manifest, planned, outlook.going)
            self.task.notes.append(f"removed {what}")
        finally:
            self.task.removed.update(self.pruning.gone(about))

    def _say_what_came(self, planned: PlatformPlan) -> None:
        needed = {(name.project, str(name.version)) for name in map(parse_name, planned.closure)}
        for record in self.task.added.values() if planned.satisfied else ():
            record["beside"] = [version for version in record["old"] if (record["project"], version) in needed]
        built = sum(1 for record in self.task.added.values() if record["origin"] == "built")
        if self.task.added:
            here = f", {built} of them built here" if built else ""
            self.task.notes.insert(0, f"added {explain.count(len(self.task.added), 'wheel')}{here}")
