"""Killed at any step and at random moments: a reader never sees a part, and the next run finishes and clears up.

PIPMIRROR_KILLS says how many moments are tried, PIPMIRROR_SEED which ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import sync
from pipmirror_lib.mirror import PRIVATE
from pipmirror_lib.shared import downloads
from pipmirror_lib.wheels import read_metadata, sha256_of

from tests.support.dists import make_wheel
from tests.support.dying import Runs
from tests.support.localindex import LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip

KILLS = int(os.environ.get("PIPMIRROR_KILLS", "16"))
SEED = int(os.environ.get("PIPMIRROR_SEED") or random.randrange(10**6))
PARTS = [f"part-{number}" for number in range(6)]
WANTED = ["app", "adopted", "kept"]
# What is said beside the reason why it failed.
NOTES = ("went on with the known profile", "set aside", "recorded", "added", "every set is satisfied", "removed")
JUNK = "junk-1.0-py3-none-any.whl"


@dataclass
class World:
    """A mirror with work of every kind to do: something to adopt, to set aside, to fetch, to publish and to prune."""

    directory: Path
    index: LocalIndex
    runs: Runs

    @property
    def declared(self) -> dict[str, Any]:
        return {"url": self.index.url, "packages": WANTED, "prune": True, "keep_days": 0}

    def prepare(self) -> None:
        before = declare(self.directory / "template", self.index.url, packages=["kept", "old"])
        equip(before)
        assert sync.sync(before)["result"]
        directory = directory_of(before)
        shutil.copy(self.index.files["adopted-1.0-py3-none-any.whl"].path, directory.public)
        (directory.public / JUNK).write_bytes(b"no wheel at all")

    def copy(self, name: str) -> Path:
        shutil.copytree(self.directory / "template", self.directory / name)
        return self.directory / name

    def readable(self, place: Path) -> None:
        """Whatever a reader finds is whole, and what a page names is there."""
        public = directory_of(declare(place, **self.declared)).public
        for path in public.glob("*.whl"):
            if path.name != JUNK:
                assert sha256_of(path) == self.index.files[path.name].sha256
        for path in public.glob("[!.]*.metadata"):
            wheel = path.with_suffix("")
            assert path.read_bytes() == read_metadata(wheel, wheel.name)
        for page in public.glob("simple/*/index.json"):
            for file in json.loads(page.read_text())["files"]:
                assert (public / file["filename"]).is_file(), f"{page} names what is not there"

    def finished(self, place: Path) -> None:
        """All is there, and nothing else: no staging, no parts, no downloads, no locks that say somebody died."""
        mirror = declare(place, **self.declared)
        consistent(mirror)
        directory = directory_of(mirror)
        names = {path.name for path in directory.public.glob("*.whl")}
        assert names == {f"{p.replace('-', '_')}-1.0-py3-none-any.whl" for p in (*WANTED, *PARTS)}
        assert list(directory.staging.iterdir()) == list(directory.work.iterdir()) == []
        assert [path.name for path in downloads(mirror.target).iterdir()] in ([], ["lock"])
        private = mirror.target / PRIVATE
        litter = [path for path in mirror.target.rglob("*") if path.name.endswith((".tmp", ".part"))]
        assert litter == []
        assert not directory.interrupted()
        assert {path.name.split(".whl")[0] for path in private.rglob("broken/*")} == {JUNK.split(".whl", maxsplit=1)[0]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("kills")
    files = directory / "files"
    make_wheel(files, "app", requires=PARTS)
    for name in (*PARTS, "adopted", "kept", "old"):
        make_wheel(files, name, files={"big.bin": name.encode() * 20_000})
    with LocalIndex(files) as index, Runs() as runs:
        made = World(directory, index, runs)
        made.prepare()
        yield made


def survive(world: World, name: str, **when: Any) -> bool:
    """One kill, one look, one run that finishes; whether it was killed at all."""
    place = world.copy(name)
    killed = world.runs.run(place, world.declared, **when).killed
    world.readable(place)
    there = {path.name for path in (place / "target").rglob("*.whl") if path.parent.name == "bookworm"}
    world.index.log.clear()
    assert world.runs.run(place, world.declared).good
    world.finished(place)
    again = {Path(request.path).name for request in world.index.log if request.path.endswith(".whl")}
    assert not again & there, "what has come in is not fetched once more"
    shutil.rmtree(place)
    return killed


def test_a_run_that_nobody_kills(world: World) -> None:
    place = world.copy("whole")
    end = world.runs.run(place, world.declared)
    assert (end.killed, end.good) == (False, True)
    assert end.steps > 100
    world.finished(place)


def test_killed_at_random_steps(world: World) -> None:
    steps = world.runs.run(world.copy("counted"), world.declared).steps
    chosen = random.Random(SEED)
    for number in range(KILLS):
        step = chosen.randint(1, steps)
        try:
            survive(world, f"step-{number}", step=step)
        except AssertionError as error:
            raise AssertionError(f"killed before step {step} of {steps} (PIPMIRROR_SEED={SEED})") from error


def test_a_disk_that_is_full_from_a_random_step_on(world: World) -> None:
    """Told in one line with its place and what to do, unless only caches were lost; the next run finishes."""
    steps = world.runs.run(world.copy("counted-full"), world.declared).steps
    chosen = random.Random(SEED)
    told = 0
    for number in range(KILLS):
        step = chosen.randint(1, steps)
        place = world.copy(f"full-{number}")
        end = world.runs.run(place, world.declared, step=step, full=True)
        try:
            world.readable(place)
            if not end.good:
                told += 1
                (line,) = (line for line in end.said.splitlines() if not line.startswith(NOTES))
                assert "No space left on device; make room there" in line
                assert str(place) in line
            assert world.runs.run(place, world.declared).good
            world.finished(place)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"full from step {step} of {steps} (PIPMIRROR_SEED={SEED}): {end}") from error
        shutil.rmtree(place)
    assert told > KILLS // 4


@pytest.mark.parametrize("apart", [False, True], ids=["in one process", "downloads apart"])
def test_killed_at_random_moments(world: World, apart: bool) -> None:
    chosen = random.Random(SEED)
    killed = 0
    for number in range(KILLS):
        seconds = chosen.uniform(0.005, 0.75 if apart else 0.25)
        try:
            killed += survive(world, f"moment-{apart:d}-{number}", seconds=seconds, apart=apart)
        except AssertionError as error:
            raise AssertionError(f"killed after {seconds:.4f} s (PIPMIRROR_SEED={SEED})") from error
    assert killed > KILLS // 4, "the moments were within the run"
