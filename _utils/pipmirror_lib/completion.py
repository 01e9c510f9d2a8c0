"""What a platform lacks, brought in: references, lock, downloads and builds, admission."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.utils import NormalizedName

from pipmirror_lib import explain, kept_lock, lock, references, upstream, yanks
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.direct import DirectReferences
from pipmirror_lib.errors import BuildError, PackageIndexError, WheelError
from pipmirror_lib.lazily import made_once
from pipmirror_lib.local import LocalSource
from pipmirror_lib.lock import Lock
from pipmirror_lib.mirror import Admission, PlatformDirectory, Record
from pipmirror_lib.pages import bare
from pipmirror_lib.parts import canonical
from pipmirror_lib.progress import Step, fetching
from pipmirror_lib.run import Run
from pipmirror_lib.settings import Platform
from pipmirror_lib.wheels import check_promised, parse_name
from pipmirror_lib.withdrawal import withdraw
from pipmirror_lib.workshop import Built, Workshop


@dataclass
class Completion:
    """One platform's way from what lies there to what is declared; `problems` are what could not be had."""

    run: Run
    platform: Platform
    directory: PlatformDirectory
    manifest: Record
    present: LocalSource
    workshop: Workshop
    upgrade: bool
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    added: dict[str, Record] = field(default_factory=dict)
    at_fault: dict[str, list[str]] = field(default_factory=dict)

    @made_once
    def direct(self) -> DirectReferences:
        shop = self.workshop
        found = DirectReferences(
            self.manifest["wheels"],
            self.present,
            self.run.sources,
            shop.referenced,
            shop.again,
            shop.profile.applies,
            self.upgrade,
            shop.each,
        )
        found.settle(r for wanted in self.platform.sets for r in references.direct(wanted.requirements))
        return found

    def lock(self) -> Lock:
        """Resolve every set against the index; raises PackageIndexError where it cannot be asked."""
        path, key = self.directory.lock_path, self._key()
        kept = None if self.direct.fresh or self.direct.faults else kept_lock.load(path, key, self.present)
        if kept:
            self.notes.append("went on with the decision of a sync that had not come to its end")
            return kept
        if not self.upgrade:  # what does not lie there, the decision itself asks for, and waits
            self.run.index.look_at(self._declared() & self.present.by_project.keys())
        locked = self._resolved()
        # Of an upgrade, for what nobody wants any more as well.
        self.run.index.look_at(self.present.by_project if self.upgrade else self._declared())
        self.problems += explain.lines({**locked.missing, **self.direct.faults})
        if not self.direct.fresh and not self.direct.faults:
            kept_lock.store(path, key, locked, self.present, self.run.index.lacking)
        return locked

    def _key(self) -> str:
        return kept_lock.key_of(self.run.mirror, self.platform, self.workshop.profile, upgrade=self.upgrade)

    def _declared(self) -> set[NormalizedName]:
        """Whose pages are looked at for what became of them upstream, although what lies there may suffice."""
        wanted = (r for one in self.platform.sets for r in one.requirements if not r.url)
        return {canonical(r.name) for r in wanted if self.workshop.profile.applies(r.marker)}

    def _resolved(self) -> Lock:
        return lock.make(
            self.run.mirror,
            self.platform,
            self.workshop.profile,
            self.present,
            self.run.index,
            upgrade=self.upgrade,
            build=self.workshop.metadata,
            begin=self.workshop.begin,
            direct=self.direct.candidates,
            made=self.direct.metadata,
        )

    def admit(self, locked: Lock) -> None:
        """Fetch, build and bring in what the lock names, for every set that can be had as a whole."""
        admissions = self._gather(locked)
        self.run.check()
        wheels = self.manifest["wheels"]
        for admission in admissions:
            old = wheels.get(admission.filename)
            if old and old["sha256"] != admission.record["sha256"]:
                admission.record["replaced"] = old["sha256"]
        # Pages and file cannot change in one step, and the old page would vouch for other bytes.
        withdraw(self.directory, wheels, {a.filename for a in admissions if "replaced" in a.record})
        try:
            self.directory.admit(self.manifest, admissions)
        except WheelError:
            self.directory.lock_path.unlink(missing_ok=True)
            raise
        changed = self.direct.remember({admission.filename for admission in admissions})
        changed = yanks.note(wheels, self.run.mirror) or changed
        if upstream.look(wheels, self.run.index.asked) or changed:
            self.directory.save_manifest(self.manifest)
        self.added = {admission.filename: self._about(admission.filename) for admission in admissions}
        # Who has gone on with a decision in vain decides anew: what it names may be gone.
        if self.notes or not self.problems:
            self.directory.lock_path.unlink(missing_ok=True)

    def _about(self, filename: str) -> Record:
        name, record = parse_name(filename), self.manifest["wheels"][filename]
        old = sorted({str(candidate.version) for candidate in self.present.files(name.project)})
        about: dict[str, Any] = {"project": name.project, "version": str(name.version), "old": old, "beside": old}
        return {**about, **{key: record[key] for key in ("origin", "sha256", "size", "replaced") if key in record}}

    def _gather(self, locked: Lock) -> list[Admission]:
        """Staged wheels of every set that is complete; why the others are not becomes a problem."""
        fresh = self.direct.fresh
        coming = {candidate.filename: candidate for candidate in locked.coming if candidate not in fresh}
        for candidate in coming.values():  # begin all downloads before waiting for the first
            self.run.index.file(candidate)
        built = {c.filename: fresh[c] for c in locked.coming if c in fresh}
        with self.run.board.counting(self.platform.name, lambda: self._so_far(coming)):
            return self._gathered(locked, coming, built)

    def _so_far(self, coming: Mapping[str, Candidate]) -> Step:
        files = [self.run.index.how_far(candidate) for candidate in coming.values()]
        sdists = [name for name, candidate in coming.items() if candidate.is_sdist]
        built = sum(1 for name in sdists if name in self.workshop.ended)
        return fetching(self.platform.name, files, (built, len(sdists)))

    def _gathered(self, locked: Lock, coming: Mapping[str, Candidate], built: dict[str, Built]) -> list[Admission]:
        lacking = self._unbuilt((c for c in coming.values() if c.is_sdist), built)
        lacking.update(self._unfetched(c for c in coming.values() if not c.is_sdist))
        lacking.update(self._replacing(built))
        lacking.update(self._rivals(coming, built))
        self.problems += lacking.values()
        self.at_fault.update(self._keeping_away(locked, lacking))
        wanted = {
            candidate.filename
            for closure in locked.sets.values()
            if not any(c.filename in lacking for c in closure)
            for candidate in closure
        }
        made = [self._made(one) for name, one in built.items() if name in wanted]
        return made + [self._fetched(coming[name]) for name in sorted(wanted & coming.keys() - built.keys())]

    def _keeping_away(self, locked: Lock, lacking: Collection[str]) -> Iterator[tuple[str, list[str]]]:
        """(set, what of it could not be had) of each set that is not complete for that; the rest of it only waits."""
        unmet = {**locked.missing, **self.direct.faults}
        for wanted in self.platform.sets:
            files = [str(c) for c in locked.sets.get(wanted.name, ()) if c.filename in lacking]
            if found := files or [str(r) for r in wanted.requirements if str(r) in unmet]:
                yield wanted.name, found

    def _unfetched(self, files: Iterable[Candidate]) -> dict[str, str]:
        """{file: why it did not come}, of those that did not, or are not what was decided on."""
        faults = {}
        for candidate in files:
            try:
                fetched = self.run.index.file(candidate).result()
                if not candidate.is_sdist:
                    check_promised(fetched.path, candidate.filename, self._vouched(candidate))
            except PackageIndexError as error:
                faults[candidate.filename] = str(error)
            except WheelError as error:
                faults[candidate.filename] = str(error)
                self.directory.lock_path.unlink(missing_ok=True)  # nobody shall go on with that decision
        return faults

    def _vouched(self, candidate: Candidate) -> str:
        """The sha256 of the METADATA that the decision was made from, unless that was the wheel's own."""
        return "" if candidate.url in self.run.index.lacking else candidate.metadata_sha256 or ""

    def _unbuilt(self, sdists: Iterable[Candidate], built: dict[str, Built]) -> dict[str, str]:
        """Add the wheels of sdists, by the sdists' names; {sdist: why it did not come, or did not build}."""
        files = list(sdists)
        unbuilt = self._unfetched(files)
        for name, outcome in self.workshop.wheels(c for c in files if c.filename not in unbuilt).items():
            if isinstance(outcome, BuildError):
                unbuilt[name] = str(outcome)
            else:
                built[name] = outcome
        return unbuilt

    def _replacing(self, built: Mapping[str, Built]) -> dict[str, str]:
        """Those that would take the place of an index's own file: such a file never changes."""
        faults = {}
        for name, one in built.items():
            record = self.manifest["wheels"].get(one.path.name, {})
            if record.get("origin") == "index" and record["sha256"] != one.record["sha256"]:
                faults[name] = (
                    f"{name} became {one.path.name}, which lies there from the index and is never replaced; "
                    f"remove {self.directory.public / one.path.name} first"
                )
        return faults

    def _rivals(self, coming: Mapping[str, Candidate], built: Mapping[str, Built]) -> dict[str, str]:
        """Sdists whose wheels would have the name of something else: only a build tells how a wheel is called."""
        taken = {candidate.filename: f"{key} has become" for key, candidate in self.direct.candidates.items()}
        taken.update((name, "the index has for another set") for name, one in coming.items() if not one.is_sdist)
        faults = {}
        for name, one in built.items():
            if name in coming and one.path.name in taken:
                faults[name] = (
                    f"{name} became {one.path.name}, which is what {taken[one.path.name]} as well; use mirrors"
                )
            taken.setdefault(one.path.name, f"{name} has become")
        return faults

    def _made(self, built: Built) -> Admission:
        name = built.path.name
        return Admission(self.directory.stage(built.path, name), name, built.record)

    def _fetched(self, candidate: Candidate) -> Admission:
        fetched = self.run.index.file(candidate).result()
        record = {
            "sha256": fetched.sha256,
            "origin": "index",
            "url": bare(candidate.url),
            "upload_time": candidate.upload_time,
        }
        staged = self.directory.stage(fetched.path, candidate.filename)
        return Admission(staged, candidate.filename, record, self._vouched(candidate))
