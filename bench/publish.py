"""What it costs to publish 10,000 wheels: all of them, one that came, none; and beside other makers of static indexes.

Wheels of our own, four of a project or one of each. What is measured of us alone is the step of publishing, in a
process of its own, with the page for people unless it says `simple/` alone; beside the others it is whole processes,
from start to end, and `simple/` alone, because none of them makes the other.
Nothing is removed before the end: ext4 looks long for a free inode where many were freed within the last minutes.
"""

from __future__ import annotations

import argparse
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
from pipmirror_lib import front, publication, publish, showcase_files
from pipmirror_lib.garbage import rarely_collected
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.settings import Mirror, load, load_one
from pipmirror_lib.verdict import Later, Lists, PlatformPlan

Shape = tuple[int, int]
Wheels = Mapping[str, Mapping[str, Any]]
# {projects: wheels of them}; the last take minutes, and beside others it is only one.
SHAPES = {2_500: 10_000, 10_000: 10_000, 25_000: 100_000}
SIDE_BY_SIDE, USUAL = 2_500, (2_500, 10_000)
TASKS = {
    "floor": "simple/ alone: the same files and bytes by rename, one sync",
    "full": "simple/ alone: all pages",
    "whole floor": "everything: the same files and bytes by rename, one sync",
    "whole": "everything: all pages, that for people included",
    "project": "one wheel of a new project",
    "version": "one wheel of a known project",
    "unchanged": "published again, nothing changed",
    "noop": "whether anything drifted",
    "stat": "bare stat of every page",
    "load": "the manifest is read",
}
# Times the floor; and seconds of the processor, because the clock tells more about what else the machine does.
FULL = 1.5
BARS = {"project": 0.1, "version": 0.1, "noop": 0.05}
# Programs, and the packages that bring them; pip2pi imports a part of setuptools that is gone since.
TOOLS = {"dumb-pypi": ["dumb-pypi"], "dir2pi": ["pip2pi", "setuptools<81"], "pypi-mirror": ["python-pypi-mirror"]}
# What comes as one more.
ONE_MORE = {"project": "new_project_1-1.0-py3-none-any.whl", "version": "project_700-99.0-py3-none-any.whl"}
OURS = "pipmirror"
CLOCK, PROCESSOR = 0, 1
NAME = "p"
# So many of the projects are declared; every wheel is needed.
ROOTS, ALL = 100, "all"


def main() -> int:
    parser = common.arguments(__doc__, rounds=7)
    parser.add_argument("--projects", type=int, action="append", choices=SHAPES, help=f"default: {USUAL}")
    parser.add_argument("--only", choices=("alone", "beside"), help="leave out the other part")
    parser.add_argument("--child", nargs=2, metavar=("TASK", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, target = options.child
        print(json.dumps(measure(task, Path(target))))
        return 0
    good = True
    with common.workspace() as work:
        for projects in options.projects or USUAL:
            shape, target = (SHAPES[projects], projects), work / str(projects)
            others = projects == SIDE_BY_SIDE and options.only != "alone"
            fill(target, shape, real=others)
            if options.only != "beside":
                good &= alone(target, shape, options.rounds)
            if others:
                programs = {tool: installed(work / tool, tool) for tool in TOOLS}
                good &= beside(Beside(target / "beside", target, programs), shape, options.rounds)
    return 0 if good else 1


# -- of us alone ---------------------------------------------------------------------------------------------


def alone(target: Path, shape: Shape, rounds: int) -> bool:
    """Every task in turns; True if the bars are kept."""
    contenders = {task: partial(common.in_child, __file__, "--child", task, target) for task in TASKS}
    samples = common.interleaved(rounds, contenders)
    seconds = {task: [sample.about["seconds"] for sample in own] for task, own in samples.items()}
    medians = {task: statistics.median(own) for task, own in seconds.items()}
    cpu = {task: statistics.median(sample.about["cpu"] for sample in own) for task, own in samples.items()}
    kept = {"full": medians["full"] <= FULL * medians["floor"]}
    kept |= {task: cpu[task] <= bar for task, bar in BARS.items()}
    rows = []
    for task, text in TASKS.items():
        verdict = "" if task not in kept else "kept" if kept[task] else "MISSED"
        about = (f"{cpu[task]:.3f}", samples[task][-1].about["memory"], samples[task][-1].about["pages"])
        rows.append((text, f"{medians[task]:.3f}", f"{min(seconds[task]):.3f}", *about, verdict))
    ratios = (f"{of['full'] / of['floor']:.2f} ({of['whole'] / of['whole floor']:.2f})" for of in (medians, cpu))
    title = f"{shape[0]} wheels of {shape[1]} projects; all (everything) against the floor, clock / processor: "
    title += " / ".join(ratios)
    common.table(title, ("", "median s", "least s", "CPU s", "peak MB", "pages", "bar"), rows)
    return all(kept.values())


def measure(task: str, target: Path) -> dict[str, Any]:
    """Seconds of one task in a process that has done nothing else but to read the manifest."""
    ours, one_more = Ours(target), ONE_MORE.get(task)
    if one_more:
        wheels = ours.directory.manifest()["wheels"]
        ours.record({**wheels, one_more: {**next(iter(wheels.values())), "sha256": "ab" * 32}})
        del wheels
    began = time.perf_counter()
    wheels = ours.directory.manifest()["wheels"] if task not in ("stat", "noop") else {}
    loaded = time.perf_counter() - began
    with rarely_collected():
        prepared = tasks(ours, wheels, target / f"work-{os.getpid()}")[task]()
        os.sync()  # what others have written is not ours to wait for
        began, used = time.perf_counter(), time.process_time()
        pages = prepared()
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        about = {"cpu": cpu, "memory": round(common.peak_memory()), "pages": pages}
        if one_more:
            del wheels[one_more]
            ours.record(wheels)
            ours.publish(wheels, wanted(wheels))
    return {"seconds": loaded if task == "load" else seconds, **about}


class Ours:
    """A mirror of one platform, of which every wheel is needed."""

    def __init__(self, target: Path) -> None:
        packages = [f"project-{number}" for number in range(ROOTS)]
        platforms = [{"image": "debian:bookworm", "name": NAME}]
        pillar = {"target": str(target), "packages": packages, "platforms": platforms}
        self.mirror: Mirror = load_one(load(pillar), None)
        self.platform = self.mirror.platforms[0]
        self.directory = PlatformDirectory.of(self.mirror, NAME)

    def create(self) -> None:
        common.known_platform(self.directory, self.platform)

    def record(self, wheels: Wheels) -> None:
        self.directory.save_manifest({"format": 1, "wheels": wheels})

    def publish(self, wheels: Wheels, planned: PlatformPlan) -> int:
        return len(publication.publish(self.mirror, self.platform, planned, wheels)["written"])

    def drifted(self, planned: PlatformPlan) -> int:
        found = publication.drift(self.mirror, self.platform, planned, front.drift(self.mirror, whole=True))
        return 0 if not any(found.values()) else sys.exit(f"there is drift: {found}")


def wanted(wheels: Wheels) -> PlatformPlan:
    """The answer that whoever publishes has had before: some projects are declared, the others wanted by two each."""
    wants = {}
    for filename in wheels:
        number = int(filename.partition("-")[0].rpartition("_")[2])
        parents = (f"project-{number} (wanted by project-{other} 1.0)" for other in (number // 3, number // 7))
        wants[filename] = tuple(parents) if number >= ROOTS else (f"project-{number} (declared)",)
    lists = Lists(tuple(wants), (), wants)
    return PlatformPlan(satisfied=True, closure_digest=ALL, lists=Later(lambda: lists))


def tasks(ours: Ours, wheels: Wheels, work: Path) -> Mapping[str, Callable[[], Callable[[], int]]]:
    """Each prepares itself, and returns what is to be timed; that returns how many pages it has dealt with."""
    directory, planned = ours.directory, wanted(wheels)

    def floor(*, whole: bool) -> Callable[[], int]:
        contents = {f"{work}/simple/{path}": text.encode() for path, text in publish.pages(wheels).items()}
        names = showcase_files.NAMES if whole else ()
        contents |= {f"{work}/{name}": (directory.public / name).read_bytes() for name in names}
        return lambda: bare(contents)

    def full() -> Callable[[], int]:
        fresh = PlatformDirectory(work, NAME)
        fresh.create()
        return lambda: len(publish.publish(fresh, wheels, "")["written"])

    def whole() -> Callable[[], int]:
        fresh = Ours(work)
        fresh.create()
        fresh.record(wheels)
        return lambda: fresh.publish(wheels, planned)

    def again() -> Callable[[], int]:
        return lambda: ours.publish(wheels, planned)

    def noop() -> Callable[[], int]:
        return lambda: ours.drifted(PlatformPlan(satisfied=True, closure_digest=ALL))

    return {
        "floor": partial(floor, whole=False),
        "full": full,
        "whole floor": partial(floor, whole=True),
        "whole": whole,
        **dict.fromkeys((*ONE_MORE, "unchanged"), again),
        "noop": noop,
        "stat": lambda: partial(looked_at, [str(path) for path in (directory.public / "simple").rglob("index.*")]),
        "load": lambda: lambda: len(wheels),
    }


def bare(contents: Mapping[str, bytes]) -> int:
    """Nothing but the files: who writes pages that readers see whole cannot do less."""
    made = set()
    for path, content in contents.items():
        folder = os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        with open(f"{path}.tmp", "wb") as file:
            file.write(content)
        os.rename(f"{path}.tmp", path)
    os.sync()
    return len(contents)


def looked_at(paths: list[str]) -> int:
    for path in paths:
        os.lstat(path)
    return len(paths)


# -- beside others -------------------------------------------------------------------------------------------


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


# -- what is published ---------------------------------------------------------------------------------------


def fill(target: Path, shape: Shape, *, real: bool) -> None:
    """A platform that is recorded and published; the wheels themselves only where somebody opens them."""
    print(f"making {shape[0]} wheels of {shape[1]} projects", file=sys.stderr, flush=True)
    ours = Ours(target)
    ours.create()
    manifest = ours.directory.manifest()
    if real:
        from tests.support.dists import make_wheel

        for name, version in releases(shape):
            place = ours.directory.public
            make_wheel(place, name, version, requires=["project-1", "project-2>=1"], requires_python=">=3.9")
        with rarely_collected():
            ours.directory.record(manifest, [path.name for path in place.glob("*.whl")])
    else:
        for number, (name, version) in enumerate(releases(shape)):
            filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            manifest["wheels"][filename] = known(filename, number)
        ours.record(manifest["wheels"])
    ours.publish(manifest["wheels"], wanted(manifest["wheels"]))


def known(filename: str, number: int) -> dict[str, object]:
    """The record of a wheel that came from an index."""
    sha256 = f"{number * 2654435761:064x}"
    return {
        **{"origin": "index", "size": 12345, "requires_python": ">=3.9", "sha256": sha256, "metadata_sha256": sha256},
        **{"admitted": "2026-01-01T00:00:00Z", "upload_time": "2025-04-16T10:20:30.123456Z"},
        "summary": "Does what its name says, and has a sentence as long as most to say so",
        "url": f"https://files.index.invalid/packages/{sha256[-2:]}/{sha256[-4:-2]}/{sha256}/{filename}",
    }


def releases(shape: Shape) -> list[tuple[str, str]]:
    wheels, projects = shape
    return [(f"project-{n % projects}", f"{n // projects}.{n % 23}.{n % 7}") for n in range(wheels)]


if __name__ == "__main__":
    sys.exit(main())
