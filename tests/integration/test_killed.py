"""salt-call, killed alone at any moment: nothing is half-done, the next run finishes and ends what was left running.

The moments between, step by step, are tried in tests/unit/test_kills.py, where a run takes no second.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipmirror_lib import courier

from tests.support.leaks import abandoned, containers, nothing_left, until
from tests.support.localindex import Fault
from tests.support.site import PRE_COMMAND, Site
from tests.support.watching import couriers_of

pytestmark = pytest.mark.integration

COUNT = 40
KILLS = int(os.environ.get("PIPMIRROR_SALT_KILLS", "3"))
SEED = int(os.environ.get("PIPMIRROR_SEED") or random.randrange(10**6))


@contextmanager
def killed(site: Site, function: str = "pipmirror.sync") -> Iterator[int]:
    """Start it, and kill at the end of the block it alone, as somebody does who has looked up its number."""
    process = site.minion.start(function)
    try:
        yield process.pid
        assert process.poll() is None, "it was at work"
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def working(phase: str, pid: int) -> Callable[[], bool]:
    """Whether that process has a container for that."""
    return lambda: any(
        name.startswith(f"pipmirror-{phase}") and f"/{pid}/" in owner for name, owner in containers().items()
    )


def half_done(site: Site) -> list[str]:
    """Wheels that a reader sees and that are not what the index has."""
    return [
        path.name for path in site.public().glob("*.whl") if path.read_bytes() != (site.shelf / path.name).read_bytes()
    ]


def finished(site: Site) -> None:
    site.good(site.apply())
    site.check()
    nothing_left(site)


def test_killed_at_random_moments(site: Site) -> None:
    chosen = random.Random(SEED)
    for number in range(COUNT):
        site.wheel(f"part-{number}", files={"big.bin": bytes([number]) * 300_000})
    site.index.fail["/files/"] = Fault(stall=0.05, times=None)
    for number in range(1, KILLS + 1):
        site.settings["packages"] = [f"part-{part}" for part in range(COUNT * number // KILLS)]
        process = site.minion.start("pipmirror.sync")
        seconds = chosen.uniform(0.5, 4)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        assert half_done(site) == [], f"after {seconds:.3f} s (PIPMIRROR_SEED={SEED})"
    site.index.fail.clear()
    finished(site)
    assert len(site.wheels()) == COUNT
    assert {name for name, state in site.apply().states.items() if state["changes"]} == set()


def test_killed_while_it_downloads(site: Site) -> None:
    site.wheel("large", files={"big.bin": b"x" * 300_000})
    site.settings["packages"] = ["alpha", "large"]
    site.index.fail["/files/large"] = Fault(stall=30, times=1)
    site.index.core_metadata = False
    with killed(site):
        place = site.target / ".pipmirror" / ".downloads"
        assert until(lambda: any(place.glob("*/alpha*.whl")))
    assert not site.public().is_dir() or not site.wheels()
    site.index.fail.clear()
    finished(site)


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda how: how.name
)
def test_ended_while_another_process_downloads(site: Site, how: signal.Signals) -> None:
    """It ends with the one that has started it, whatever ends that; what it has brought is not fetched again."""
    name = site.wheel("large", files={"noise.bin": random.randbytes(courier.MANY)})
    site.settings["packages"] = ["alpha", "large"]
    site.index.fail[".metadata"] = Fault(times=None)  # none
    site.index.fail[f"/files/{name}"] = Fault(truncate_at=courier.MANY // 2, stall=60, times=None)
    process = site.minion.start("pipmirror.sync")
    place = site.target / ".pipmirror" / ".downloads"
    try:
        half = courier.MANY // 2 - (1 << 20)
        assert until(lambda: any(part.stat().st_size >= half for part in place.glob("*/large*.part")))
        (fetching,) = couriers_of(process.pid)
        process.send_signal(how)
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert until(lambda: not Path(f"/proc/{fetching}").exists())
    site.index.fail.clear()
    assert not site.public().is_dir() or not site.wheels()
    finished(site)
    assert [request.status for request in site.index.requests_of(name)] == [200, 206]


def test_killed_while_it_prepares_an_image(site: Site) -> None:
    site.platform["pre_command"] = "sleep 300"
    with killed(site) as pid:
        assert until(working("prepare", pid))
    assert abandoned() != []
    site.platform["pre_command"] = PRE_COMMAND
    finished(site)


def test_killed_while_it_builds(site: Site) -> None:
    site.sdist("omega", intree_backend=True, on_build="import time; time.sleep(300)")
    site.settings["packages"] = ["omega"]
    with killed(site) as pid:
        assert until(working("build", pid))
    assert not site.public().is_dir() or not site.wheels()
    site.index.remove("omega-1.0.tar.gz")
    site.sdist("omega", intree_backend=True)
    finished(site)


def test_what_a_killed_build_left_is_ended_although_nobody_wants_it_any_more(site: Site) -> None:
    """Else its container would run for ever: nothing needs the engine."""
    site.good(site.apply())
    site.sdist("omega", intree_backend=True, on_build="import time; time.sleep(300)")
    site.settings["packages"] = ["alpha", "omega"]
    with killed(site) as pid:
        assert until(working("build", pid))
    site.settings["packages"] = ["alpha"]
    (due,) = site.call("plan").platform["due"]
    assert due == "finish what an interrupted sync has begun"
    finished(site)
    assert site.call("plan").platform["nothing_to_do"]


def test_killed_while_it_verifies(site: Site) -> None:
    code = {"slow.py": "import time\ndef main():\n    time.sleep(8)\n"}
    site.wheel("slow", files=code, entry_points={"slow": "slow:main"})
    site.settings.update(packages=["slow"], verify=True)
    with killed(site) as pid:
        assert until(working("verify", pid))
    assert not (site.public() / "simple").exists(), "what is not proved is not published"
    finished(site)
