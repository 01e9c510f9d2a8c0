"""What a resolver may see of a source on one platform: shelves, usable candidates, and who wants whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from pipmirror_lib.candidates import Candidate, Shelf, Source
from pipmirror_lib.declared import Yank
from pipmirror_lib.errors import BuildError, MisnamedError, WheelError
from pipmirror_lib.parts import canonical, combined, requirement, within, without_marker
from pipmirror_lib.profile import TargetProfile, specifier_of
from pipmirror_lib.references import NOT_FETCHED, DirectReference
from pipmirror_lib.wheels import Metadata
from pipmirror_lib.yanks import marked

ANY = SpecifierSet()
# So many versions are looked at in advance, at most.
AHEAD = 8


@dataclass(frozen=True)
class Question:
    """Is this set installable together on that platform, and from which candidates?

    `preferred` are versions that lie in the mirror: they come first wherever they fit, so that adding a
    requirement changes nothing else unless that is the only way.
    """

    requirements: tuple[Requirement, ...]
    profile: TargetProfile
    constraints: tuple[Requirement, ...] = ()
    prereleases: bool | tuple[NormalizedName, ...] = False
    no_binary: tuple[NormalizedName, ...] = ()
    preferred: Mapping[NormalizedName, frozenset[Version]] = field(default_factory=dict)
    # What direct references became, by their keys.
    direct: Mapping[str, Candidate] = field(default_factory=dict)
    yanked: tuple[Yank, ...] = ()
    timeout: int = 300


@dataclass(frozen=True)
class Want:
    """One requirement and who has it: a candidate, or nobody but the administrator."""

    requirement: Requirement
    parent: Candidate | None = None
    # As the administrator wrote it, where that was a URL.
    reference: DirectReference | None = None

    @property
    def declared(self) -> str:
        return str(self.reference or self.requirement)

    @property
    def project(self) -> NormalizedName:
        return canonical(self.requirement.name)

    @property
    def extras(self) -> tuple[NormalizedName, ...]:
        extras = self.requirement.extras
        return tuple(sorted(map(canonical, extras))) if extras else ()

    @property
    def written(self) -> str:
        """The requirement without its marker, which held, or nobody would want it."""
        return without_marker(self.reference or self.requirement)

    def __str__(self) -> str:
        return f"{self.written} ({'wanted by ' + str(self.parent) if self.parent else 'declared'})"


class World:
    """A source seen through a question; everything that is computed once per project lives here."""

    def __init__(self, source: Source, question: Question) -> None:
        self.source = source
        self.question = question
        self._met: list[Want] = []
        self._wants: dict[NormalizedName, dict[tuple[str, Candidate | None], Want]] = {}
        self.unusable: dict[NormalizedName, dict[str, str]] = {}
        self._misnamed: set[Candidate] = set()
        self.failed: dict[NormalizedName, str] = {}
        self.warnings: dict[str, None] = {}
        # As in pip, a project that a URL serves is served by nothing else.
        self._served: dict[NormalizedName, Candidate] = {}
        self._shelves: dict[NormalizedName, Shelf] = {}
        self._dependencies: dict[tuple[Candidate, tuple[NormalizedName, ...]], tuple[Want, ...]] = {}
        self._metadata: dict[Candidate, Metadata | None] = {}
        # Seconds spent on sdists, which may have been built; a search answers for its own time only.
        self.waited = 0.0
        self._constraints: dict[NormalizedName, SpecifierSet] = {}
        for constraint in question.constraints:
            if question.profile.applies(constraint.marker):
                name = canonical(constraint.name)
                self._constraints[name] = self._constraints.get(name, ANY) & constraint.specifier

    def roots(self) -> tuple[Want, ...]:
        """The declared requirements whose markers hold here."""
        wants = tuple(self._root(r) for r in self.question.requirements if self.question.profile.applies(r.marker))
        self._met += wants
        return wants

    def _root(self, requirement: Requirement) -> Want:
        if not isinstance(requirement, DirectReference):
            return Want(requirement)
        candidate = self.question.direct[requirement.key]
        extras = f"[{','.join(requirement.extras)}]" if requirement.extras else ""
        want = Want(Requirement(f"{candidate.project}{extras}"), reference=requirement)
        self._served.setdefault(candidate.project, candidate)
        return want

    def is_served(self, project: NormalizedName) -> bool:
        """Whether a declared URL serves it, and nobody else is asked."""
        return project in self._served

    def unserved(self) -> dict[str, str]:
        """{declared requirement: why its URL serves nothing}, of those whose markers hold here."""
        faults: dict[str, str] = {}
        served: dict[NormalizedName, tuple[Candidate, str]] = {}
        for wanted in self.question.requirements:
            if not wanted.url or not self.question.profile.applies(wanted.marker):
                continue
            # A backend's build requirement may name a URL as well; those are not followed.
            known = self.question.direct.get(wanted.key) if isinstance(wanted, DirectReference) else None
            if not isinstance(wanted, DirectReference) or known is None:
                faults[str(wanted)] = NOT_FETCHED
                continue
            if other := wanted.contradicts(known.project):
                faults[str(wanted)] = other
                continue
            first, text = served.setdefault(known.project, (known, str(wanted)))
            if first != known:
                faults[str(wanted)] = f"{known.project} comes from another URL already: {text}; use sets"
        return faults

    @property
    def wants(self) -> dict[NormalizedName, dict[tuple[str, Candidate | None], Want]]:
        """Every want met so far; they are told apart only for explanations, which most questions don't need."""
        for want in self._met:
            self._wants.setdefault(want.project, {})[str(want.requirement), want.parent] = want
        self._met.clear()
        return self._wants

    def wants_of(self, projects: Iterable[NormalizedName]) -> dict[NormalizedName, list[Want]]:
        """What is wanted of them, as far as it was looked at until now."""
        return {name: list(self.wants.get(name, {}).values()) for name in dict.fromkeys(projects)}

    def shelf(self, project: NormalizedName) -> Shelf:
        if project not in self._shelves:
            served = self._served.get(project)
            files = [served] if served else marked(self.source.files(project), self.question.yanked, project)
            binary = bool(served) or project not in self.question.no_binary
            self._shelves[project] = Shelf(files, self.question.profile, binary=binary)
        return self._shelves[project]

    def has_one(self, project: NormalizedName) -> bool:
        """Whether there is nothing to choose from."""
        return len(list(islice(self.shelf(project), 2))) == 1

    def constraint(self, project: NormalizedName) -> SpecifierSet:
        return self._constraints.get(project, ANY)

    def prereleases(self, project: NormalizedName) -> bool | None:
        """True where the administrator allows them; None leaves it to PEP 440's own rules."""
        if project in self._served:
            return True
        allowed = self.question.prereleases
        return (allowed if isinstance(allowed, bool) else project in allowed) or None

    def offered(self, project: NormalizedName, specifiers: Iterable[SpecifierSet]) -> Iterator[Candidate]:
        """Usable candidates within all specifiers together, the preferred version first, then best first."""
        specifiers = tuple(specifiers)
        for number, candidate in enumerate(self._fitting(project, specifiers)):
            # Who is not content with one will probably not be with the next, and would wait for one after another.
            if number and candidate not in self._metadata:
                self._glance(project, specifiers, min(number + 1, AHEAD))
            if self.metadata(candidate) is not None:
                yield candidate
            elif candidate in self._misnamed:
                yield from self._substitutes(candidate)

    def _substitutes(self, misnamed: Candidate) -> Iterator[Candidate]:
        """The next file of the same version, where pip would not discard that one as well."""
        for candidate in self.shelf(misnamed.project).of(misnamed.version):
            if self.metadata(candidate) is not None:
                yield candidate
            if candidate not in self._misnamed:
                return

    def matching(self, project: NormalizedName, specifiers: Iterable[SpecifierSet]) -> Iterator[Candidate]:
        """Those of them that want no other Python, which pip learns when it has chosen one already."""
        return filter(self.fits_python, self.offered(project, specifiers))

    def likely(self, project: NormalizedName, specifiers: Iterable[SpecifierSet]) -> Candidate | None:
        """The candidate that will probably be chosen, told from the page alone."""
        return next(iter(self._fitting(project, specifiers)), None)

    def conceivable(self, project: NormalizedName, specifiers: Iterable[SpecifierSet]) -> Iterator[Candidate]:
        """Candidates within all specifiers that are not known to be unusable; nothing is read or built for that."""
        unusable = self.unusable.get(project, {})
        return (c for c in self._fitting(project, specifiers) if c.filename not in unusable)

    def _glance(self, project: NormalizedName, specifiers: Iterable[SpecifierSet], number: int) -> None:
        """Send for what so many of the candidates require that come next, where that takes a while."""
        if ahead := self.source.ahead:
            unread = (c for c in self._fitting(project, specifiers) if c not in self._metadata)
            for candidate in islice(unread, number):
                ahead.glance_at(candidate)

    def _fitting(self, project: NormalizedName, specifiers: Iterable[SpecifierSet]) -> Iterable[Candidate]:
        preferred = self.question.preferred.get(project)
        wanted = combined((self.constraint(project), *specifiers))
        fitting = self.shelf(project).matching(wanted, self.prereleases(project))
        return sorted(fitting, key=lambda candidate: candidate.version not in preferred) if preferred else fitting

    def metadata(self, candidate: Candidate) -> Metadata | None:
        """The metadata, or None for a candidate that pip would discard."""
        if candidate not in self._metadata:
            self._metadata[candidate] = self._read(candidate)
        return self._metadata[candidate]

    def _read(self, candidate: Candidate) -> Metadata | None:
        began = time.monotonic()
        try:
            metadata = self.source.metadata(candidate)
            for _, marker in metadata.conditions:
                self.question.profile.applies(marker)
        except BuildError as error:
            # As in pip: a project that does not build ends the matter, it does not silently become an older one.
            self.failed[candidate.project] = str(error)
            raise
        except (WheelError, ValueError) as error:
            if isinstance(error, MisnamedError):
                self._misnamed.add(candidate)
            self.unusable.setdefault(candidate.project, {})[candidate.filename] = str(error)
            return None
        finally:
            if candidate.is_sdist:
                self.waited += time.monotonic() - began
        return metadata

    def _usable(self, candidate: Candidate) -> Metadata:
        metadata = self.metadata(candidate)
        if metadata is None:  # nobody is offered such a candidate
            raise WheelError(f"{candidate.filename} is unusable")
        return metadata

    def asks_python(self, candidate: Candidate) -> bool:
        """Whether the metadata says anything (valid) of the Python that it wants."""
        return bool(specifier_of(self._usable(candidate).requires_python))

    def fits_python(self, candidate: Candidate) -> bool:
        """Whether the metadata allows this Python: a page may have said nothing of that, or a lie."""
        wanted = self._usable(candidate).requires_python
        profile = self.question.profile
        if profile.allows(wanted):
            return True
        reason = f"{candidate} needs Python {wanted}, this is {profile.python_version}"
        self.unusable.setdefault(candidate.project, {})[candidate.filename] = reason
        return False

    def dependencies(self, candidate: Candidate, extras: tuple[NormalizedName, ...] = ()) -> tuple[Want, ...]:
        """What a candidate wants here, for its base or for some extras, each evaluated on its own."""
        key = (candidate, extras)
        if key not in self._dependencies:
            metadata = self._usable(candidate)
            known = [extra for extra in extras if extra in metadata.extras]
            for extra in set(extras) - set(known):
                self.warnings[f"{candidate} has no extra {extra!r}"] = None
            applies = self.question.profile.applies
            held = [text for text, marker in metadata.conditions if any(applies(marker, one) for one in known or ("",))]
            wants = tuple(Want(requirement(text), candidate) for text in held)
            self._met += wants
            self._dependencies[key] = wants
        return self._dependencies[key]

    def drawn(self) -> Iterator[tuple[Candidate, tuple[NormalizedName, ...], Want]]:
        """Every want that was looked at, with the candidate and the extras that it comes from."""
        for (candidate, extras), wants in self._dependencies.items():
            for want in wants:
                yield candidate, extras, want

    def trace(self, closure: Mapping[NormalizedName, Candidate]) -> dict[NormalizedName, list[Want]]:
        """For each project of a closure, every want that the closure meets with it."""
        found: dict[NormalizedName, list[Want]] = {}
        seen: set[tuple[NormalizedName, tuple[NormalizedName, ...]]] = set()
        queue = list(self.roots())
        while queue:
            want = queue.pop()
            found.setdefault(want.project, []).append(want)
            for extras in dict.fromkeys(((), want.extras)):
                if (want.project, extras) not in seen and want.project in closure:
                    seen.add((want.project, extras))
                    queue.extend(self.dependencies(closure[want.project], extras))
        return found

    def unmet(self, closure: Mapping[NormalizedName, Candidate]) -> list[Want]:
        """The wants of a closure that it does not meet itself."""
        traced = [want for wants in self.trace(closure).values() for want in wants]
        return [want for want in traced if not _meets(closure.get(want.project), want)]


def _meets(candidate: Candidate | None, want: Want) -> bool:
    fits = candidate is not None and within(want.requirement.specifier, candidate.version)
    return fits and not want.requirement.url
