"""Declared mirrors that need no container engine: their platforms have been profiled already."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from pipmirror_lib import plan
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.moments import now
from pipmirror_lib.settings import Mirror, load, load_one
from pipmirror_lib.wheels import sha256_of

from tests.support.worlds import PROFILE

PLATFORM = "bookworm"
# Where no engine can be, so that a test that needs one fails at once.
NO_ENGINE = "unix:///nonexistent/engine.sock"


def declare(tmp_path: Path, url: str = "http://index.invalid/simple/", **changes: Any) -> Mirror:
    """A mirror of `demo` below `tmp_path`, with whatever else the pillar says."""
    pillar: dict[str, Any] = {
        "target": str(tmp_path / "target"),
        "packages": ["demo"],
        "platforms": [{"image": "debian:bookworm", "name": PLATFORM}],
        **changes,
    }
    pillar["index"] = {"url": url, "retries": 0, "timeout": 5, **changes.get("index", {})}
    pillar["container"] = {"engine_url": NO_ENGINE, **changes.get("container", {})}
    return load_one(load(pillar), None)


def directory_of(mirror: Mirror, name: str = "") -> PlatformDirectory:
    return PlatformDirectory.of(mirror, name or mirror.platforms[0].name)


def equip(mirror: Mirror) -> PlatformDirectory:
    """Leave what preparing every platform leaves; the first one's directory."""
    for platform in mirror.platforms:
        directory = PlatformDirectory.of(mirror, platform.name)
        directory.create()
        directory.save(directory.profile_path, PROFILE.to_json())
        state = {"recipe": plan.recipe_of(platform), "prepared": now(), "image": PROFILE.image}
        directory.save(directory.private / "state.json", json.dumps(state))
    return directory_of(mirror)


def settle(directory: PlatformDirectory, seconds: int = 10) -> None:
    """Let the platform's directory have been left alone for that long."""
    then = time.time() - seconds
    os.utime(directory.public, (then, then))


def nested(top: Path, depth: int) -> Path:
    """A tree as hostile builds leave it, deeper than paths can name; returns its top."""
    top.mkdir(parents=True)
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    return top


def wheels(mirror: Mirror, name: str = "") -> set[str]:
    return {path.name for path in directory_of(mirror, name).public.glob("*.whl")}


def consistent(mirror: Mirror, name: str = "") -> None:
    """Directory, manifest and pages say the same, and nothing is left over."""
    directory = directory_of(mirror, name)
    recorded = directory.manifest()["wheels"]
    assert set(recorded) == wheels(mirror, name)
    for filename, record in recorded.items():
        assert sha256_of(directory.public / filename) == record["sha256"]
        assert (directory.public / f"{filename}.metadata").is_file()
    pages = [json.loads(p.read_text()) for p in (directory.public / "simple").glob("*/index.json")]
    assert {file["filename"] for page in pages for file in page["files"]} == set(recorded)
    shown = json.loads((directory.public / "mirror.json").read_text())["projects"]
    assert {file["filename"] for project in shown for file in project["files"]} == set(recorded)
    assert not directory.journal_path.exists()
