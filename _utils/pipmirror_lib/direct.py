"""What a platform's direct references become in a run: fetched, built where they are sources, remembered.

A reference is satisfied while its text and its wheel are unchanged; only an upgrade asks whether a branch has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from packaging.markers import Marker

from pipmirror_lib import references
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import BuildError, PackageIndexError, PipmirrorError, WheelError
from pipmirror_lib.local import LocalSource
from pipmirror_lib.mirror import Record
from pipmirror_lib.references import DirectReference
from pipmirror_lib.sources import FetchedReference, Sources
from pipmirror_lib.wheels import Metadata, parse_name
from pipmirror_lib.workshop import Built

# What lies there already, what was just made, or why there is neither.
Outcome = Candidate | Built | PipmirrorError


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
    # Like `map`; one that works at several at once must give the answers in order all the same.
    each: Callable[[Callable[[DirectReference], Outcome], Iterable[DirectReference]], Iterable[Outcome]] = map
    candidates: dict[str, Candidate] = field(default_factory=dict)
    fresh: dict[Candidate, Built] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def settle(self, wanted: Iterable[DirectReference]) -> None:
        """Have a wheel of every reference; one that fails is told, and does not keep the others back."""
        known = references.known(self.wheels, self.present.files)
        pending = {str(reference): reference for reference in wanted if self.applies(reference.marker)}
        while pending := {text: one for text, one in pending.items() if not self._is_settled(one)}:
            # Of those that are spelled differently and mean the same, a later one serves where an earlier one fails.
            self._settle({one.key: one for one in reversed(pending.values())}, known)

    def _is_settled(self, reference: DirectReference) -> bool:
        return reference.key in self.candidates or str(reference) in self.faults

    def _settle(self, wanted: Mapping[str, DirectReference], known: Mapping[str, Candidate]) -> None:
        def outcome(reference: DirectReference) -> Outcome:
            try:
                return self._current(reference, known.get(reference.key))
            except (BuildError, PackageIndexError, WheelError) as error:
                return error

        batch = list(wanted.values())[::-1]
        for reference, found in zip(batch, self.each(outcome, batch), strict=True):
            try:
                self.candidates[reference.key] = self._entered(reference, found)
            except (BuildError, PackageIndexError, WheelError) as error:
                self.faults[str(reference)] = str(error)
                if before := known.get(reference.key):  # what lies there still serves
                    self.candidates[reference.key] = before

    @property
    def metadata(self) -> dict[Candidate, Metadata]:
        return {candidate: built.metadata for candidate, built in self.fresh.items()}

    def _current(self, reference: DirectReference, known: Candidate | None) -> Candidate | Built:
        if known and (reference.is_fixed or not self.upgrade):
            return known
        newest = self.sources.newest(reference)
        if same := self._lying_there(reference, newest):
            return same
        if made := self.again(reference, newest):
            return made
        fetched = self.sources.fetch(reference)
        return self._lying_there(reference, fetched.origin) or self.make(reference, fetched)

    def _lying_there(self, reference: DirectReference, origin: Record) -> Candidate | None:
        """A wheel of the very same sources, perhaps by another name of theirs: nothing is built twice."""
        for filename, record in self.wheels.items():
            if origin and record.get("source") == origin:
                for candidate in self.present.files(parse_name(filename).project):
                    if candidate.filename == filename:
                        return candidate
        return None

    def _entered(self, reference: DirectReference, found: Outcome) -> Candidate:
        if isinstance(found, Candidate):
            return found
        if isinstance(found, PipmirrorError):
            raise found
        same = (
            candidate for candidate, built in self.fresh.items() if built.record["source"] == found.record["source"]
        )
        return next(same, None) or self._new(reference, found)

    def _new(self, reference: DirectReference, built: Built) -> Candidate:
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
