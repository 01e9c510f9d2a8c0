"""Targets that are not one ordinary file system, and clocks that jump."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.leaks import nothing_left, until
from tests.support.localindex import Fault
from tests.support.site import PLATFORM, Site

pytestmark = pytest.mark.integration

ALPHA, BETA = "alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], timeout=60, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Mount something for the time of a test; the last word is where."""
    points = []

    def mounted(*words: object) -> None:
        run("mount", *words)
        points.append(words[-1])

    yield mounted
    for point in reversed(points):
        run("umount", point)


# -- file systems --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [PLATFORM, ".pipmirror"])
def test_a_platform_on_another_file_system(site: Site, mount: Callable[..., None], elsewhere: str) -> None:
    """Neither a hard link nor a rename leads there: what is downloaded and what is built comes in as a copy."""
    place = site.target / elsewhere
    place.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", place)
    site.sdist("omega", intree_backend=True)
    site.settings["packages"] = ["alpha", "omega"]
    site.good(site.apply())
    site.check()
    assert {ALPHA, BETA, "omega-1.0-py3-none-any.whl"} == site.wheels()
    (site.public() / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    site.settings.update(packages=["beta"])
    site.good(site.apply())
    assert len(list((site.private() / "broken").iterdir())) == 1
    assert site.call("prune", force=True, keep_days=0).platform["result"]
    site.check()
    assert {BETA} == site.wheels()


def test_platforms_on_file_systems_of_their_own_share_by_copies(site: Site, mount: Callable[..., None]) -> None:
    site.also("other")
    for name in (PLATFORM, "other"):
        site.public(name).mkdir(parents=True)
        mount("-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", site.public(name))
    site.good(site.apply())
    site.check()
    site.check("other")
    fetched = [request.path for request in site.index.log if request.path.endswith(".whl")]
    assert sorted(fetched) == sorted(set(fetched)), "nothing is fetched twice for that"


@pytest.mark.skipif(not shutil.which("mount.exfat-fuse") or not Path("/dev/fuse").exists(), reason="no exFAT")
def test_a_file_system_without_owners_is_refused(site: Site, mount: Callable[..., None]) -> None:
    """No hard links, no permissions, no owners: a container could not be given a directory of its own there."""
    image = site.directory / "exfat.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    run("mkfs.exfat", image)
    site.target.mkdir()
    mount("-t", "exfat-fuse", "-o", "loop", image, site.target)
    answer = site.apply()
    state = site.state(answer)
    assert state["result"] is False
    (line,) = state["comment"].splitlines()
    assert str(site.target) in line
    assert "keeps no owners" in line
    assert "Traceback" not in answer.stderr


def test_a_disk_on_which_nothing_fits(site: Site, mount: Callable[..., None]) -> None:
    site.target.mkdir()
    mount("-t", "tmpfs", "-o", "size=8k", "tmpfs", site.target)
    (line,) = site.state(site.apply())["comment"].splitlines()
    assert "make room there" in line
    assert str(site.target) in line
    run("mount", "-o", "remount,size=64m", site.target)
    site.good(site.apply())
    site.check()


def test_a_build_that_fills_the_disk(site: Site, mount: Callable[..., None]) -> None:
    """What it writes lies on the target's file system, which has less room than the build may take."""
    site.target.mkdir()
    mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", site.target)
    site.good(site.apply())
    before = site.wares()
    fill = "f = open('fill', 'wb')\nfor n in range(64): f.write(b'x' * (1 << 20))\nf.close()"
    site.sdist("omega", intree_backend=True, on_build=fill)
    site.settings["packages"] = ["alpha", "omega"]
    state = site.state(site.apply())
    assert state["result"] is False
    assert "omega" in state["comment"].splitlines()[0]
    assert any(text in state["comment"] for text in ("No space left on device", "has only")), state["comment"]
    assert site.wares() == before
    run("mount", "-o", "remount,size=256m", site.target)
    site.good(site.apply())
    site.check()
    nothing_left(site)


# -- two at once ---------------------------------------------------------------------------------------------


def test_a_second_sync_of_a_platform_waits_or_gives_up(site: Site) -> None:
    site.index.fail["/files/"] = Fault(stall=6, times=1)
    site.index.core_metadata = False
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(site.minion.call, "pipmirror.sync")
        assert until((site.private() / "holder").exists)
        answer = site.minion.call("pipmirror.sync", "lock_timeout=0")
        assert "another sync has held the platform for 0 s (lock_timeout)" in answer.platform["comment"]
        second = pool.submit(site.minion.call, "pipmirror.sync")
        assert first.result().platform["result"]
        assert set(first.result().platform["added"]) == {ALPHA, BETA}
        assert second.result().platform["result"]
        assert second.result().platform["added"] == {}
    site.check()
    nothing_left(site)


def test_a_sync_and_a_prune_of_a_platform_at_once(site: Site) -> None:
    """Whoever comes first: what the one wants is there, and what nobody needs is not."""
    for number in range(12):
        site.wheel(f"old-{number}")
    site.settings["packages"] = ["alpha", *(f"old-{number}" for number in range(12))]
    site.good(site.apply())
    site.wheel("gamma", files={"big.bin": b"x" * 1_000_000})
    site.settings.update(packages=["alpha", "gamma"], keep_days=0)
    with ThreadPoolExecutor(3) as pool:
        site.minion.configure()
        calls = [("pipmirror.sync",), ("pipmirror.prune", "force=True"), ("pipmirror.sync",)]
        answers = [one.result() for one in [pool.submit(site.minion.call, *words) for words in calls]]
    assert all("internal error" not in json.dumps(answer.value) for answer in answers)
    assert all(answer.platform["result"] for answer in answers)
    site.call("prune", force=True)
    assert site.wheels() == {ALPHA, BETA, "gamma-1.0-py3-none-any.whl"}
    site.check()
    nothing_left(site)


# -- clocks --------------------------------------------------------------------------------------------------


@pytest.fixture
def at() -> Callable[[str], dict[str, str]]:
    """The environment in which a program believes that time has moved by so much."""
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        pytest.skip("no libfaketime")
    # Programs wait and give up by clocks of their own.
    return lambda moved: {"LD_PRELOAD": str(library), "FAKETIME": moved, "DONT_FAKE_MONOTONIC": "1"}


def test_a_clock_that_jumps(site: Site, at: Callable[[str], dict[str, str]]) -> None:
    """Years ahead nothing is pruned for it; back again, nothing waits for those years; nor does it before."""
    site.wheel("old")
    site.settings.update(packages=["alpha", "old"], prune=True, keep_days=30, rebuild_after=0, upgrade="7d")
    site.good(site.apply())
    site.settings["packages"] = ["alpha"]
    site.good(site.apply())
    ahead = at("+9y")
    for words in (("state.apply", "pipmirror"), ("pipmirror.prune",), ("state.apply", "pipmirror")):
        assert site.minion.call(*words, environment=ahead).code == 0
        assert "old-1.0-py3-none-any.whl" in site.wheels()
    assert site.call("status").value[PLATFORM]["last_look"] > "2030"
    (due,) = [line for line in site.call("plan").platform["due"] if "upgrade" in line]
    assert due == "look for upgrades on the index"
    site.good(site.apply())
    site.check()
    assert site.call("status").value[PLATFORM]["last_look"] < "2030"
    for moved in ("-9y", "+0y"):
        assert site.minion.apply(environment=at(moved)).code == 0
        site.check()
    assert "old-1.0-py3-none-any.whl" in site.wheels()
    nothing_left(site)
