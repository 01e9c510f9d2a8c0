"""A run that is killed at any moment leaves nothing half-done, and the next one finishes."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

from tests.support.localindex import Fault
from tests.support.salt import Minion
from tests.support.site import Site

pytestmark = pytest.mark.integration

COUNT = 40


def kill(minion: Minion, seconds: float) -> bool:
    """Start a sync and kill it, and all that it has started; False if it had ended by itself."""
    process = minion.start("pipmirror.sync")
    try:
        time.sleep(seconds)
        return process.poll() is None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def half_done(site: Site) -> list[str]:
    """Wheels that a reader sees and that are not what the index has."""
    return [
        path.name for path in site.public().glob("*.whl") if path.read_bytes() != (site.shelf / path.name).read_bytes()
    ]


@pytest.mark.parametrize("seconds", [1.2, 1.8, 2.2, 2.6, 3.0])
def test_killed_at_any_moment(site: Site, seconds: float) -> None:
    for number in range(COUNT):
        site.wheel(f"part-{number}", files={"big.bin": bytes([number]) * 300_000})
    site.settings["packages"] = [f"part-{number}" for number in range(COUNT)]
    site.index.fail["/files/"] = Fault(stall=0.05, times=None)
    kill(site.minion, seconds)
    assert half_done(site) == []
    site.index.fail.clear()
    site.good(site.apply())
    assert len(site.wheels()) == COUNT
    site.check()
    assert not list((site.private() / "staging").rglob("*.whl"))
    assert {name for name, state in site.apply().states.items() if state["changes"]} == set()


def test_killed_in_the_middle_of_a_build(site: Site) -> None:
    site.sdist("omega", intree_backend=True, on_build="import time; time.sleep(8)")
    site.settings["packages"] = ["omega"]
    assert kill(site.minion, 4.5), "the build was under way"
    assert not site.public().is_dir() or not site.wheels()
    site.good(site.apply())
    site.check()
