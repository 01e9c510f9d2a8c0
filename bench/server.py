"""Requests a second of the site that `pipmirror.server` writes, against bare files of the same nginx in the same run.

Pages as clients ask for them (JSON by what they accept) and wheels, small and large, on the loopback. Needs nginx and
wrk. No request may fail. One worker serves both, and how many requests it can serve is told by what each costs it of a
processor: that decides, by the median, because on a busy machine the requests a second that are told beside it say
more of the others' work.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common import arguments, table, workspace

from tests.support.upstreams import free_port
from tests.support.webserver import serving

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
# What pip and uv send.
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.01"
BAR = 0.9
PLATFORM = "bookworm"
# {what: (path as a client asks for it, path of the bare file)}
FILES = {
    "project page, 50 files": (f"/{PLATFORM}/simple/project/", f"/{PLATFORM}/simple/project/index.json"),
    "root page, 1,000 projects": (f"/{PLATFORM}/simple/", f"/{PLATFORM}/simple/index.json"),
    "METADATA, 2 kB": (f"/{PLATFORM}/project-1.0-py3-none-any.whl.metadata",) * 2,
    "wheel, 100 kB": (f"/{PLATFORM}/project-1.0-py3-none-any.whl",) * 2,
    "wheel, 10 MB": (f"/{PLATFORM}/large-1.0-py3-none-any.whl",) * 2,
}


@dataclass(frozen=True)
class Load:
    """How hard, and how long each time."""

    connections: int
    seconds: int


def fill(target: Path) -> None:
    """Pages as they are published, of files whose content nobody looks at."""
    from pipmirror_lib.mirror import PlatformDirectory
    from pipmirror_lib.publish import publish

    directory = PlatformDirectory(target, PLATFORM)
    directory.create()
    record = {"sha256": "0" * 64, "metadata_sha256": "1" * 64, "size": 1, "origin": "index", "requires_python": ">=3.9"}
    record["admitted"] = record["upload_time"] = "2024-01-01T00:00:00Z"
    names = [f"project-{number}.0-py3-none-any.whl" for number in range(1, 51)]
    names += [f"other_{number}-1.0-py3-none-any.whl" for number in range(999)]
    publish(directory, dict.fromkeys(names, record), "bench")
    for name, size in (("project-1.0", 100_000), ("large-1.0", 10_000_000)):
        (directory.public / f"{name}-py3-none-any.whl").write_bytes(b"\x55" * size)
    (directory.public / "project-1.0-py3-none-any.whl.metadata").write_bytes(b"x" * 2000)


class Loaded(NamedTuple):
    """Requests a second, and microseconds of the worker's processor time for each of them."""

    rate: float
    cost: float


def loaded(url: str, load: Load, worker: int) -> Loaded:
    before = spent(worker)
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "-H", f"Accept: {ACCEPT}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"requests of {url} failed:\n{done.stdout}")
    rate = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    requests = re.search(r"(\d+) requests in", done.stdout)
    if not rate or not requests:
        sys.exit(f"wrk said something else than expected:\n{done.stdout}")
    return Loaded(float(rate[1]), (spent(worker) - before) / 1000 / int(requests[1]))


def spent(process: int) -> int:
    """Nanoseconds of a processor, by that process itself and by the system for it."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0])


def worker_of(place: Path) -> int:
    master = int((place / "pid").read_text())
    (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return int(worker)


def measure(
    ours: str, bare: str, rounds: int, load: Load, worker: int
) -> Mapping[str, tuple[list[Loaded], list[Loaded]]]:
    """{what: (of our site, of bare files)}, by turns."""
    found: dict[str, tuple[list[Loaded], list[Loaded]]] = {what: ([], []) for what in FILES}
    for number in range(rounds):
        for what, (asked, file) in FILES.items():
            contenders = [(f"{ours}{asked}", found[what][0]), (f"{bare}{file}", found[what][1])]
            for url, own in contenders if number % 2 == 0 else reversed(contenders):
                own.append(loaded(url, load, worker))
    return found


def main() -> int:
    parser = arguments(__doc__, rounds=12)
    parser.add_argument("--seconds", type=int, default=1, help="of every measurement (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=16, help="at once (default: %(default)s)")
    given = parser.parse_args()
    for program in ("nginx", "wrk"):
        if not shutil.which(program):
            sys.exit(f"{program} is missing: install the package {program}")
    with workspace() as work:
        work.chmod(0o755)
        fill(work / "mirror")
        port = free_port()
        bare = f"server {{ listen 127.0.0.1:{port}; root {work}/mirror; sendfile on; tcp_nopush on; }}"
        with serving(work / "web", work / "mirror", more=bare) as server:
            load = Load(given.connections, given.seconds)
            found = measure(server.url, f"http://127.0.0.1:{port}", given.rounds, load, worker_of(server.place))
    rows, good = [], True
    for what, both in found.items():
        ours, bare = (statistics.median(one.cost for one in own) for own in both)
        ratio = bare / ours
        good = good and ratio >= BAR
        rates = (f"{statistics.median(one.rate for one in own):,.0f}" for own in both)
        costs = (f"{ours:,.1f}", f"{bare:,.1f}", f"{ratio:.2f}", "kept" if ratio >= BAR else "MISSED")
        rows.append((what, *rates, *costs))
    header = ("", "our site", "bare file", "µs, our site", "µs, bare file", "ratio", f">= {BAR}")
    table("Requests a second, and processor time for each", header, rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
