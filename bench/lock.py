"""What 25 platforms cost against one: the lock of 300 requirements from one local index, pages fetched once.

900 projects of 20 releases, a tenth of them compiled for every Python and machine; the index offers `.metadata`.
Every measurement is a process of its own with empty caches, as a fresh sync of an empty mirror is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import common
from pipmirror_lib import local, lock, settings
from pipmirror_lib.garbage import rarely_collected
from pipmirror_lib.index import Index
from pipmirror_lib.profile import TargetProfile

PROJECTS, ROOTS, RELEASES = 900, 300, 20
PYTHONS = range(9, 14)
TARGETS = (("x86_64", 28), ("x86_64", 31), ("x86_64", 36), ("x86_64", 41), ("aarch64", 36))
ONE, ALL = "1 profile", f"{len(PYTHONS) * len(TARGETS)} profiles"
BAR = 8


def main() -> int:
    parser = common.arguments(__doc__, rounds=5)
    parser.add_argument("--child", nargs=2, metavar=("URL", "WHICH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        url, which = options.child
        print(json.dumps(measure(url, profiles() if which == ALL else profiles()[:1])))
        return 0
    with common.workspace() as work:
        fill(work / "files")
        with served(work / "files") as url:
            contenders = {which: partial(common.in_child, __file__, "--child", url, which) for which in (ONE, ALL)}
            for ask in contenders.values():  # the index makes its pages, and bytecode is written
                ask()
            samples = common.interleaved(options.rounds, contenders)
    abouts = [sample.about for own in samples.values() for sample in own]
    if len({about["first"] for about in abouts}) != 1:
        sys.exit("the contenders did not come to the same")
    for own in samples.values():
        for sample in own:
            sample.seconds = sample.about["seconds"]
    title = f"Lock of {ROOTS} requirements, {abouts[0]['first']} files on the first profile"
    kept = common.compare(title, samples, ONE, {ALL: BAR})
    rows = [
        (which, *(own[-1].about[key] for key in ("cpu", "pages", "files", "memory"))) for which, own in samples.items()
    ]
    common.table("Of which, last round", ("", "CPU s", "pages fetched", "files chosen", "peak MB"), rows)
    return 0 if kept else 1


def profiles() -> list[TargetProfile]:
    from tests.support.worlds import make_profile

    return [make_profile(f"3.{minor}.2", glibc, machine) for machine, glibc in TARGETS for minor in PYTHONS]


def measure(url: str, targets: list[TargetProfile]) -> dict[str, Any]:
    """Seconds that the lock of one set takes for some profiles, one after the other."""
    with common.workspace() as work:
        names = [f"project-{number}" for number in range(ROOTS)]
        mirror = settings.load(common.declaration(work, ["bookworm"], names, index={"url": url}))["default"]
        present = local.scan(work / "nothing")
        began, used = time.perf_counter(), time.process_time()
        with rarely_collected(), Index(mirror.index, work / "downloads", work / "cache") as index:
            locks = [lock.make(mirror, mirror.platforms[0], profile, present, index) for profile in targets]
            pages = len(index._pages)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
    if faults := [made.missing for made in locks if made.missing]:
        sys.exit(f"not satisfied: {faults[0]}")
    chosen = {candidate.filename for made in locks for candidate in made.coming}
    about = {"pages": pages, "files": len(chosen), "first": len(locks[0].coming)}
    return {**about, "seconds": seconds, "cpu": round(cpu, 2), "memory": round(common.peak_memory())}


def fill(place: Path) -> None:
    """Projects that want one of their own and some that others want too, within bounds, some on old Pythons only."""
    from tests.support.dists import make_wheel

    platforms = [f"manylinux_2_17_{machine}" for machine in sorted({machine for machine, _ in TARGETS})]
    compiled = [f"cp3{minor}-cp3{minor}-{platform}" for minor in PYTHONS for platform in platforms]
    for number in range(PROJECTS):
        for release in range(RELEASES):
            wanted = (number + ROOTS, number * 7 % ROOTS, number * 13 % PROJECTS)
            requires = [f"project-{n} >={n % 3}.{n % 4},<{n % 3 + 1}" for n in wanted if n < PROJECTS]
            requires[-1] += f" ; python_version < '3.{10 + number % 3}'"
            extras = {"dev": ["pytest", "mypy >=1.0"], "docs": ["sphinx"]}
            about = {"requires": requires, "extras": extras, "requires_python": ">=3.8"}
            for tag in compiled if number % 10 == 3 else ["py3-none-any"]:
                make_wheel(place, f"project-{number}", f"{number % 3}.{release}", tag=tag, **about)


@contextmanager
def served(place: Path) -> Iterator[str]:
    """A package index in a process of its own, so that it takes no time of ours."""
    command = [sys.executable, "-m", "tests.support.localindex", str(place)]
    ours = common.environment()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=common.ROOT, env=ours) as index:
        assert index.stdout
        try:
            yield index.stdout.readline().strip()
        finally:
            index.terminate()


if __name__ == "__main__":
    sys.exit(main())
