"""One platform's way from what is declared to what is published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import asdict
from typing import Any

from pipmirror_lib import builder, clean, explain, local, plan, proof, prune, sweep
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.completion import Completion
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import BuilderError, EngineError, VerifyError
from pipmirror_lib.lazily import made_once
from pipmirror_lib.machine import ThisMachine, discard_leftovers
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.moments import now
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.pruning import Pruning
from pipmirror_lib.publish import publish
from pipmirror_lib.references import DirectReference
from pipmirror_lib.run import Run
from pipmirror_lib.settings import Platform, RequirementSet
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.wheels import parse_name
from pipmirror_lib.workplace import Quarters
from pipmirror_lib.workshop import Workshop

Result = dict[str, Any]


class PlatformSync:
    """What can be asked of a platform, and the steps that it takes. It is used once."""

    def __init__(self, run: Run, platform: Platform) -> None:
        self.run = run
        self.mirror = run.mirror
        self.platform = platform
        self.directory = PlatformDirectory.of(run.mirror, platform.name)
        self.added: dict[str, Record] = {}
        self.removed: dict[str, Record] = {}
        self.notes: list[str] = []
        self.details: Result = {}
        self.pruning = Pruning(run.mirror, platform, self.directory)

    # -- what is asked of a platform; each returns its problems, none if all went well ---------------------

    def sync(self, upgrade: bool) -> list[str]:
        self.directory.create()
        while (problems := self._attempted(upgrade)) is None:
            self.run.wait_for_turn(self.progress)
        return problems

    def _attempted(self, upgrade: bool) -> list[str] | None:
        """None where it takes long, and there is no place for that now."""
        with self._locked() as killed:
            manifest = self._recovered(killed)
            planned = self._tidy(manifest)
            try:
                if not upgrade and not plan.is_long(planned):
                    return self._synced(manifest, planned, upgrade)
                with self.run.turn() as has_place:
                    return self._synced(manifest, planned, upgrade) if has_place else None
            finally:
                self.directory.clear()

    def _synced(self, manifest: Record, planned: PlatformPlan, upgrade: bool) -> list[str]:
        self.run.check()
        if not planned.satisfied or upgrade or any(line in planned.due for line in plan.ENGINE_WORK):
            self._prepare_if_possible(plan.REBUILD in planned.due)
            planned = self._tidy(manifest)
        problems = []
        if not planned.satisfied or upgrade or plan.UPGRADE in planned.due:
            problems = self._complete(manifest, upgrade or plan.UPGRADE in planned.due)
            planned = self._plan()
            problems = problems or explain.lines(planned.missing)
        unproved = self._verify(planned) if plan.VERIFY in planned.due else []
        # What does not install is not published, and a first failure leaves no pages of nothing.
        if not unproved and (not problems or manifest["wheels"] or self.directory.published_path.exists()):
            self._publish(manifest)
        problems += unproved
        self._note_unneeded(planned)
        if not problems:
            sweep.clear(self.mirror.target, sweep.of_builds(self.directory, self.mirror.keep_days))
            self._say(planned)
            if self.mirror.prune:
                self._prune(self._plan(), manifest)
            self._remember(synced=now())
        return problems

    def prepare_only(self, force: bool) -> list[str]:
        self.directory.create()
        with self._at_work():
            self._prepare(force)
        return []

    def verify_only(self, hashes: bool) -> list[str]:
        planned = self._plan()
        if not planned.satisfied:
            return explain.lines(planned.missing)
        with self._at_work():
            damaged = self._set_damaged_aside() if hashes else []
            return damaged or self._verify(planned)

    def publish_only(self) -> list[str]:
        if not self.directory.public.is_dir():
            return [f"{self.directory.public} does not exist; sync first"]
        self.directory.create()
        with self._locked() as killed:
            manifest = self._recovered(killed)
            planned = self._tidy(manifest)
            if plan.VERIFY in planned.due:
                return ["not published: the sets were not verified; run pipmirror.sync or pipmirror.verify"]
            self._publish(manifest)
        return []

    def prune_only(self, force: bool, test: bool) -> list[str]:
        self.details.update(held="", unneeded={"noted": [], "dropped": []}, leftovers={})
        if test or not self.directory.private.is_dir():
            planned = self._plan()
            self._note_unneeded(planned, test=True)
            self._prune(planned, force=force)
            self.details["leftovers"] = sweep.told(sweep.of_platform(self.directory, self.mirror.keep_days))
            return []
        self.directory.create()
        with self._locked() as killed:
            manifest = self._recovered(killed)
            planned = self._tidy(manifest)
            self._note_unneeded(planned)
            self._prune(planned, manifest, force=force)
            cleared = sweep.clear(self.mirror.target, sweep.of_platform(self.directory, self.mirror.keep_days))
            self.details["leftovers"] = sweep.told(cleared)
        return []

    def clean_only(self, test: bool) -> list[str]:
        self.details.update(leftovers={})
        if test or not self.directory.private.is_dir():
            self.details["leftovers"] = sweep.told(clean.of_platform(self.directory))
            return []
        with self._locked():
            found = clean.of_platform(self.directory)
            discard_leftovers(self.directory.private)
            self._recovered(killed=False)  # what has been promised is no leftover; containers are looked for at the end
            self.details["leftovers"] = sweep.told(clean.rest(self.directory, found, self.details.get("recovered", ())))
        return []

    # -- the steps -----------------------------------------------------------------------------------------

    def progress(self, text: str) -> None:
        self.run.board.tell(self.platform.name, text)

    def _locked(self) -> AbstractContextManager[bool]:
        return self.directory.locked(self.mirror.lock_timeout, self.progress, self.run.interrupted)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """With the platform's lock and a place; whoever waits for one of them has not the other."""
        while True:
            with self._locked(), self.run.turn() as has_place:
                if has_place:
                    yield
                    return
            self.run.wait_for_turn(self.progress)

    def _plan(self) -> PlatformPlan:
        return plan.make(self.mirror, self.platform, self.directory)

    def _remember(self, **changes: Any) -> None:
        plan.remember(self.directory, **changes)

    def _recovered(self, killed: bool) -> Record:
        """The manifest, after what an interrupted run has begun is finished, and what it left is removed."""
        manifest = self.directory.manifest()
        if killed:
            discard_leftovers(self.directory.private)
            # Its container may run for ever, and perhaps nothing will need the engine for a long time.
            with suppress(EngineError):
                _ = self.platform.image and self.engine
        if recovered := self.directory.recover(manifest):
            self.notes.append(f"finished an interrupted sync: {explain.count(len(recovered), 'wheel')} recovered")
            self.details["recovered"] = recovered
        return manifest

    @made_once
    def engine(self) -> Engine:
        engine = Engine.connect(self.mirror.container.engine_url)
        engine.stopped = self.run.interrupted
        self.run.holds(closing(engine))
        self.run.uses_engine = True
        if abandoned := engine.remove_abandoned():
            self.notes.append(f"removed {explain.count(len(abandoned), 'container')} that a killed run had left")
        return engine

    @made_once
    def quarters(self) -> Quarters:
        """Where the platform's Python runs, made where there are none."""
        return self._prepare(force=False)

    def _prepare_if_possible(self, expired: bool) -> None:
        """A platform that has a profile of this recipe can go on without an engine until something must be built."""
        try:
            # Without a pre_command there is no image of ours whose age could tell: the base itself is fetched anew.
            if expired and not self.platform.pre_command:
                self.quarters = self._prepare(force=True)
            _ = self.quarters
        except EngineError as error:
            if plan.ENGINE_NEEDED in self._plan().due or self.directory.profile() is None:
                raise
            self.notes.append(f"went on with the known profile: {error}")

    def _profile(self) -> TargetProfile:
        profile = self.directory.profile()
        if profile is None:
            raise BuilderError(f"{plan.NEVER_PROFILED}; {self.directory.profile_path} is not readable")
        return profile

    def _image(self, command: str | None = None, *, force: bool = False) -> BuilderImage:
        """The image in which a command (the platform's own, if none is named) has run."""
        image = builder.prepare(
            self.engine,
            self.platform,
            self.mirror.container,
            workdir=self.directory.work,
            rebuild_after=self.mirror.rebuild_after,
            force=force,
            command=command,
            progress=self.progress,
        )
        self.run.holds(builder.using(image.id, self.progress, self.run.interrupted))
        return image

    def _prepare(self, force: bool) -> Quarters:
        self.run.check()
        if not self.platform.image:
            return self._prepare_here()
        self.progress("preparing the builder image")
        image = self._image(force=force)
        quarters = Containers(self.engine, image, self.platform)
        known = self.directory.profile()
        if known is None or known.image != image.id:
            self._ask(quarters)
        self.details["image"] = {"id": image.id, "source": image.base_source, "reused": image.reused}
        self._remember(
            recipe=plan.recipe_of(self.platform),
            prepared=image.created if self.platform.pre_command else now(),
            image=image.id,
            base=image.base_id,
            image_source=image.base_source,
        )
        return quarters

    def _prepare_here(self) -> Quarters:
        """This machine instead of an image: nothing is kept but its profile, which is quickly asked for."""
        here = ThisMachine.prepare(self.platform, self.directory.private)
        self._ask(here)
        self.notes.append(f"on this machine instead of containers, {here.isolation}")
        self.details["image"] = {"id": here.id, "source": here.source, "reused": True}
        self._remember(
            recipe=plan.recipe_of(self.platform), prepared=now(), image=here.id, base="", image_source=here.source
        )
        return here

    def _ask(self, quarters: Quarters) -> None:
        self.progress("asking the target for its profile")
        profile = builder.profile(quarters, self.platform, self.mirror.container, workdir=self.directory.work)
        self.directory.save(self.directory.profile_path, profile.to_json())
        self.details["profile"] = _summary(profile)

    def _tidy(self, manifest: Record) -> PlatformPlan:
        """Bring the manifest in line with the directory before anything else is decided."""
        planned = self._plan()
        if planned.broken:
            self.directory.set_aside(manifest, planned.broken)
            self.removed.update({name: {"reason": why} for name, why in planned.broken.items()})
            self.notes += [f"set aside in {self.directory.private}/broken: {why}" for why in planned.broken.values()]
        if planned.vanished:
            self.directory.forget(manifest, planned.vanished)
        if planned.unrecorded:
            self.progress(f"recording {explain.count(len(planned.unrecorded), 'wheel')} that lay there")
            self.directory.record(manifest, planned.unrecorded)
            self.details["recorded"] = list(planned.unrecorded)
            self.notes.append(
                f"recorded {explain.count(len(planned.unrecorded), 'wheel')} that lay there, fetched none of them"
            )
        return self._plan() if planned.vanished or planned.unrecorded or planned.broken else planned

    def _complete(self, manifest: Record, upgrade: bool) -> list[str]:
        """Lock, fetch, build and admit what is missing; returns what could not be had."""
        profile = self._profile()
        present = local.scan(self.directory.public, self.directory.scan_cache, manifest["wheels"])
        workshop = Workshop(self.mirror, self.directory, profile, self._for_builds, self.run.index, self.progress)
        with workshop:
            completion = Completion(self.run, self.platform, self.directory, manifest, present, workshop, upgrade)
            with self.run.board.counting(self.platform.name, lambda: self.run.so_far(self.platform.name)):
                locked = completion.lock()
            self.notes += [*completion.notes, *locked.warnings]
            self.run.check()
            completion.admit(locked)
        if (upgrade or not present.names) and not completion.problems:  # else only at what is declared, or lacking
            self._remember(looked=now())
        self.added.update(completion.added)
        return completion.problems

    def _for_builds(self) -> Quarters:
        self.run.check()
        return self.quarters

    def _verify(self, planned: PlatformPlan) -> list[str]:
        proofs: Result = {}
        installed: set[tuple[str, str]] = set()
        problems = []
        # A set that is not complete fails for that; the others are proved, because they are published.
        complete = (wanted for wanted in self.platform.sets if wanted.name not in planned.incomplete)
        for wanted in complete:
            if not (requirements := self._by_version(wanted)):
                continue
            self.run.check()
            self.progress(f"installing the set {wanted.name} without network")
            try:
                outcome = self._install(requirements)
            except VerifyError as error:
                problems += [f"set {wanted.name}: {error}", *self._set_damaged_aside()]
                continue
            ran = {project: asdict(one) for project, one in outcome.ran.items()}
            installed.update(outcome.installed)
            proofs[wanted.name] = {"installed": len(outcome.installed), "ran": ran, "pip": outcome.pip}
        self.details["verified"] = proofs
        if self.platform.image and not self.platform.verify_command:
            self.notes.append(
                "proved in the builder image; set verify_command to prove run-time shared libraries as well"
            )
        if not problems:
            state = plan.read_json(self.directory.state_path)
            key = plan.proof_key(self.mirror, self.platform, self.directory, state, planned)
            wheels = proof.installed_from(self.directory.manifest()["wheels"], installed)
            self._remember(verified={"key": key, "at": now(), "sets": proofs, "wheels": wheels})
        return problems

    def _by_version(self, wanted: RequirementSet) -> list[str]:
        """What a set wants here, as pip can install it from a directory: it would follow a URL itself."""
        applies = self._profile().applies
        wheels = self.directory.manifest()["wheels"]
        became = {key: filename for filename, record in wheels.items() for key in record.get("direct", ())}
        return [
            r.by_version(parse_name(became[r.key])) if isinstance(r, DirectReference) and r.key in became else str(r)
            for r in wanted.requirements
            if applies(r.marker)
        ]

    def _set_damaged_aside(self) -> list[str]:
        """Compare every recorded wheel with its hash; what differs is taken away, and the next sync brings it back."""
        manifest = self.directory.manifest()
        damaged = self.directory.damaged(manifest)
        if damaged:
            self.directory.set_aside(manifest, damaged)
            self.removed.update({name: {"reason": "it does not have its recorded sha256"} for name in damaged})
        return [f"{name} was damaged and set aside; the next sync brings it back" for name in damaged]

    def _install(self, requirements: list[str]) -> proof.VerifyOutcome:
        quarters = self.quarters
        if self.platform.verify_command:
            image = self._image(self.platform.verify_command)
            quarters = Containers(self.engine, image, self.platform)
            self._remember(verify_image=image.id)
        return proof.verify(
            quarters,
            self.platform,
            wheels=self.directory.public,
            requirements=requirements,
            constraints=self._constraints(),
            prereleases=self.mirror.prereleases is True,
            limits=self.mirror.container,
            workdir=self.directory.work,
        )

    def _constraints(self) -> list[str]:
        """The declared ones, and one that lets pip take prereleases of each project that may have them."""
        allowed = self.mirror.prereleases
        lines = [str(constraint) for constraint in self.mirror.constraints]
        return lines + ([] if isinstance(allowed, bool) else [f"{name}>=0.dev0" for name in allowed])

    def _publish(self, manifest: Record) -> None:
        self.run.check()
        changed = publish(self.directory, manifest["wheels"], plan.manifest_stamp(self.directory))
        if changed["written"] or changed["removed"]:
            self.details["published"] = {key: len(paths) for key, paths in changed.items()}

    def _note_unneeded(self, planned: PlatformPlan, *, test: bool = False) -> None:
        if changed := self.pruning.note(planned, test=test):
            self.details["unneeded"] = changed

    def _prune(self, planned: PlatformPlan, manifest: Record | None = None, *, force: bool = False) -> None:
        """Remove the wheels that may go; without the manifest, only tell which."""
        outlook = self.pruning.outlook(planned, force=force)
        about = self.pruning.about(planned, outlook.going)
        if outlook.held:
            self.details["held"] = outlook.held
            self.notes.append(f"{prune.HELD}: {outlook.held}")
        if not about:
            return
        what = prune.amount([one["size"] for one in about.values()])
        if manifest is None:
            self.removed.update(about)
            self.notes.append(f"would remove {what}")
            return
        self.progress(f"removing {what}")
        try:
            self.pruning.remove(manifest, planned, outlook.going)
            self.notes.append(f"removed {what}")
        finally:
            self.removed.update(self.pruning.gone(about))

    def _say(self, planned: PlatformPlan) -> None:
        built = sum(1 for record in self.added.values() if record["origin"] == "built")
        if self.added:
            self.notes.insert(0, f"added {explain.count(len(self.added), 'wheel')}, {built} of them built here")
        self.notes.append(f"every set is satisfied, by {explain.count(len(planned.closure), 'wheel')}")


def _summary(profile: TargetProfile) -> Mapping[str, str]:
    return {"python": str(profile.python_version), "pip": profile.pip_version, "tag": profile.tags[0]}
