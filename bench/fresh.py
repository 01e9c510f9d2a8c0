"""A fresh sync of 30 well-known projects (about 280 wheels), the target's profile known, and one project more.

Contenders, in turns: our sync of one platform; of three; the target's own pip (`pip wheel`, in a fresh container
of the same builder image, no cache); and the floor, a bare parallel download of the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import common
from pipmirror_lib import builder, completion, plan, platform_sync, settings, sync
from pipmirror_lib.courier import Courier
from pipmirror_lib.mirror import PRIVATE, PlatformDirectory

THREADS = 16
MORE = "httpie"


def main() -> int:
    parser = common.arguments(__doc__, rounds=3)
    parser.add_argument("--keep-images", action="store_true", help="leave the builder images for the next run")
    parser.add_argument("--child", nargs=2, metavar=("WORK", "SUITES"), help=argparse.SUPPRESS)
    parser.add_argument("--no-pip", action="store_true", help="leave out `pip wheel`, the slowest contender")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(fresh_sync(Path(options.child[0]), options.child[1].split(","))))
        return 0
    try:
        with common.workspace() as work:
            return 0 if measure(work, options) else 1
    finally:
        if not options.keep_images:
            common.remove_builder_images()


def measure(work: Path, options: argparse.Namespace) -> bool:
    print("preparing builder images and profiles", file=sys.stderr)
    prepared = sync.prepare(declared(work / "prepared", common.SUITES))
    if not prepared["result"]:
        sys.exit(json.dumps(prepared, indent=1))
    first = ours(work, common.SUITES)  # asks the index for everything once, so that no contender pays for that alone
    urls = first["urls"]["debian-bookworm"]
    contenders: dict[str, Callable[[], Any]] = {
        "pip wheel": lambda: pip_wheel(work),
        "ours, 1 platform": lambda: ours(work, common.SUITES[:1]),
        "ours, 3 platforms": lambda: ours(work, common.SUITES),
        "bare download": lambda: download(urls, work / "bare"),
    }
    if options.no_pip:
        del contenders["pip wheel"]
    samples = common.interleaved(options.rounds, contenders)
    for sample in (sample for own in samples.values() for sample in own):
        sample.seconds -= sample.about.get("adding", 0.0) + sample.about["tidying"]
    return report(samples, urls)


def report(samples: Mapping[str, list[common.Sample]], urls: list[str]) -> bool:
    """Print the tables; whether every bar was kept."""
    one, three, bare = (samples[name] for name in ("ours, 1 platform", "ours, 3 platforms", "bare download"))
    good = against_pip(samples, urls) if "pip wheel" in samples else True
    contest = {"bare download": bare, "ours, 1 platform": one}
    good &= common.compare("... against the floor", contest, "bare download", {"ours, 1 platform": 3.0})
    common.compare(
        "... in processor time, which other work disturbs less (start of the process included)",
        {name: noted(own, "cpu") for name, own in contest.items()},
        "bare download",
        {},
    )
    title = f"{MORE} added to these wheels ({statistics.median(s.about['added'] for s in one):.0f} come), in process"
    times = {"fresh": noted(one, "total"), "one more": noted(one, "adding")}
    good &= common.compare(title, times, "fresh", {"one more": 0.2})
    good &= common.compare("Three platforms", {"one": one, "three": three}, "one", {"three": 2.0})
    rows = [(name, *breakdown([sample.about for sample in own])) for name, own in (("one", one), ("three", three))]
    header = ("medians, s", *PHASES.values(), "total", "CPU", "peak MB")
    common.table("Where the time goes (threads overlap, so phases of three platforms add up to more)", header, rows)
    return good


def against_pip(samples: Mapping[str, list[common.Sample]], urls: list[str]) -> bool:
    contest = {name: own for name, own in samples.items() if name != "ours, 3 platforms"}
    title = f"Fresh sync, {len(common.PACKAGES)} requirements, {len(urls)} wheels, against the target's own pip"
    good = common.compare(title, contest, "pip wheel", {"ours, 1 platform": 0.2})
    chosen = set(samples["pip wheel"][-1].about["files"])
    same = chosen == {url.rpartition("/")[2] for url in urls}
    print(f"  pip chose {'the same files' if same else f'{len(chosen)} files, some of them others'}")
    return good


def noted(samples: list[common.Sample], key: str) -> list[common.Sample]:
    """What the contenders say of themselves."""
    return [common.Sample(sample.about[key]) for sample in samples]


# -- the contenders ------------------------------------------------------------------------------------------


def ours(work: Path, suites: tuple[str, ...]) -> Any:
    return common.in_child(__file__, "--child", work, ",".join(suites))


def pip_wheel(work: Path) -> dict[str, Any]:
    image = json.loads((work / "prepared" / PRIVATE / "debian-bookworm" / "state.json").read_text())["image"]
    place = work / "pip"
    common.docker_run(image, place, "pip", "wheel", "--quiet", "--no-cache-dir", "-w", "/mnt", *common.PACKAGES)
    return {"files": [path.name for path in place.iterdir()], "tidying": tidied(place)}


def declared(target: Path, suites: tuple[str, ...] | list[str], *more: str) -> settings.Mirror:
    return settings.load(common.declaration(target, suites, [*common.PACKAGES, *more]))["default"]


# -- one fresh sync, in a process of its own -----------------------------------------------------------------

PHASES = {
    "prepare": "engine",
    "make": "pages, decision, downloads ahead",
    "_gather": "rest of the downloads",
    "admit": "admit",
    "publish": "publish",
    "decide": "plan",
}


def fresh_sync(work: Path, suites: list[str]) -> dict[str, Any]:
    """Sync into an empty directory that knows nothing but the profiles; what it took, and what came."""
    target = work / "fresh"
    mirror = declared(target, suites)
    for platform in mirror.platforms:
        private = PRIVATE / Path(platform.name)
        (target / private).mkdir(parents=True)
        for name in ("profile.json", "state.json"):
            shutil.copy(work / "prepared" / private / name, target / private / name)
    phases, fetching = watched(), peak_of_couriers()
    began = time.perf_counter()
    result = sync.sync(mirror)
    about = {
        "total": time.perf_counter() - began,
        "cpu": sum(os.times()[:4]),
        "memory": common.peak_memory() + sum(fetching),
        "phases": dict(phases),
    }
    if not result["result"]:
        sys.exit(json.dumps(result, indent=1))
    about["urls"] = {p.name: urls_of(PlatformDirectory.of(mirror, p.name).manifest()) for p in mirror.platforms}
    began = time.perf_counter()
    result = sync.sync(declared(target, suites, MORE))
    about["adding"] = time.perf_counter() - began
    if not result["result"]:
        sys.exit(json.dumps(result, indent=1))
    about["added"] = sum(len(platform["added"]) for platform in result["platforms"].values())
    about["tidying"] = tidied(target)
    return about


def tidied(place: Path) -> float:
    """Seconds that it took to remove what came: no part of anything, and longer than all else on a busy disk."""
    began = time.perf_counter()
    shutil.rmtree(place)
    return time.perf_counter() - began


def urls_of(manifest: Mapping[str, Any]) -> list[str]:
    return [record["url"] for record in manifest["wheels"].values() if record["origin"] == "index"]


def watched() -> Counter[str]:
    """Seconds spent in the steps of a sync, measured from outside."""
    spent: Counter[str] = Counter()

    def watch(owner: Any, name: str, phase: str) -> None:
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[phase] += time.perf_counter() - began

        setattr(owner, name, timed)

    watch(builder, "prepare", "prepare")
    watch(completion.lock, "make", "make")
    watch(completion.Completion, "_gather", "_gather")
    watch(PlatformDirectory, "admit", "admit")
    watch(platform_sync, "publish", "publish")
    watch(plan, "make", "decide")
    return spent


def peak_of_couriers() -> list[float]:
    """What the processes for downloads need besides, in MB, known when they end."""
    peaks: list[float] = []
    close = Courier.close

    def closed(courier: Courier) -> None:
        if courier._process and courier._process.poll() is None:
            peaks.append(common.peak_memory(courier._process.pid))
        close(courier)

    Courier.close = closed  # type: ignore[method-assign]
    return peaks


def breakdown(runs: list[dict[str, Any]]) -> list[str]:
    phases = [f"{statistics.median(run['phases'].get(phase, 0.0) for run in runs):.2f}" for phase in PHASES]
    totals = [f"{statistics.median(run[key] for run in runs):.2f}" for key in ("total", "cpu")]
    return [*phases, *totals, f"{max(run['memory'] for run in runs):.0f}"]


# -- the floor -----------------------------------------------------------------------------------------------


def download(urls: list[str], place: Path) -> dict[str, float]:
    """The same files, in parallel, with nothing else done to them."""
    import requests
    from requests.adapters import HTTPAdapter

    used = time.process_time()
    place.mkdir()
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_connections=THREADS, pool_maxsize=THREADS))

    def fetch(url: str) -> None:
        with session.get(url, stream=True, headers={"Accept-Encoding": "identity"}, timeout=60) as response:
            response.raise_for_status()
            with (place / url.rpartition("/")[2]).open("wb") as file:
                for chunk in response.iter_content(256 << 10):
                    file.write(chunk)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fetch, urls))
    return {"cpu": time.process_time() - used, "tidying": tidied(place)}


if __name__ == "__main__":
    sys.exit(main())
