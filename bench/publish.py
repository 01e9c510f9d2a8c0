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
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import common
from others import NAME, TOOLS, Beside, Shape, Wheels, beside, installed
from pipmirror_lib import front, publication, publish, showcase_files
from pipmirror_lib.garbage import rarely_collected
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.settings import Mirror, load, load_one
from pipmirror_lib.verdict import Later, Lists, PlatformPlan

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
# What comes as one more.
ONE_MORE = {"project": "new_project_1-1.0-py3-none-any.whl", "version": "project_700-99.0-py3-none-any.whl"}
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
