"""What a platform's direct references become in a run: fetched, built where they are sources, remembered.

A reference is satisfied while its text and its wheel are unchanged; only an upgrade asks whether a branch has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from packaging.markers import Marker

from pipmirror_lib import references
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import BuildError, PackageIndexError, WheelError
from pipmirror_lib.local import LocalSource
from pipmirror_lib.mirror import Record
from pipmirror_lib.references import DirectReference
from pipmirror_lib.sources import FetchedReference, Sources
from pipmirror_lib.wheels import Metadata, parse_name
from pipmirror_lib.workshop import Built


@dataclass
class DirectReferences:
    """`candidates` are what the decision is made from, `fresh` those of them that have to be admitted."""

    wheels: dict[str, Record]
    present: LocalSource
    sources: Sources
    make: Callable[[DirectReference, FetchedReference], Built]
    again: Callable[[DirectReference, Record], Built | None]
    applies: Callable[[Marker | None], bool]
    upgrade: bool
    candidates: dict[str, Candidate] = field(default_factory=dict)
    fresh: dict[Candidate, Built] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def settle(self, wanted: Iterable[DirectReference]) -> None:
        """Have a wheel of every reference; one that fails is told, and does not keep the others back."""
        known = references.known(self.wheels, self.present.files)
        for reference in wanted:
            done = reference.key in self.candidates or str(reference) in self.faults
            if done or not self.applies(reference.marker):
                continue
            before = known.get(reference.key)
            try:
                self.candidates[reference.key] = self._current(reference, before)
            except (BuildError, PackageIndexError, WheelError) as error:
                self.faults[str(reference)] = str(error)
                if before:  # what lies there still serves
                    self.candidates[reference.key] = before

    @property
    def metadata(self) -> dict[Candidate, Metadata]:
        return {candidate: built.metadata for candidate, built in self.fresh.items()}

    def _current(self, reference: DirectReference, known: Candidate | None) -> Candidate:
        if known and (reference.is_fixed or not self.upgrade):
            return known
        newest = self.sources.newest(reference)
        if same := self._lying_there(reference, newest):
            return same
        if made := self.again(reference, newest):
            return self._entered(reference, made)
        fetched = self.sources.fetch(reference)
        return self._lying_there(reference, fetched.origin) or self._made(reference, fetched)

    def _lying_there(self, reference: DirectReference, origin: Record) -> Candidate | None:
        """A wheel of the very same sources, perhaps by another name of theirs: nothing is built twice."""
        for filename, record in self.wheels.items():
            if origin and record.get("source") == origin:
                for candidate in self.present.files(parse_name(filename).project):
                    if candidate.filename == filename:
                        return candidate
        return None

    def _made(self, reference: DirectReference, fetched: FetchedReference) -> Candidate:
        for candidate, built in self.fresh.items():
            if built.record["source"] == fetched.origin:
                return candidate
        return self._entered(reference, self.make(reference, fetched))

    def _entered(self, reference: DirectReference, built: Built) -> Candidate:
        name = parse_name(built.path.name)
        candidate = Candidate(
            project=name.project,
            version=name.version,
            filename=built.path.name,
            wheel=name,
            url=reference.key,
            sha256=str(built.record["sha256"]),
            size=built.path.stat().st_size,
            requires_python=built.metadata.requires_python,
            built=built.record["origin"] == "built",
        )
        self._refuse_to_replace(reference, candidate)
        self.fresh[candidate] = built
        return candidate

    def _refuse_to_replace(self, reference: DirectReference, candidate: Candidate) -> None:
        """A file of an index never changes, and two references cannot both have one name."""
        record = self.wheels.get(candidate.filename, {})
        others = [key for key, other in self.candidates.items() if other.filename == candidate.filename]
        if record.get("origin") == "index" and record["sha256"] != candidate.sha256:
            others.append("the index")
        if others:
            raise BuildError(
                f"{reference} became {candidate.filename}, a name that a wheel from {others[0]} has already; "
                "give it a version of its own, or another mirror"
            )

    def remember(self, admitted: Collection[str]) -> bool:
        """Write into the records which reference became which wheel; whether that changed any."""
        changed = False
        for key, candidate in self.candidates.items():
            if candidate in self.fresh and candidate.filename not in admitted:
                continue
            for filename, record in self.wheels.items():
                keys = [one for one in record.get("direct", ()) if one != key]
                keys += [key] if filename == candidate.filename else []
                if sorted(keys) != sorted(record.get("direct", ())):
                    record["direct"] = sorted(keys)
                    changed = True
        return changed
