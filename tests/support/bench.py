"""Builds of single sdists in a real container or beside it, without a mirror around them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_sdist_filename
from packaging.version import Version
from pipmirror_lib import builds, sdists
from pipmirror_lib.builds import BuildRequest
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Container
from pipmirror_lib.workplace import Quarters


@dataclass
class Bench:
    """Builds of one test."""

    quarters: Quarters
    profile: TargetProfile
    root: Path
    limits: Container

    def build(self, sdist: Path, limits: Container | None = None, **request: Any) -> Path | list[str]:
        system = sdists.read_build_system(sdist)
        name, version = parse_sdist_filename(sdist.name)
        facts: dict[str, Any] = {
            "sdist": sdist,
            "sha256": hashlib.sha256(sdist.read_bytes()).hexdigest(),
            "project": canonicalize_name(name),
            "version": Version(str(version)),
            "backend": system.backend,
            "backend_path": system.backend_path,
            "wheels": (),
        }
        return builds.build(
            self.quarters,
            self.profile,
            BuildRequest(**{**facts, **request}),
            limits or self.limits,
            workdir=self.root / "work",
            log_path=self.root / "build.log",
        )

    @property
    def log(self) -> str:
        return (self.root / "build.log").read_text()
