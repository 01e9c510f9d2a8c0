"""What it costs to decide that nothing is missing: remembered verdict, scan, closure, and the same question to pip.

Wheels of our own, as varied as real ones. Every measurement is a process of its own that has done nothing else;
imports are not counted, except against pip, where whole processes are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
from pipmirror_lib import local, plan, settings
from pipmirror_lib.mirror import PlatformDirectory

TASKS = {
    "scandir": "bare scandir + stat",
    "scan": "scan, every file known",
    "closure": "decision, every file known, no verdict",
    "verdict": "decision, verdict remembered",
}
# wheels, requirements: seconds
CLOSURES = {(273, 29): 0.15, (2_000, 100): 0.4, (2_000, 1_000): 1.0}
VERDICT, SCAN, PIP = (10_000, 0.001), (10_000, 3.0), ((2_000, 100), 10.0)
SIZES, LARGE = (1_000, 10_000), 100_000
# What a wheel may cost more when there are ten times as many: noise, and memory that no processor cache holds.
LINEAR = 1.5
CLOCK, PROCESSOR = ON = 0, 1
Subject = tuple[int, int]
Measured = dict[Subject, dict[str, list[Sequence[float]]]]


def main() -> int:
    parser = common.arguments(__doc__, rounds=9)
    parser.add_argument("--large", action="store_true", help=f"{LARGE} wheels too: 2 GB, a quarter of an hour")
    parser.add_argument("--no-pip", action="store_true", help="leave pip out, which takes a minute for each round")
    parser.add_argument("--child", nargs=3, metavar=("TASK", "TARGET", "ROOTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, target, roots = options.child
        print(json.dumps(measure(task, Path(target), int(roots))))
        return 0
    sizes = (*SIZES, *[LARGE] * options.large)
    with common.workspace() as work:
        subjects = {pair: work / "-".join(map(str, pair)) for pair in (*CLOSURES, *((size, 100) for size in sizes))}
        for (wheels, roots), target in subjects.items():
            print(f"making {wheels} wheels", file=sys.stderr, flush=True)
            fill(target, wheels, roots)
        measured = decided(subjects, options.rounds)
        good = options.no_pip or against_pip(subjects[PIP[0]], PIP[0][1])
    return 0 if kept(measured) & linear(measured, sizes) & good else 1


def fill(target: Path, wheels: int, roots: int) -> None:
    """A platform that is satisfied, recorded and published, and its caches."""
    from pipmirror_lib.publication import publish

    mirror, directory = subject(target, roots)
    common.known_platform(directory, mirror.platforms[0])
    common.fill(directory.public, wheels, roots)
    manifest = directory.manifest()
    directory.record(manifest, (path.name for path in directory.public.glob("*.whl")))
    platform = mirror.platforms[0]
    publish(mirror, platform, plan.make(mirror, platform, directory), manifest["wheels"])
    time.sleep(2.1)  # a younger directory is not trusted, and the verdict would not be remembered
    first = plan.make(mirror, mirror.platforms[0], directory)
    if not first.nothing_to_do or len(first.closure) != wheels or not directory.verdict_path.exists():
        sys.exit(f"the wheels are not what they should be: {len(first.closure)} of {wheels}, {first}")


def subject(target: Path, roots: int) -> tuple[settings.Mirror, PlatformDirectory]:
    names = [f"project-{number}" for number in range(roots)]
    mirror = settings.load(common.declaration(target, ["bookworm"], names))["default"]
    return mirror, PlatformDirectory.of(mirror, mirror.platforms[0].name)


def decided(subjects: Mapping[Subject, Path], rounds: int) -> Measured:
    """All of them in turns: what disturbs one size disturbs the others as well."""
    contenders = {
        f"{TASKS[task]} of {pair}": partial(asked, task, target, pair[1])
        for pair, target in subjects.items()
        for task in TASKS
    }
    samples = iter(common.interleaved(rounds, contenders).values())
    return {pair: {task: [sample.about for sample in next(samples)] for task in TASKS} for pair in subjects}


def asked(task: str, work: Path, roots: int) -> Any:
    return common.in_child(__file__, "--child", task, work, roots)


def measure(task: str, target: Path, roots: int) -> tuple[float, float]:
    """Seconds, on the clock and of the processor, of one task in a process that has done nothing else."""
    from pipmirror_lib import resolve  # noqa: F401

    mirror, directory = subject(target, roots)
    wheels = directory.manifest()["wheels"] if task == "scan" else {}
    if task == "closure":
        directory.verdict_path.unlink()
    tasks: dict[str, Callable[[], Any]] = {
        "scandir": lambda: [e.stat() for e in os.scandir(directory.public) if e.name.endswith(".whl")],
        "scan": lambda: local.scan(directory.public, directory.scan_cache, wheels),
        "closure": lambda: plan.make(mirror, mirror.platforms[0], directory),
        "verdict": lambda: plan.make(mirror, mirror.platforms[0], directory),
    }
    began, used = time.perf_counter(), time.process_time()
    tasks[task]()
    return time.perf_counter() - began, time.process_time() - used


def against_pip(work: Path, roots: int) -> bool:
    """The same question, from the start of a process to its end."""
    public = subject(work, roots)[1].public
    names = [f"project-{number}" for number in range(roots)]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-index", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--ignore-installed", "--find-links", str(public), *names]

    def pip() -> None:
        subprocess.run(command, check=True, env=common.environment(), stdout=subprocess.DEVNULL)

    samples = common.interleaved(2, {"pip": pip, "ours": partial(asked, "closure", work, roots)})
    title = f"{PIP[0][0]} wheels, {roots} requirements: the same question to pip, whole processes"
    return common.compare(title, samples, "pip", {"ours": 1 / PIP[1]})


# -- what it means -------------------------------------------------------------------------------------------


def figures(own: Mapping[str, Sequence[Sequence[float]]], task: str, on: int) -> list[float]:
    return [sample[on] for sample in own[task]]


def kept(measured: Measured) -> bool:
    """The table of what has a bar: medians on the clock count.

    Processor time shows what a machine that does other things as well has added.
    """
    own = measured[VERDICT[0], 100]
    rows = [(f"verdict remembered, {VERDICT[0]} wheels", [figures(own, "verdict", on) for on in ON], VERDICT[1], "ms")]
    both = [(figures(own, "scan", on), figures(own, "scandir", on)) for on in ON]
    ratios = [[one / other for one, other in zip(*pair, strict=True)] for pair in both]
    rows.append((f"scan of {SCAN[0]} known wheels against scandir + stat", ratios, SCAN[1], "x"))
    for pair, bar in CLOSURES.items():
        title = f"closure, {pair[0]} wheels, {pair[1]} requirements"
        rows.append((title, [figures(measured[pair], "closure", on) for on in ON], bar, "ms"))
    told, good = [], True
    for title, (clock, processor), bar, unit in rows:
        scale = 1000 if unit == "ms" else 1
        fine = statistics.median(clock) <= bar
        good &= fine
        cells = (statistics.median(clock), min(clock), statistics.median(processor))
        verdict = f"<= {scale * bar:g}: {'kept' if fine else 'MISSED'}"
        told.append((title, *(f"{scale * value:.2f} {unit}" for value in cells), verdict))
    common.table("Bars", ("", "median", "least", "median CPU", "bar"), told)
    return good


def linear(measured: Measured, sizes: Sequence[int]) -> bool:
    """The table of costs with size; whether that of a wheel stays what it is."""
    rows, good = [], True
    for task, title in TASKS.items():
        each = [statistics.median(figures(measured[size, 100], task, PROCESSOR)) / size * 1e6 for size in sizes]
        fine = all(after <= before * LINEAR for before, after in pairwise(each))
        # The yardstick itself may grow: a directory is what the file system makes of it.
        good &= fine or task == "scandir"
        cells = [f"{size * one / 1000:.1f} ({one:.2f})" for size, one in zip(sizes, each, strict=True)]
        rows.append((title, *cells, "linear" if fine else "MORE"))
    header = ("", *(f"{size} wheels" for size in sizes), "")
    common.table("Cost with size: milliseconds of the processor (microseconds a wheel), medians", header, rows)
    return good


if __name__ == "__main__":
    sys.exit(main())
