"""A whole installation in one directory: an index of tiny packages, a declaration, a minion, the mirror.

The host alone talks to the index, so it may listen on the loopback; containers have no network anyway.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.dists import make_sdist, make_wheel
from tests.support.localindex import LocalIndex
from tests.support.salt import Answer, Minion, State

PLATFORM = "bookworm"
# For people; they tell what is declared and missing, and when the last sync was.
PAGES = {"index.html", "mirror.json"}
IMAGE = "debian:bookworm"
# The same for most tests, so that its image is made once and found again by its label.
PRE_COMMAND = "apt-get update && apt-get -y install --no-install-recommends python3-pip"
# With a compiler, for the tests that need one.
COMPILER = f"{PRE_COMMAND} python3-dev gcc libc6-dev"


class Stamp(NamedTuple):
    """What tells whether a file was touched."""

    inode: int
    mtime: int
    size: int


@dataclass
class Site:
    """`settings` stand in pillar under `pipmirror`; a test changes them between two runs."""

    directory: Path
    index: LocalIndex
    settings: dict[str, Any] = field(default_factory=dict)
    # Images without a name that the engine had before, which are none of this site's.
    nameless: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.shelf = self.directory / "shelf"
        self.target = self.directory / "mirror"
        platform = {"image": IMAGE, "name": PLATFORM, "pre_command": PRE_COMMAND}
        own = {"target": str(self.target), "packages": ["alpha"], "platforms": [platform]}
        self.settings = {**own, "index": {"url": self.index.url, "retries": 0, "timeout": 10}, **self.settings}
        self.minion = Minion(self.directory / "minion", self.settings)

    # -- the index -----------------------------------------------------------------------------------------

    def wheel(self, name: str, version: str = "1.0", **how: Any) -> str:
        return self.index.add(make_wheel(self.shelf, name, version, **how))

    def sdist(self, name: str, version: str = "1.0", **how: Any) -> str:
        return self.index.add(make_sdist(self.shelf, name, version, **how))

    def asked(self, kind: str = "/") -> list[str]:
        """Paths that were asked for since the last `forget`, sorted; `kind` narrows."""
        return sorted({request.path for request in list(self.index.log) if kind in request.path})

    def forget(self) -> None:
        self.index.log.clear()

    # -- the declaration and the minion --------------------------------------------------------------------

    @property
    def platform(self) -> dict[str, Any]:
        """The first declared platform, to be altered."""
        declared: dict[str, Any] = self.settings["platforms"][0]
        return declared

    def also(self, name: str, **settings: Any) -> None:
        """Declare one more platform, of the same image unless said otherwise."""
        self.settings["platforms"].append({**self.platform, "name": name, **settings})

    def apply(self, *words: str, **options: Any) -> Answer:
        return self.minion.apply(*words, **options)

    def call(self, function: str, **arguments: Any) -> Answer:
        return self.minion.call(f"pipmirror.{function}", **arguments)

    def state(self, answer: Answer, platform: str = PLATFORM) -> State:
        return answer.states[f"pipmirror-default-{platform}"]

    def good(self, answer: Answer) -> Answer:
        """The same answer, if nothing failed."""
        bad = {name: one["comment"] for name, one in answer.states.items() if one["result"] is not True}
        assert not bad, json.dumps(bad, indent=1)
        assert answer.code == 0
        return answer

    # -- the mirror ----------------------------------------------------------------------------------------

    def public(self, platform: str = PLATFORM) -> Path:
        return self.target / platform

    def private(self, platform: str = PLATFORM) -> Path:
        return self.target / ".pipmirror" / platform

    def wheels(self, platform: str = PLATFORM) -> set[str]:
        return {path.name for path in self.public(platform).glob("*.whl")}

    def record(self, filename: str, platform: str = PLATFORM) -> dict[str, Any]:
        """What the manifest says of a wheel."""
        manifest = json.loads((self.private(platform) / "manifest.json").read_text())
        found: dict[str, Any] = manifest["wheels"][filename]
        return found

    def stamps(self, platform: str = PLATFORM) -> dict[str, Stamp]:
        """Every public file by its path."""
        return stamps(self.public(platform))

    def wares(self, platform: str = PLATFORM) -> dict[str, Stamp]:
        """Every public file that is for programs."""
        return {name: stamp for name, stamp in self.stamps(platform).items() if name not in PAGES}

    def check(self, platform: str = PLATFORM) -> None:
        """Nothing is half-done: manifest, wheels, side files and pages agree, and no staging is left over."""
        from pipmirror_lib import latecomers
        from pipmirror_lib.suspect import check_built
        from pipmirror_lib.wheels import sha256_of

        public = self.public(platform)
        recorded = json.loads((self.private(platform) / "manifest.json").read_text())["wheels"]
        assert self.wheels(platform) == set(recorded)
        for filename, record in recorded.items():
            assert sha256_of(public / filename) == record["sha256"]
            check_built(public / filename)
            assert sha256_of(public / f"{filename}.metadata") == record["metadata_sha256"]
        listed = [json.loads(page.read_text())["files"] for page in public.glob("simple/*/index.json")]
        assert {file["filename"] for files in listed for file in files} == set(recorded)
        shown = json.loads((public / "mirror.json").read_text())["projects"]
        assert {file["filename"] for project in shown for file in project["files"]} == set(recorded)
        allowed = {*recorded, *(f"{filename}.metadata" for filename in recorded), "simple"}
        allowed |= {"index.html", "mirror.json", "pipmirror.css", "pipmirror.js"}
        assert {path.name for path in public.iterdir()} - {latecomers.HIDDEN} == allowed
        assert not (self.private(platform) / "journal.jsonl").exists()


def stamps(directory: Path) -> dict[str, Stamp]:
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            stat = path.stat()
            found[str(path.relative_to(directory))] = Stamp(stat.st_ino, stat.st_mtime_ns, stat.st_size)
    return found
