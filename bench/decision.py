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
from collections.abc import Callable, Sequence
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


def main() -> int:
    parser = common.arguments(__doc__, rounds=9)
    parser.add_argument("--large", action="store_true", help=f"{LARGE} wheels too; takes 2 GB and minutes")
    parser.add_argument("--no-pip", action="store_true", help="leave pip out, which takes a minute for each round")
    parser.add_argument("--child", nargs=3, metavar=("TASK", "TARGET", "ROOTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, target, roots = options.child
        print(json.dumps(measure(task, Path(target), int(roots))))
        return 0
    seconds: dict[tuple[int, int], dict[str, list[float]]] = {}
    good = True
    for wheels, roots in dict.fromkeys((*CLOSURES, *((size, 100) for size in (*SIZES, *[LARGE] * options.large)))):
        with common.workspace() as work:
            fill(work, wheels, roots)
            rounds = options.rounds if wheels < LARGE else 3
            seconds[wheels, roots] = decided(work, wheels, roots, rounds)
            if (wheels, roots) == PIP[0] and not options.no_pip:
                good = against_pip(work, roots)
    return 0 if kept(seconds) & linear(seconds) & good else 1


def fill(target: Path, wheels: int, roots: int) -> None:
    """A platform that is satisfied, recorded and published, and its caches."""
    from pipmirror_lib.publish import publish

    mirror, directory = subject(target, roots)
    common.known_platform(directory, mirror.platforms[0])
    common.fill(directory.public, wheels, roots)
    manifest = directory.manifest()
    directory.record(manifest, (path.name for path in directory.public.glob("*.whl")))
    publish(directory, manifest["wheels"], plan.manifest_stamp(directory))
    time.sleep(2.1)  # a younger directory is not trusted, and the verdict would not be remembered
    first = plan.make(mirror, mirror.platforms[0], directory)
    if not first.nothing_to_do or len(first.closure) != wheels or not directory.verdict_path.exists():
        sys.exit(f"the wheels are not what they should be: {len(first.closure)} of {wheels}, {first}")


def subject(target: Path, roots: int) -> tuple[settings.Mirror, PlatformDirectory]:
    names = [f"project-{number}" for number in range(roots)]
    mirror = settings.load(common.declaration(target, ["bookworm"], names))["default"]
    return mirror, PlatformDirectory.of(mirror, mirror.platforms[0].name)


def decided(work: Path, wheels: int, roots: int, rounds: int) -> dict[str, list[float]]:
    contenders = {task: partial(asked, task, work, roots) for task in TASKS}
    print(f"{wheels} wheels, {roots} requirements", file=sys.stderr)
    return {task: [sample.about for sample in own] for task, own in common.interleaved(rounds, contenders).items()}


def asked(task: str, work: Path, roots: int) -> Any:
    return common.in_child(__file__, "--child", task, work, roots)


def measure(task: str, target: Path, roots: int) -> float:
    """Seconds of one task in a process that has done nothing else."""
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
    began = time.perf_counter()
    tasks[task]()
    return time.perf_counter() - began


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


def kept(seconds: dict[tuple[int, int], dict[str, list[float]]]) -> bool:
    """The table of what has a bar; medians count, the fastest are shown."""
    rows: list[tuple[str, Sequence[float], float, str]] = []
    own = seconds[VERDICT[0], 100]
    rows.append((f"verdict remembered, {VERDICT[0]} wheels", own["verdict"], VERDICT[1], "ms"))
    ratios = [one / other for one, other in zip(own["scan"], own["scandir"], strict=True)]
    rows.append((f"scan of {SCAN[0]} known wheels against scandir + stat", ratios, SCAN[1], "x"))
    for (wheels, roots), bar in CLOSURES.items():
        rows.append((f"closure, {wheels} wheels, {roots} requirements", seconds[wheels, roots]["closure"], bar, "ms"))
    told, good = [], True
    for title, values, bar, unit in rows:
        scale = 1000 if unit == "ms" else 1
        fine = statistics.median(values) <= bar
        good &= fine
        figures = [f"{scale * value:.2f} {unit}" for value in (statistics.median(values), min(values))]
        told.append((title, *figures, f"<= {scale * bar:g}: {'kept' if fine else 'MISSED'}"))
    common.table("Bars", ("", "median", "least", "bar"), told)
    return good


def linear(seconds: dict[tuple[int, int], dict[str, list[float]]]) -> bool:
    """The table of costs with size; whether that of a wheel stays what it is."""
    sizes = [wheels for wheels, roots in seconds if roots == 100 and wheels in (*SIZES, LARGE)]
    rows, good = [], True
    for task, title in TASKS.items():
        each = [statistics.median(seconds[size, 100][task]) / size * 1e6 for size in sizes]
        fine = all(after <= before * LINEAR for before, after in pairwise(each))
        # The yardstick itself may grow: a directory is what the file system makes of it.
        good &= fine or task == "scandir"
        cells = [f"{size * one / 1000:.1f} ({one:.2f})" for size, one in zip(sizes, each, strict=True)]
        rows.append((title, *cells, "linear" if fine else "MORE"))
    common.table("Cost with size: ms (microseconds a wheel)", ("", *(f"{size} wheels" for size in sizes), ""), rows)
    return good


if __name__ == "__main__":
    sys.exit(main())
