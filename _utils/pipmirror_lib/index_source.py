"""What one platform sees of an index, together with what lies in its directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial

from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Ahead, Candidate, NewestFirst
from pipmirror_lib.index import Index, NeedsBuild
from pipmirror_lib.wheels import Metadata


class IndexSource:
    """What one platform sees of an index, together with the wheels that lie in its directory.

    A wheel that lies there serves like one of the index: under the same file name it *is* that one, and under
    a name that the index lacks it was put there by hand or built here. Where the index knows the project,
    `upgrade` leaves the former out, so that withdrawn files are never chosen anew; a wheel built from an sdist
    that the index still has counts as that sdist, so that nothing is built twice.
    `made` are wheels that direct references have just become.
    With `content`, a project of which something lies there is served by that alone, and its page is not asked for,
    unless it was built here and may have to give way.
    `build` makes the wheel of an sdist and tells its metadata; None (a plan) takes such a project as it is.
    `begin` is told of sdists that will probably have to be built, as soon as that is known.
    """

    where = "on the index"

    def __init__(
        self,
        index: Index,
        present: Mapping[NormalizedName, Sequence[Candidate]],
        present_metadata: Callable[[Candidate], Metadata],
        *,
        min_age: int = 0,
        upgrade: bool = False,
        content: bool = False,
        build: Callable[[Candidate], Metadata] | None = None,
        begin: Callable[[Candidate], None] | None = None,
        made: Mapping[Candidate, Metadata] | None = None,
    ) -> None:
        self._index = index
        self._present = present
        self._present_metadata = present_metadata
        self._newest = datetime.now(timezone.utc) - timedelta(seconds=min_age) if min_age else None
        self._upgrade = upgrade
        self._content = content
        self._build, self._begin = build, begin
        self._made = made or {}
        self.undecided: dict[str, str] = {}

    def files(self, project: NormalizedName) -> Sequence[Candidate]:
        if self._suffices(project):
            return self._present[project]
        offered = self._index.page(project).result()
        if self._newest is not None:
            offered = offered.changed(lambda candidate: candidate if self._old_enough(candidate) else None)
        present = {c.filename: c for c in self._present.get(project, ())}
        if not offered or not present:
            return offered or list(present.values())
        extra = [c for c in present.values() if self._is_extra(c, offered.release(c.version))]
        return offered.changed(lambda c: self._same(present.get(c.filename), c, self._upgrade), extra)

    def _suffices(self, project: NormalizedName) -> bool:
        present = self._present.get(project, ()) if self._content else ()
        return bool(present) and not any(candidate.built for candidate in present)

    def _is_extra(self, present: Candidate, offered: Sequence[Candidate]) -> bool:
        """Whether a wheel that the index lacks still serves; `offered` are its files of that version."""
        if any(candidate.filename == present.filename for candidate in offered):
            return False
        sources = {candidate.sha256 or candidate.filename for candidate in offered if candidate.is_sdist}
        return not self._upgrade or bool(sources & set(present.source))

    def withheld(self, project: NormalizedName) -> str:
        young = [c for c in self._index.page(project).result() if not self._old_enough(c)]
        return f"{len(young)} files are younger than min_age, or nobody says how old" if young else ""

    @staticmethod
    def _same(present: Candidate | None, offered: Candidate, upgrade: bool) -> Candidate:
        """The wheel that lies there: an index's files never change, and only one built here gives way to them.

        One from a URL does so when an upgrade asks for the index's own.
        That it was yanked since is no reason to lose it before an upgrade.
        """
        gives_way = present and (present.built or (present.by_url and upgrade))
        if present is None or (gives_way and present.sha256 != offered.sha256):
            return offered
        return replace(offered, path=present.path, built=present.built, yanked=offered.yanked if upgrade else None)

    def _old_enough(self, candidate: Candidate) -> bool:
        """An index that does not say when a file came cannot show that it is old enough."""
        if self._newest is None:
            return True
        try:
            uploaded = datetime.fromisoformat(candidate.upload_time.replace("Z", "+00:00"))
        except ValueError:
            return False
        return uploaded.replace(tzinfo=uploaded.tzinfo or timezone.utc) <= self._newest

    def metadata(self, candidate: Candidate) -> Metadata:
        if candidate in self._made:
            return self._made[candidate]
        if candidate.path is not None:
            return self._present_metadata(candidate)
        try:
            return self._index.metadata(candidate).result()
        except NeedsBuild as error:
            if self._build is not None:
                return self._build(candidate)
            self.undecided[candidate.filename] = str(error)
            return Metadata(name=candidate.project, version=str(candidate.version))

    @property
    def ahead(self) -> Ahead:
        return self

    def page_of(self, project: NormalizedName) -> Future[NewestFirst] | None:
        return None if self._suffices(project) else self._index.page(project)

    def metadata_of(self, candidate: Candidate) -> Future[Metadata] | None:
        """What lies there leads to what lies there."""
        return None if self._is_here(candidate) else self._index.metadata(candidate, likely=True)

    def glance_at(self, candidate: Candidate) -> None:
        if not self._is_here(candidate):
            self._index.glance_at(candidate)

    def _is_here(self, candidate: Candidate) -> bool:
        return candidate.path is not None or candidate in self._made

    def prefetch(self, projects: Iterable[NormalizedName], candidates: Iterable[Candidate]) -> None:
        coming = [c for c in candidates if not self._is_here(c)]
        self._index.prefetch((name for name in projects if not self._suffices(name)), coming)
        for candidate in coming:
            if candidate.is_sdist and self._begin:
                self._index.metadata(candidate).add_done_callback(partial(self._looked_at, candidate, self._begin))

    @staticmethod
    def _looked_at(candidate: Candidate, begin: Callable[[Candidate], None], looked: Future[Metadata]) -> None:
        if not looked.cancelled() and isinstance(looked.exception(), NeedsBuild):
            begin(candidate)
