"""What direct references lead to, each fetched once for all platforms of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipmirror_lib.checkout import Repository
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.index import Index
from pipmirror_lib.pages import bare
from pipmirror_lib.references import DirectReference
from pipmirror_lib.settings import Mirror
from pipmirror_lib.wheels import sha256_of


@dataclass(frozen=True)
class FetchedReference:
    """A wheel or an archive of sources on this machine; `origin` is what a wheel made of it is remembered by."""

    path: Path
    sha256: str
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """For people: which state of the sources it is."""
        return str(self.origin.get("commit", self.sha256))[:12]


class Sources:
    """Safe to use from several threads; every question is asked once."""

    def __init__(self, mirror: Mirror, index: Index) -> None:
        self._mirror, self._index = mirror, index

    def newest(self, reference: DirectReference) -> dict[str, Any]:
        """The origin that fetching would give, as far as that can be told beforehand; empty where it cannot."""
        if not reference.is_git:
            return self._origin(reference, reference.sha256) if reference.sha256 else {}
        commit = (
            reference.ref
            if reference.is_fixed
            else self._index.once(f"commit {reference.key}", partial(self._commit, reference))
        )
        return self._origin(reference, commit) if commit else {}

    def fetch(self, reference: DirectReference) -> FetchedReference:
        """Raises PackageIndexError where it cannot be had."""
        return self._index.once(f"source {reference.key}", partial(self._fetch, reference))

    def _commit(self, reference: DirectReference) -> str:
        return self._repository(reference).commit()

    def _repository(self, reference: DirectReference) -> Repository:
        return Repository(reference, self._mirror.index, self._mirror.container.timeout)

    def _fetch(self, reference: DirectReference) -> FetchedReference:
        if not reference.is_git:
            file = self._index.direct(reference)
            return FetchedReference(file.path, file.sha256, self._origin(reference, file.sha256))
        place = self._index.place(reference.key)
        archive = place / f"{slug(reference)}.tar.gz"
        commit = self._repository(reference).fetch(archive)
        if not commit:
            raise PackageIndexError(f"{reference}: the repository has no {reference.ref or 'HEAD'}")
        return FetchedReference(archive, sha256_of(archive), self._origin(reference, commit))

    @staticmethod
    def _origin(reference: DirectReference, state: str) -> dict[str, Any]:
        origin = {"url": bare(reference.address), "commit" if reference.is_git else "sha256": state}
        return {**origin, **({"subdirectory": reference.subdirectory} if reference.subdirectory else {})}


def slug(reference: DirectReference) -> str:
    """A file's name that people recognise."""
    last = reference.name or reference.address.rstrip("/").rpartition("/")[2].partition("?")[0].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9_.-]", "-", last).lstrip(".-")[:80] or "source"
