"""Candidates from a package index: pages, metadata and files, each fetched once for a whole run.

One `Index` serves all platforms of a run; an `IndexSource` (index_source) is what one platform sees of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from packaging.utils import NormalizedName

from pipmirror_lib import __version__, caches, linked, pages, transfer
from pipmirror_lib.candidates import Candidate, NewestFirst
from pipmirror_lib.courier import Courier, Gone
from pipmirror_lib.errors import MirrorError, PipmirrorError, WheelError, why
from pipmirror_lib.fetch import CONNECTIONS, Client
from pipmirror_lib.mirror import discard
from pipmirror_lib.ranges import RemoteFile
from pipmirror_lib.references import DirectReference
from pipmirror_lib.sdists import read_pkg_info
from pipmirror_lib.settings import Index as IndexSettings
from pipmirror_lib.wheels import Metadata, check_belonging, checked_metadata, parse_metadata, sha256_of

# What is remembered of METADATA differs between versions.
CACHED = " ".join((__version__, *(field.name for field in fields(Metadata))))
K = TypeVar("K")
T = TypeVar("T")
# Smaller wheels are fetched as a whole: that is one request, and reading from afar two or three.
FAR = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """A file that is on this machine now, and its hash."""

    path: Path
    sha256: str


class Index:
    """Everything that one run fetches, in parallel and once.

    `downloads` keeps whole files by hash until the run has admitted them (a run that failed finds them
    there again); `cache` keeps metadata by hash for good; `known` says where files of a hash lie already.
    """

    def __init__(
        self,
        settings: IndexSettings,
        downloads: Path,
        cache: Path,
        known: Mapping[str, Path] | None = None,
    ) -> None:
        self._client = Client(settings)
        self._courier = Courier(self._client.settings)
        # What a decision waits for must not wait behind files, which may be large and are many.
        self._pages_pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pipmirror-pages")
        self._files_pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pipmirror-files")
        # Reading metadata may wait for a file, and a pool must not wait for itself.
        self._readers = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pipmirror-metadata")
        # What no decision waits for leaves room for what one does.
        self._asides = ThreadPoolExecutor(CONNECTIONS // 4, thread_name_prefix="pipmirror-asides")
        self._pools = (self._asides, self._readers, self._pages_pool, self._files_pool)
        self._downloads, self._cache, self._known = downloads, cache, dict(known or {})
        self._lock = threading.Lock()
        self._pages: dict[NormalizedName, Future[NewestFirst]] = {}
        self._files: dict[str, Future[Fetched]] = {}
        self._metadata: dict[str, Future[Metadata]] = {}
        self._done: dict[str, Future[Any]] = {}
        self._parts: bool | None = None
        # {URL of a wheel: why its METADATA was read from the wheel itself, although it is offered beside it}
        self.lacking: dict[str, str] = {}
        self.own_downloads: set[Path] = set()
        self._private: set[Path] = set()
        self._under_way: dict[Path, Path] = {}
        self.fetched_files = 0
        self.fetched_bytes = 0

    def __enter__(self) -> Index:
        return self

    def give_up(self) -> None:
        """Fetch nothing any more, and end what is under way; whoever waits for it is told at once."""
        self._client.close()
        self._courier.close()
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def __exit__(self, *exception: object) -> None:
        """What is still under way was sent for in vain: nobody waits for it."""
        self.give_up()
        for pool in self._pools:
            pool.shutdown(wait=True)
        for place in self._private:
            with suppress(OSError):  # an interrupted run may be writing there; the next one removes it
                discard(place)

    def _once(self, pool: ThreadPoolExecutor, futures: dict[K, Future[T]], key: K, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if key not in futures:
                futures[key] = pool.submit(work)
            return futures[key]

    def page(self, project: NormalizedName) -> Future[NewestFirst]:
        """The files of a project, from the first index that has it.

        A project that the first index has never comes from a later one: a stranger could register the name there.
        """
        return self._once(self._pages_pool, self._pages, project, partial(self._page, project))

    def look_at(self, projects: Iterable[NormalizedName]) -> None:
        """Fetch pages that nobody waits for before the end, but for whoever asks for one of them meanwhile."""
        for project in projects:
            self._once(self._asides, self._pages, project, partial(self._page, project))

    def asked(self, project: NormalizedName) -> NewestFirst | None:
        """The files of a project whose page this run has asked for; None where it has not, or got no answer."""
        with self._lock:
            page = self._pages.get(project)
        return page.result() if page and page.exception() is None else None

    def _page(self, project: NormalizedName) -> NewestFirst:
        for base in self._client.urls:
            answer = self._client.page(f"{base}{project}/", pages.ACCEPT)
            if answer is not None:
                content, content_type, url = answer
                return pages.candidates(content, content_type, url, project)
        return NewestFirst.of(())

    def file(self, candidate: Candidate) -> Future[Fetched]:
        """The file itself, hashed while it streams, or linked from where it lies already."""
        key = candidate.sha256 or candidate.url
        return self._once(self._files_pool, self._files, key, lambda: self._file(candidate))

    def _file(self, candidate: Candidate) -> Fetched:
        known = self._known.get(candidate.sha256) if candidate.sha256 else None
        target = self._place(_key(candidate)) / candidate.filename
        if known is not None and (path := linked.under(target, known, candidate.sha256)):
            return Fetched(path, candidate.sha256)
        # It may be the other name of a file that was damaged where it lies.
        if candidate.sha256 and target.is_file() and sha256_of(target) == candidate.sha256:
            return Fetched(target, candidate.sha256)
        return self._download(candidate.url, target, candidate.sha256, candidate.size)

    def how_far(self, candidate: Candidate) -> tuple[bool, int, int]:
        """(whether it is here, how many of its bytes are, of how many) of a file that has been asked for."""
        future = self.file(candidate)
        whole = future.done() and not future.cancelled() and future.exception() is None
        target = self._downloads / _key(candidate) / candidate.filename
        received = 0
        for path in (target, self._under_way.get(target, target)):
            with suppress(OSError):
                received = max(received, path.stat().st_size)
        size = candidate.size or (received if whole else 0)
        return whole, received, max(received, size) if size else 0

    def direct(self, reference: DirectReference) -> Fetched:
        """The file of a URL; without a hash in the URL it may have changed, so it is fetched again."""
        target = self.place(reference.key) / reference.filename
        credentials, promise = reference.credentials, "the declared URL"
        return self._download(
            reference.address, target, reference.sha256, None, credentials=credentials, promise=promise
        )

    def once(self, key: str, work: Callable[[], T]) -> T:
        """Do something once for all threads that ask; it runs in the thread that asked first."""
        with self._lock:
            first = key not in self._done
            future: Future[Any] = self._done.setdefault(key, Future())
        if first:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
        result: T = future.result()
        return result

    def place(self, key: str) -> Path:
        """A directory among the downloads that only this run uses, for what has no hash to be found by."""
        place = self._downloads / f"{hashlib.sha256(key.encode()).hexdigest()}.{os.getpid()}-{id(self)}"
        with self._lock:
            self._private.add(place)
        return self._made(place)

    def _place(self, name: str) -> Path:
        place = self._downloads / name
        with self._lock:
            self.own_downloads.add(place)
        return self._made(place)

    @staticmethod
    def _made(place: Path) -> Path:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MirrorError(f"cannot write {place}: {why(error)}") from error
        return place

    def _download(self, url: str, target: Path, sha256: str, size: int | None, **of_url: Any) -> Fetched:
        with transfer.unfinished(target, sha256) as partial:
            if partial is None:
                return Fetched(target, sha256)
            self._under_way[target] = partial
            sha256 = self._received(url, partial, sha256, size, **of_url)
            with self._lock:
                self.fetched_files += 1
                self.fetched_bytes += partial.stat().st_size
            os.replace(partial, target)
        return Fetched(target, sha256)

    def _received(self, url: str, partial: Path, sha256: str, size: int | None, **of_url: Any) -> str:
        if self._courier.takes(size):
            with suppress(Gone):  # and what it has brought so far is gone on with
                return self._courier.download(url, partial, sha256, size, **of_url)
        return self._client.download(url, partial, sha256, size, **of_url)

    def metadata(self, candidate: Candidate, likely: bool = False) -> Future[Metadata]:
        """What a wheel (or an sdist that says so itself) requires; fails with WheelError where it does not say.

        A `likely` wheel is fetched as a whole, because it is wanted anyway; of one that a search tries, little is.
        """
        key = f"{candidate.url} {candidate.sha256} {candidate.metadata_sha256}"
        return self._once(self._readers, self._metadata, key, lambda: self._read_metadata(candidate, likely))

    def glance_at(self, candidate: Candidate) -> None:
        """Begin to read the metadata of a wheel that is hardly chosen, unless that would take all of a large one."""
        small = candidate.size is not None and (candidate.size < FAR or self._parts)
        if not candidate.is_sdist and (small or candidate.metadata_sha256 is not None):
            self.metadata(candidate)

    def _read_metadata(self, candidate: Candidate, likely: bool) -> Metadata:
        # By the hash of the very bytes that were read: what another index claims of a wheel must not stick to it.
        digest = candidate.sha256 if candidate.metadata_sha256 is None else candidate.metadata_sha256
        cached = self._cache / digest[:2] / f"{digest}.cache" if digest else None
        content = caches.load(cached, f"{CACHED} {digest}") if cached else None
        if content is not None:
            with suppress(WheelError):  # what it belongs to, an index may have lied about
                return _belonging(Metadata.from_data(json.loads(content)), candidate)
        if not likely and (found := self._from_afar(candidate)):
            return found  # nobody has compared a hash, so it is not remembered
        metadata = self._fetch_metadata(candidate)
        if metadata is None:  # the wheel is what is installed, and its own sha256 vouches for it
            return self._read_metadata(replace(candidate, metadata_sha256=None), likely)
        if cached is not None:
            with suppress(OSError):  # a disk that is full will be told by what matters
                cached.parent.mkdir(parents=True, exist_ok=True)
                caches.store(cached, f"{CACHED} {digest}", json.dumps(asdict(metadata)).encode())
        return metadata

    def _from_afar(self, candidate: Candidate) -> Metadata | None:
        """Of a large wheel that the server gives in parts, without fetching the whole; None where that is no way.

        What a server says here and the wheel does not is found out when the wheel has come: the plan reads that.
        """
        size, known = candidate.size or 0, candidate.sha256 in self._known or candidate.sha256 in self._files
        if candidate.is_sdist or candidate.metadata_sha256 is not None or known or size < FAR or self._parts is False:
            return None

        def fetch(begin: int, end: int) -> bytes:
            content = self._client.part(candidate.url, begin, end, size)
            if content is None:
                raise NoParts
            return content

        try:
            found = checked_metadata(RemoteFile(fetch, size), candidate.filename)[1]  # type: ignore[arg-type]
            self._parts = True
            return found
        except NoParts:
            self._parts = False
        except WheelError:
            """Perhaps the server gave other parts than were asked for; the whole wheel is what is judged."""
        return None

    def _fetch_metadata(self, candidate: Candidate) -> Metadata | None:
        """None where it is offered beside the wheel and is not to be had there."""
        if candidate.is_sdist:
            return static_metadata(self.file(candidate).result().path, candidate)
        if candidate.metadata_sha256 is not None and candidate.sha256 not in self._known:
            return self._offered_metadata(candidate)
        return self._checked(self.file(candidate).result().path, candidate.filename)

    def _checked(self, wheel: Path, filename: str) -> Metadata:
        if self._courier.is_ready:
            with suppress(Gone):
                return checked_metadata(wheel, filename, self._courier.checked_metadata)[1]
        return checked_metadata(wheel, filename)[1]

    def _offered_metadata(self, candidate: Candidate) -> Metadata | None:
        """What lies beside the wheel; WheelError where the index vouches for metadata of something else, as in pip."""
        answer = self._client.page(candidate.url + ".metadata", "*/*")
        if answer is None:
            self.lacking[candidate.url] = "the index offers .metadata and does not have it"
            return None
        if candidate.metadata_sha256 not in ("", hashlib.sha256(answer[0]).hexdigest()):
            self.lacking[candidate.url] = ".metadata does not have the sha256 that its page says"
            return None
        return _belonging(parse_metadata(answer[0]), candidate)

    def prefetch(self, projects: Iterable[NormalizedName], candidates: Iterable[Candidate]) -> None:
        """Begin to fetch pages, and what probably will be chosen."""
        for project in projects:
            self.page(project)
        for candidate in candidates:
            self.metadata(candidate, likely=True)


def _key(candidate: Candidate) -> str:
    """The name of its place among the downloads."""
    return candidate.sha256 or hashlib.sha256(candidate.url.encode()).hexdigest()


def _belonging(metadata: Metadata, candidate: Candidate) -> Metadata:
    check_belonging(metadata, candidate.project, candidate.version, candidate.filename)
    return metadata


def static_metadata(sdist: Path, candidate: Candidate) -> Metadata:
    """PKG-INFO, where it promises that a build will say the same (Metadata 2.2, PEP 643); else WheelError."""
    content = read_pkg_info(sdist)
    metadata = parse_metadata(content.encode()) if content else None
    fields = ("requires-dist", "provides-extra", "requires-python")
    if metadata is None or metadata.metadata_version < "2.2" or any(f in metadata.dynamic for f in fields):
        raise NeedsBuild(f"{candidate.filename} must be built to know what it requires")
    return _belonging(metadata, candidate)


class NoParts(PipmirrorError):
    """A server gives only whole files."""

    def __init__(self) -> None:
        super().__init__("the server gives only whole files")


class NeedsBuild(WheelError):
    """An sdist does not say on its own what it requires."""
