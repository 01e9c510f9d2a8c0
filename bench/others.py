"""Other makers of static indexes, and we, on the same wheels: what `publish.py` measures beside us."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import common
from pipmirror_lib.mirror import PlatformDirectory

Shape = tuple[int, int]
Wheels = Mapping[str, Mapping[str, Any]]
# Programs, and the packages that bring them; pip2pi imports a part of setuptools that is gone since.
TOOLS = {"dumb-pypi": ["dumb-pypi"], "dir2pi": ["pip2pi", "setuptools<81"], "pypi-mirror": ["python-pypi-mirror"]}
OURS = "pipmirror"
CLOCK, PROCESSOR = 0, 1
NAME = "p"


def beside(field: Beside, shape: Shape, rounds: int) -> bool:
    """All pages of all tools in turns, then what one more wheel costs each; True if we are ahead of each."""
    good = True
    for title, prepare in (("all pages, first time", field.from_nothing), ("one wheel more", field.with_one_more)):
        samples = common.interleaved(rounds, {tool: partial(field.run, tool, prepare) for tool in (OURS, *TOOLS)})
        rows, ours = [], 0.0
        for tool, own in samples.items():
            clock, cpu = (statistics.median(sample.about[n] for sample in own) for n in (CLOCK, PROCESSOR))
            ours = ours or cpu
            good &= tool == OURS or ours < cpu
            rows.append((tool, f"{clock:.2f}", f"{min(sample.about[CLOCK] for sample in own):.2f}", f"{cpu:.2f}"))
        heads = ("", "median s", "least s", "CPU s")
        common.table(f"{shape[0]} wheels of {shape[1]} projects, {title}; whole processes", heads, rows)
    print(f"\nless processor time than each: {'kept' if good else 'MISSED'}")
    return good


def installed(venv: Path, tool: str) -> Path:
    """The tool's program, in an environment that has nothing else."""
    print(f"installing {tool}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    command = [venv / "bin" / "pip", "install", "--quiet", *TOOLS[tool]]
    subprocess.run(command, check=True, env=common.environment())
    return venv / "bin" / tool


# What we do in a process of our own, with nothing imported that is not needed for it.
WHOLE = """
import sys
from pathlib import Path
from pipmirror_lib import plan, publish
from pipmirror_lib.garbage import rarely_collected
from pipmirror_lib.mirror import PlatformDirectory
directory = PlatformDirectory(Path(sys.argv[1]), sys.argv[2])
with rarely_collected():
    publish.publish(directory, directory.manifest()["wheels"], plan.manifest_stamp(directory))
"""


class Beside:
    """The same wheels for each tool, in a directory of its own, and all that it can be told of them beforehand."""

    def __init__(self, place: Path, target: Path, programs: Mapping[str, Path]) -> None:
        self.place, self.programs = place, programs
        self.wheels = PlatformDirectory(target, NAME).manifest()["wheels"]
        # What comes as one more.
        self.last = max(self.wheels)
        self.ours = PlatformDirectory(place / OURS, NAME)
        self.lists = {name: place / f"{name}.jsonl" for name in ("now", "before")}
        self.folders = {tool: place / tool for tool in ("dir2pi", "pypi-mirror")}
        # Where each writes; dir2pi and we beside the wheels, the others anywhere.
        self.pages = {
            OURS: self.ours.public / "simple",
            "dir2pi": self.folders["dir2pi"] / "simple",
            **{tool: place / f"{tool} pages" for tool in ("dumb-pypi", "pypi-mirror")},
        }
        self.ours.create()
        for directory in (self.ours.public, *self.folders.values()):
            directory.mkdir(parents=True, exist_ok=True)
            for filename in self.wheels:
                os.link(target / NAME / filename, directory / filename)
        # Without that, it would open and hash each wheel every time.
        call(programs["pypi-mirror"], "write-metadata", "-d", self.folders["pypi-mirror"])

    def run(self, tool: str, prepare: Callable[[str], None]) -> tuple[float, float]:
        """Seconds that the tool needs, its start included: on the clock, and of the processor."""
        prepare(tool)
        os.sync()
        began, used = time.perf_counter(), of_children()
        call(*self._command(tool))
        return time.perf_counter() - began, of_children() - used

    def from_nothing(self, tool: str) -> None:
        self._have(tool, self.wheels)
        for path in (self.ours.published_path, self.ours.publication_path, self.lists["before"]):
            path.unlink(missing_ok=True)
        if self.pages[tool].exists():
            self.pages[tool].rename(self.place / f"old {tool} {time.monotonic_ns()}")

    def with_one_more(self, tool: str) -> None:
        self._have(tool, {name: record for name, record in self.wheels.items() if name != self.last})
        self.lists["before"].unlink(missing_ok=True)
        call(*self._command(tool))
        if tool == "dumb-pypi":
            self.lists["now"].rename(self.lists["before"])
        self._have(tool, self.wheels)

    def _have(self, tool: str, wheels: Wheels) -> None:
        if tool == OURS:
            self.ours.save_manifest({"format": 1, "wheels": wheels})
        elif tool == "dumb-pypi":
            self.lists["now"].write_text("".join(f"{json.dumps(about)}\n" for about in map(told, wheels.items())))
        else:
            wheel = self.folders[tool] / self.last
            wheel.unlink(missing_ok=True)
            if self.last in wheels:
                os.link(self.ours.public / self.last, wheel)

    def _command(self, tool: str) -> list[object]:
        """The quickest way in which it makes what clients need, and remembers what it can."""
        if tool == OURS:
            return ["env", f"PYTHONPATH={common.ROOT / '_utils'}", sys.executable, "-c", WHOLE, self.ours.target, NAME]
        if tool == "dir2pi":
            return [self.programs[tool], self.folders[tool]]
        if tool == "pypi-mirror":
            return [self.programs[tool], "create", "-d", self.folders[tool], "-m", self.pages[tool]]
        options = ["--no-per-release-json", "--no-generate-timestamp", "--packages-url", "../../"]
        known = ["--previous-package-list-json", self.lists["before"]] if self.lists["before"].exists() else []
        lists = ["--package-list-json", self.lists["now"], *known]
        return [self.programs[tool], *lists, *options, "--output-dir", self.pages[tool]]


def told(wheel: tuple[str, Mapping[str, Any]]) -> dict[str, object]:
    """What dumb-pypi can be told of a wheel; to be told it saves it from looking for itself."""
    filename, record = wheel
    return {
        "filename": filename,
        "hash": f"sha256={record['sha256']}",
        "core_metadata": f"sha256={record['metadata_sha256']}",
        "requires_python": record["requires_python"],
        "upload_timestamp": 1767225600,
    }


def of_children() -> float:
    used = os.times()
    return used.children_user + used.children_system


def call(*command: object) -> None:
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=common.environment())
    if done.returncode:
        sys.exit(f"{' '.join(words)} returned {done.returncode}:\n{done.stderr[-3000:]}")
