"""From an sdist to an admissible wheel: build requirements by the same resolver, the build in a container.

The host fetches, hashes and checks; the container alone runs the project's code, without network.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from pipmirror_lib import builds, resolve
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.chores import DEEPEST, Chores, Circle, Endless, at_once
from pipmirror_lib.errors import (
    BuilderError,
    BuildError,
    EngineError,
    MirrorError,
    PackageIndexError,
    ResolutionError,
    WheelError,
    why,
)
from pipmirror_lib.index import Index
from pipmirror_lib.index_source import IndexSource
from pipmirror_lib.kept import KeptBuilds
from pipmirror_lib.lazily import made_once
from pipmirror_lib.logs import short
from pipmirror_lib.mirror import PlatformDirectory, Record, discard
from pipmirror_lib.pages import bare
from pipmirror_lib.parts import requirement
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.references import DirectReference
from pipmirror_lib.sdists import read_build_system
from pipmirror_lib.settings import Mirror
from pipmirror_lib.sources import FetchedReference, slug
from pipmirror_lib.suspect import check_built
from pipmirror_lib.wheels import Metadata, WheelName, checked_metadata, parse_name, sha256_of
from pipmirror_lib.workplace import Quarters, open_untrusted
from pipmirror_lib.world import Question

# What a backend asks for on the way may ask for more in turn; a backend that never stops asking is stopped.
ROUNDS = 4
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Built:
    """A wheel made here, copied out of the container's reach and checked."""

    path: Path
    metadata: Metadata
    record: Record


@dataclass(frozen=True)
class Sources:
    """An archive of sources, and what a wheel made of them is remembered by; project and version are for people."""

    project: str
    version: str
    path: Path
    sha256: str
    origin: Record
    subdirectory: str = ""

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


@dataclass
class Workshop:
    """Builds sdists for one platform, from however many threads; each one once.

    At its end nothing is begun any more, and what is underway is waited for.
    """

    mirror: Mirror
    directory: PlatformDirectory
    profile: TargetProfile
    quarters: Callable[[], Quarters]
    index: Index
    progress: Callable[[str], None]
    _chores: Chores[Built] = field(default_factory=Chores)
    _moving_in: threading.Lock = field(default_factory=threading.Lock)
    _no_quarters: EngineError | BuilderError | None = None

    def __post_init__(self) -> None:
        limits, sharers = self.mirror.container, min(self.mirror.parallel, len(self.mirror.platforms))
        self._at_once = at_once(limits.cpus, limits.memory, sharers)
        # Threads of the pool wait for each other's builds as well, so it is their containers that are counted.
        self._containers = threading.BoundedSemaphore(self._at_once)
        self._pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="pipmirror-build")
        self.ended: set[str] = set()  # for who counts

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def wheels(self, candidates: Iterable[Candidate]) -> dict[str, Built | BuildError]:
        """The wheels by their sdists' names, or why they are not to be had; built at once where there is room."""
        wanted = list(candidates)

        def outcome(candidate: Candidate) -> Built | BuildError:
            try:
                return self.wheel(candidate)
            except BuildError as error:
                return error
            except PackageIndexError as error:
                return BuildError(str(error))
            finally:
                self.ended.add(candidate.filename)

        return dict(zip((c.filename for c in wanted), self.each(outcome, wanted), strict=True))

    def each(self, work: Callable[[S], T], items: Iterable[S]) -> Iterable[T]:
        """Like `map`, but as much at once as there is room for."""
        return self._pool.map(work, items)

    def begin(self, candidate: Candidate) -> None:
        """Build it soon, because somebody will probably ask for it."""
        if self._at_once > 1:
            with suppress(RuntimeError):  # at the end, when nobody will
                self._pool.submit(self.wheel, candidate)

    def metadata(self, candidate: Candidate) -> Metadata:
        """What the built wheel requires; WheelError where it does not build, so that another version may serve."""
        return self.wheel(candidate).metadata

    def wheel(self, candidate: Candidate) -> Built:
        """The wheel of an sdist; BuildError names the project, the reason and the log's place."""
        try:
            return self._chores.do(candidate.filename, lambda: self._build_sdist(candidate))
        except Endless as endless:
            circle = isinstance(endless, Circle)
            what = "itself to be built" if circle else f"more than {DEEPEST} builds, each for the one before"
            raise BuildError(f"{candidate} needs {what}: {endless}; pin a wheel in build_constraints") from endless

    def referenced(self, reference: DirectReference, fetched: FetchedReference) -> Built:
        """The wheel that a direct reference becomes; BuildError where it cannot serve this platform."""
        make = self._taken if reference.is_wheel else self._made
        # Two references may lead to the same sources.
        key = f"{reference.name or 'it'} from {json.dumps(fetched.origin, sort_keys=True)}"
        built = self._chores.do(key, lambda: make(reference, fetched))
        if not self.profile.allows(built.metadata.requires_python):
            needs, have = built.metadata.requires_python, self.profile.python_version
            raise BuildError(f"{reference} needs Python {needs}, this is {have}")
        return built

    def again(self, reference: DirectReference, origin: Record) -> Built | None:
        """The wheel that an earlier run has made of these sources, and could not use for the fault of another."""
        project = canonicalize_name(reference.name) if reference.name else None
        built = self._found(origin, project)
        fits = built and project in (None, built.metadata.project)
        return built if built and fits and self.profile.allows(built.metadata.requires_python) else None

    @made_once
    def _kept(self) -> KeptBuilds:
        inputs = {
            "image": self.profile.image,
            "python": [self.profile.base_executable, self.profile.markers["python_full_version"]],
            "build_constraints": sorted(map(str, self.mirror.build_constraints)),
        }
        return KeptBuilds(self.directory.kept, inputs)

    def _network(self, project: NormalizedName | None) -> bool:
        return project in self.mirror.container.build_network

    def _found(self, origin: Record, project: NormalizedName | None) -> Built | None:
        if not (found := self._kept.find(origin, self._network(project))):
            return None
        wheel, record = found
        return Built(wheel, checked_metadata(wheel, wheel.name)[1], record)

    def _taken(self, reference: DirectReference, fetched: FetchedReference) -> Built:
        self._check_tags(f"{reference}: {reference.filename}", parse_name(reference.filename))
        own = self._own(fetched.origin, reference.filename)
        _copy(fetched.path, own)
        metadata = checked_metadata(own, own.name)[1]
        return Built(own, metadata, {"origin": "url", "source": fetched.origin, "sha256": fetched.sha256})

    def _made(self, reference: DirectReference, fetched: FetchedReference) -> Built:
        sources = Sources(
            slug(reference), fetched.version, fetched.path, fetched.sha256, fetched.origin, reference.subdirectory
        )
        return self._build(sources, canonicalize_name(reference.name) if reference.name else None, None)

    def _build_sdist(self, candidate: Candidate) -> Built:
        sdist = self.index.file(candidate).result()
        origin = {"filename": candidate.filename, "sha256": sdist.sha256, "url": bare(candidate.url)}
        sources = Sources(candidate.project, str(candidate.version), sdist.path, sdist.sha256, origin)
        built = self._found(origin, candidate.project)
        if not built or (built.metadata.project, parse_name(built.path.name).version) != (
            candidate.project,
            candidate.version,
        ):
            built = self._build(sources, candidate.project, candidate.version)
        return replace(built, record={**built.record, "upload_time": candidate.upload_time})

    def _build(self, sources: Sources, project: NormalizedName | None, version: Version | None) -> Built:
        system = read_build_system(sources.path, sources.subdirectory)
        self.progress(f"building {sources}")
        asked = [self._requirement(sources, text) for text in system.requires]
        # Two archives may say that they are one version, and one may hold several projects.
        called = f"{sources.project}-{sources.version}-"
        log = self.directory.logs / f"{called}{_digest(sources.origin, project)}.log"
        for _ in range(ROUNDS):
            needed = self._build_requirements(sources, asked)
            workdir = _place(self.directory.staging, f"build-{called}")
            request = builds.BuildRequest(
                sdist=sources.path,
                sha256=sources.sha256,
                project=sources.project,
                version=sources.version,
                backend=system.backend,
                backend_path=system.backend_path,
                wheels=tuple(path for path, _ in needed),
                network=self._network(project),
                subdirectory=sources.subdirectory,
            )
            outcome = self._run(sources, request, workdir, log)
            if isinstance(outcome, Path):
                record = {
                    "origin": "built",
                    "source": sources.origin,
                    "build_requires": [{"filename": path.name, "sha256": sha256} for path, sha256 in needed],
                    "log": log.name,
                }
                return self._admissible(sources, outcome, record, project, version)
            discard(workdir)
            asked += [self._requirement(sources, text) for text in outcome]
        raise BuildError(f"{sources}: its build backend keeps asking for more build requirements; log: {log}")

    def _run(self, sources: Sources, request: builds.BuildRequest, workdir: Path, log: Path) -> Path | list[str]:
        """The container's outcome; where there can be no container, those who need none go on."""
        try:
            with self._containers:
                quarters, limits = self._in_quarters(), self.mirror.container
                return builds.build(quarters, self.profile, request, limits, workdir=workdir, log_path=log)
        except (EngineError, BuilderError) as error:
            raise BuildError(f"{sources}: cannot be built: {error}") from error

    def _in_quarters(self) -> Quarters:
        with self._moving_in:
            if self._no_quarters:
                raise self._no_quarters
            try:
                return self.quarters()
            except (EngineError, BuilderError) as error:
                self._no_quarters = error  # making it takes minutes, and the next build would fare no better
                raise

    @staticmethod
    def _requirement(sources: Sources, text: str) -> Requirement:
        try:
            return requirement(text)
        except InvalidRequirement as error:
            raise BuildError(f"{sources}: build requirement {short(text)!r} is invalid: {short(str(error))}") from error

    def _build_requirements(self, sources: Sources, asked: list[Requirement]) -> list[tuple[Path, str]]:
        """Wheels (with sha256) that the build needs; whatever keeps them away is this build's failure alone."""
        try:
            return self._needed(sources, asked)
        except ResolutionError as error:
            raise BuildError(f"{sources}: build requirements: {error} (build_constraints)") from error
        except (PackageIndexError, WheelError) as error:
            raise BuildError(f"{sources}: build requirements: {error}") from error

    def _needed(self, sources: Sources, asked: list[Requirement]) -> list[tuple[Path, str]]:
        """Decided by the same resolver; built first where they are sdists themselves."""
        question = Question(
            requirements=tuple(asked),
            profile=self.profile,
            constraints=self.mirror.build_constraints,
            yanked=self.mirror.yanked,
            timeout=self.mirror.resolve_timeout,
        )
        source = IndexSource(self.index, {}, _nothing_present, build=self.metadata, begin=self.begin)
        answer = resolve.resolve(question, source)
        if answer.missing:
            reasons = "; ".join(dict.fromkeys(answer.missing.values()))
            free = replace(question, constraints=())
            blamed = question.constraints and resolve.resolve(free, source).satisfied
            hint = " (build_constraints)" if blamed else ""
            raise BuildError(f"{sources}: build requirements cannot be met: {reasons}{hint}")
        found = []
        for needed in answer.closure.values():
            if needed.is_sdist:
                built = self.wheel(needed)
                found.append((built.path, str(built.record["sha256"])))
            else:
                fetched = self.index.file(needed).result()
                found.append((fetched.path, fetched.sha256))
        return sorted(found)

    def _admissible(
        self, sources: Sources, outcome: Path, record: Record, project: NormalizedName | None, version: Version | None
    ) -> Built:
        """Check a copy of our own: nothing that a container can write shares an inode with what we admit."""
        try:
            name = parse_name(outcome.name)
            if project not in (None, name.project) or version not in (None, name.version):
                raise BuildError(f"{sources}: its build made {outcome.name}, which is another project or version")
            self._check_tags(f"{sources}: its build made {outcome.name}", name)
            own = self._own(sources.origin, outcome.name)
            _copy(outcome, own)
            check_built(own)
            metadata = checked_metadata(own, own.name)[1]
        except WheelError as error:
            raise BuildError(f"{sources}: its build made an unusable wheel: {error}") from error
        record = {**record, "sha256": sha256_of(own)}
        self._kept.keep(own, record, self._network(project))
        return Built(own, metadata, record)

    def _own(self, origin: Record, filename: str) -> Path:
        """Where our copy will lie, and nothing before it: two sources may become files of one name.

        So may one archive's sub-directories, and one origin that is asked for in two ways.
        """
        return _place(self.directory.staging / "built", f"{_digest(origin)}-") / filename

    def _check_tags(self, what: str, name: WheelName) -> None:
        if self.profile.rank(name.tags) is None:
            raise BuildError(f"{what}, which does not fit this platform")


def _digest(origin: Record, *more: str | None) -> str:
    """What names files of ours by the whole origin: an archive may hold several projects."""
    return hashlib.sha256(json.dumps([origin, *more], sort_keys=True).encode()).hexdigest()[:8]


def _place(within: Path, prefix: str) -> Path:
    """A new directory that nobody else has, whoever builds the same at the same time."""
    try:
        within.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    except OSError as error:
        raise MirrorError(f"cannot write {within}: {why(error)}") from error


def _nothing_present(candidate: Candidate) -> Metadata:
    raise WheelError(f"{candidate.filename} does not lie in the mirror")


def _copy(source: Path, target: Path) -> None:
    """Copy a regular file without following links; what others may have linked is never written into."""
    try:
        with open_untrusted(source) as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer)
    except OSError as error:
        with suppress(OSError):
            target.unlink()
        raise MirrorError(f"cannot copy {source.name} into {target.parent}: {why(error)}") from error
