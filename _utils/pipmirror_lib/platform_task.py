"""One platform's part in a run: where it lies, how its progress is told, and what is told of it in the end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from pipmirror_lib import plan
from pipmirror_lib.errors import BuilderError
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.run import Run
from pipmirror_lib.settings import Mirror, Platform
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.withdrawal import withdraw


@dataclass
class PlatformTask:
    """Shared by the steps of a platform; each adds what it has done."""

    run: Run
    platform: Platform
    added: dict[str, Record] = field(default_factory=dict)
    removed: dict[str, Record] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mirror: Mirror = self.run.mirror
        self.directory = PlatformDirectory.of(self.mirror, self.platform.name)

    def progress(self, text: str) -> None:
        self.run.board.tell(self.platform.name, text)

    def plan(self) -> PlatformPlan:
        return plan.make(self.mirror, self.platform, self.directory)

    def profile(self) -> TargetProfile:
        """The target profile that must be there by now."""
        profile = self.directory.profile()
        if profile is None:
            raise BuilderError(f"{plan.NEVER_PROFILED}; {self.directory.profile_path} is not readable")
        return profile

    def remember(self, **changes: Any) -> None:
        plan.remember(self.directory, **changes)

    def set_damaged_aside(self) -> list[str]:
        """Compare every recorded wheel with its hash; what differs is taken away, and the next sync brings it back."""
        manifest = self.directory.manifest()
        damaged = self.directory.damaged(manifest)
        self.set_aside(manifest, damaged, "it does not have its recorded sha256")
        self.directory.describe(manifest, self.directory.misdescribed(manifest))
        return [f"{name} was damaged and set aside; the next sync brings it back" for name in damaged]

    def set_aside(self, manifest: Record, filenames: Collection[str], reason: str) -> None:
        """Take wheels out of the readers' sight, from the pages first."""
        if filenames:
            withdraw(self.directory, manifest["wheels"], filenames)
            self.directory.set_aside(manifest, filenames)
            self.removed.update({name: {"reason": reason} for name in filenames})
