"""Everything that is published of a platform: its index for programs, and its page for people.

Of the page is remembered for which answer it was written, and as which files, so that whether they are still that is
told without making or reading any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipmirror_lib import STAMP, front, plan, projects, showcase, showcase_files, yanks
from pipmirror_lib import publish as index
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.settings import Mirror, Platform
from pipmirror_lib.verdict import PlatformPlan

Changed = dict[str, list[str]]


def publish(
    mirror: Mirror,
    platform: Platform,
    planned: PlatformPlan,
    wheels: Mapping[str, Record],
    *,
    whole: bool = False,
    synced: str = "",
) -> Changed:
    """Bring all pages up to date; what is unchanged is not written. Returns which were written and removed.

    `whole`: see `front`. `synced` is the moment of a sync that had work to do; the page tells it, but it is no change
    by itself.
    """
    directory = PlatformDirectory.of(mirror, platform.name)
    page = _Page(mirror, platform, directory, planned, wheels)
    changed = index.publish_projects(directory, page.projects, plan.manifest_stamp(directory))
    if mirror.trial and page.is_of_these_wheels:
        return _told(changed["written"], changed["removed"], [])  # it tells what is declared
    written = page.write(synced)
    root = front.bring(mirror, directory, whole=whole)
    if written or not synced:  # of a sync that has changed nothing else only the moment is new
        written += _above(platform, root)
    return _told(changed["written"], changed["removed"], written)


def drift(mirror: Mirror, platform: Platform, planned: PlatformPlan, root: Iterable[str]) -> Changed:
    """Which pages `publish` would write and remove; `root`, what it would write of the page of all platforms."""
    directory = PlatformDirectory.of(mirror, platform.name)
    page = _Page(mirror, platform, directory, planned, {})
    indexed = index.unaltered(directory, plan.read_json(directory.published_path), plan.manifest_stamp(directory))
    above = _above(platform, root)
    if not planned.remarked and indexed and page.is_unaltered:
        return _told([], [], above)
    wheels = directory.manifest()["wheels"]
    yanks.note(wheels, mirror)
    changed, gone = index.drift(directory, wheels)
    if planned.remarked or not page.is_unaltered:
        above = [*_Page(mirror, platform, directory, planned, wheels).drift(), *above]
    return _told(changed, [str(path.relative_to(directory.public)) for path in gone], above)


def _told(index_pages: Iterable[str], removed: Iterable[str], others: Iterable[str]) -> Changed:
    return {"written": sorted([*(f"simple/{page}" for page in index_pages), *others]), "removed": sorted(removed)}


def _above(platform: Platform, names: Iterable[str]) -> list[str]:
    """Files of the page of all platforms, as seen from this one's directory."""
    return [f"{'../' * (platform.name.count('/') + 1)}{name}" for name in names]


@dataclass(frozen=True)
class _Page:
    """A platform's page for people."""

    mirror: Mirror
    platform: Platform
    directory: PlatformDirectory
    planned: PlatformPlan
    wheels: Mapping[str, Record]

    @cached_property
    def _remembered(self) -> Record:
        return plan.read_json(self.directory.shown_path)

    @property
    def is_of_these_wheels(self) -> bool:
        return bool(self._remembered.get("manifest") == plan.manifest_stamp(self.directory))

    @cached_property
    def is_unaltered(self) -> bool:
        """Whether it is still, file by file, what was written for this answer; none of them is read."""
        found = self._proof()
        if self.mirror.trial:  # whatever it asks for is nothing that the page tells
            found["shown"] = self._remembered.get("shown")
        if not found["files"] or found != {key: self._remembered.get(key) for key in found}:
            return False
        return showcase.read_summary(self._remembered.get("summary"), self.platform.name) is not None

    @cached_property
    def projects(self) -> dict[str, projects.Project]:
        return projects.of(self.wheels)

    def drift(self) -> list[str]:
        """The files that differ, the moment of the last sync apart."""
        return self._present.differing(self._unmoved)

    def write(self, synced: str) -> list[str]:
        """Bring the files up to date; returns those that differed in more than the moment."""
        same = self.is_unaltered
        if same and not synced:
            return []
        told = [] if same else self.drift()
        wanted = self._files(synced) if synced else self._unmoved
        changed = self._present.differing(wanted) if synced else told
        showcase_files.write(self.directory, self.directory.public, {name: wanted[name] for name in changed})
        showcase_files.remember(self.directory, self._lines)
        shown = {**self._proof(), "summary": showcase.summary(self._head(synced))}
        self.directory.save(self.directory.shown_path, json.dumps(shown))
        return told

    def _proof(self) -> Record:
        """For what, by which code, and as which files the page was written."""
        try:
            files = [showcase_files.stamp(self.directory.public / name) for name in showcase_files.NAMES]
        except OSError:
            files = []  # absent, or being written just now
        shown = plan.shown(self.mirror, self.platform, self.directory, self.planned)
        return {"manifest": plan.manifest_stamp(self.directory), "shown": shown, "code": STAMP, "files": files}

    def _head(self, synced: str) -> showcase.Data:
        """What the page says beside the projects; without a moment, it is still the one that was published last."""
        profile = self.directory.profile()
        return showcase.of_platform(self.platform, self.planned, self.wheels, profile, synced or self._moment)

    def _files(self, synced: str) -> dict[str, bytes]:
        return showcase_files.files(self._head(synced), self._lines)

    @cached_property
    def _unmoved(self) -> dict[str, bytes]:
        """The files, with the moment that they tell now."""
        return self._files("")

    @cached_property
    def _present(self) -> showcase_files.Present:
        return showcase_files.Present(self.directory.public)

    @cached_property
    def _lines(self) -> dict[str, showcase_files.Line]:
        wants = showcase.needs(self.platform, self.planned, self.wheels)
        return showcase_files.lines(self.directory, showcase.related(self.projects, wants), self._present)

    @cached_property
    def _moment(self) -> str:
        if summary := showcase.read_summary(self._remembered.get("summary"), self.platform.name):
            return str(summary["synced"])
        return str(plan.read_json(self.directory.state_path).get("synced", ""))
