"""What it costs to decide that nothing is missing: scan, closure and remembered verdict, in processes of their own.

The wheels are tiny ones of our own; the yardstick is a bare `scandir` with a `stat` for each wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
from pipmirror_lib import local, plan, settings
from pipmirror_lib.mirror import PlatformDirectory

SIZES = ((273, 29), (2_000, 100), (10_000, 100))
TASKS = {
    "scandir": "bare scandir + stat",
    "scan": "scan, every file known",
    "closure": "decision, every file known, no verdict",
    "verdict": "decision, verdict remembered",
}


def main() -> int:
    parser = common.arguments(__doc__, rounds=7)
    parser.add_argument("--child", nargs=4, metavar=("TASK", "TARGET", "WHEELS", "ROOTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, target, _, roots = options.child
        print(json.dumps(measure(task, Path(target), int(roots))))
        return 0
    for wheels, roots in SIZES:
        with common.workspace() as work:
            report(work, wheels, roots, options.rounds)
    return 0


def report(work: Path, wheels: int, roots: int, rounds: int) -> None:
    made, directory = subject(work, roots)
    common.known_platform(directory, made.platforms[0])
    common.fill(directory.public, wheels, roots)
    manifest = directory.manifest()
    directory.record(manifest, (path.name for path in directory.public.glob("*.whl")))
    time.sleep(2.1)  # a younger directory is not trusted, and the verdict would not be remembered
    first = plan.make(made, made.platforms[0], directory)
    if not first.satisfied or len(first.closure) != wheels or not directory.verdict_path.exists():
        sys.exit(f"the wheels are not what they should be: {len(first.closure)} of {wheels}, {first.missing}")
    contenders = {task: asked(task, work, wheels, roots) for task in TASKS}
    samples = common.interleaved(rounds, contenders)
    seconds = {task: statistics.median(sample.about for sample in samples[task]) for task in TASKS}
    base = seconds["scandir"]
    rows = [(TASKS[task], f"{1000 * own:.2f}", f"{own / base:.1f}") for task, own in seconds.items()]
    common.table(f"{wheels} wheels, {roots} requirements", ("", "median ms", "x scandir"), rows)


def asked(task: str, work: Path, wheels: int, roots: int) -> Callable[[], Any]:
    return lambda: common.in_child(__file__, "--child", task, work, wheels, roots)


def subject(target: Path, roots: int) -> tuple[settings.Mirror, PlatformDirectory]:
    names = [f"project-{number}" for number in range(roots)]
    mirror = settings.load(common.declaration(target, ["bookworm"], names))["default"]
    return mirror, PlatformDirectory.of(mirror, mirror.platforms[0].name)


def measure(task: str, target: Path, roots: int) -> float:
    """Seconds of one task in a process that has done nothing else; imports are not counted."""
    from pipmirror_lib import resolve  # noqa: F401

    mirror, directory = subject(target, roots)
    wheels = directory.manifest()["wheels"]
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


if __name__ == "__main__":
    sys.exit(main())
