"""Several platforms at once: never more than `parallel`, in one process or in many."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pipmirror_lib import locks
from pipmirror_lib.shared import slots

from tests.functional.conftest import prepared
from tests.support.localindex import Fault
from tests.support.salt import REPOSITORY
from tests.support.site import Site

NAMES = [f"p{number}" for number in range(4)]


@pytest.fixture
def four(bare: Site) -> Site:
    """Four platforms, each with a project of its own."""
    platform = bare.platform
    bare.settings.update(packages=[], platforms=[{**platform, "name": name, "packages": [name]} for name in NAMES])
    for name in NAMES:
        bare.wheel(name)
    prepared(bare)
    return bare


class Watch:
    """How many projects are asked for at one moment; each request takes a while, so that others can join it."""

    def __init__(self, seconds: float) -> None:
        self.most = 0
        self._now = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, path: str) -> None:
        if not path.startswith("/simple/"):
            return
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1


class Meeting:
    """Requests for projects wait until so many have come; `met` tells whether they did."""

    def __init__(self, number: int) -> None:
        self._barrier = threading.Barrier(number)
        self.met = False

    def __call__(self, path: str) -> None:
        if path.startswith("/simple/p") and not self.met:
            with suppress(threading.BrokenBarrierError):
                self._barrier.wait(timeout=60)
                self.met = True


def ids(site: Site) -> list[str]:
    return [f"pipmirror-default-{platform['name']}" for platform in site.settings["platforms"]]


@contextmanager
def held(site: Site, number: int) -> Iterator[None]:
    """So many of two places are taken by this process."""
    (site.target / ".pipmirror").mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        for slot in slots(site.target, number):
            assert stack.enter_context(locks.one_of([slot], timeout=0))
        yield


def is_taken(slot: Path) -> bool:
    with locks.one_of([slot], timeout=0) as free:
        return free is None


def both(site: Site, *calls: str) -> list[int]:
    """Run these at once; their return codes."""
    assert site.call("platforms").code == 0  # Salt itself fails where two make its directories at once
    processes: list[subprocess.Popen[bytes]] = [site.minion.start(*call.split()) for call in calls]
    return [process.wait(timeout=120) for process in processes]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- the highstate -------------------------------------------------------------------------------------------


def test_states_run_beside_each_other(four: Site) -> None:
    del four.settings["platforms"][2:]
    four.index.before = meeting = Meeting(2)
    answer = four.good(four.apply())
    assert meeting.met
    for name, state in zip(NAMES[:2], [answer.states[one] for one in ids(four)], strict=True):
        assert state["__parallel__"] is True
        assert state["changes"][name] == {"old": "", "new": "1.0"}
        assert "added 1 wheel" in state["comment"]
        four.check(name)
    published = answer.states["pipmirror-published"]
    assert published["__run_num__"] == len(answer.states) - 1
    assert published["changes"] == {}, "it has waited until each platform had written its own"
    again = four.good(four.apply())
    assert [name for name, state in again.states.items() if state["changes"] or "__parallel__" in state] == []


def test_what_all_lack_comes_once(four: Site) -> None:
    """Each state is a run of its own, and they begin at the same time."""
    del four.settings["platforms"][2:]
    names = [f"shared-{number}" for number in range(20)]
    for name in names:
        four.wheel(name, files={"big.bin": name.encode() * 20_000})
    four.settings["packages"] = names
    four.index.before = Meeting(2)
    answer = four.good(four.apply())
    assert all(answer.states[name]["__parallel__"] for name in ids(four))
    fetched = [request.path for request in four.index.log if request.path.endswith(".whl")]
    assert len(fetched) == len(set(fetched)) == len(names) + 2
    for platform in NAMES[:2]:
        four.check(platform)


def test_never_more_at_once_than_parallel(four: Site) -> None:
    """Four states are started at once."""
    four.index.before = watch = Watch(0.7)
    answer = four.good(four.apply())
    assert all(answer.states[name]["__parallel__"] for name in ids(four))
    assert watch.most <= 2
    assert [four.wheels(name) for name in NAMES] == [{f"{name}-1.0-py3-none-any.whl"} for name in NAMES]


def test_one_that_fails_does_not_keep_the_others_or_the_pages(four: Site) -> None:
    four.index.fail["/simple/p1/"] = Fault(status=403, times=None)
    answer = four.apply()
    results = {name: state["result"] for name, state in answer.states.items()}
    assert [results[name] for name in ids(four)] == [True, False, True, True]
    assert "refuses us (403)" in answer.states["pipmirror-default-p1"]["comment"]
    assert results["pipmirror-published"] is True
    assert answer.code != 0


def test_all_that_fail_do_not_keep_the_pages(four: Site) -> None:
    four.good(four.apply())
    page = four.public("p0") / "simple" / "index.html"
    page.unlink()
    for platform in four.settings["platforms"]:
        platform["packages"] = ["nowhere"]
    answer = four.apply()
    assert [answer.states[name]["result"] for name in ids(four)] == [False] * 4
    assert answer.states["pipmirror-published"]["result"] is True
    assert page.exists()


def test_what_asks_for_all_of_it_waits(four: Site, tmp_path: Path) -> None:
    root = tmp_path / "roots"
    root.mkdir()
    told = {"file.managed": [{"name": f"{tmp_path}/told"}, {"contents": "yes"}, {"onchanges": [{"sls": "pipmirror"}]}]}
    (root / "mine.sls").write_text(json.dumps({"include": ["pipmirror"], "tell-everyone": told}))
    (root / "pipmirror").symlink_to(REPOSITORY / "salt" / "pipmirror")
    (root / "docker").symlink_to(REPOSITORY / "salt" / "docker")
    four.minion.file_root = root
    answer = four.good(four.minion.call("state.apply", "mine"))
    assert answer.states["tell-everyone"]["changes"]


@pytest.mark.parametrize("how", ["test", "report", "serial", "alone"])
def test_only_what_has_to_be_done_runs_beside_others(four: Site, how: str) -> None:
    if how == "report":
        four.settings["highstate"] = "report"
    if how == "serial":
        four.settings["parallel"] = 1
    if how == "alone":
        for name in NAMES[1:]:
            assert four.call("sync", platform=name).code == 0
    shown = four.minion.call("state.show_sls", "pipmirror", *(["test=True"] if how == "test" else [])).value
    assert "parallel" not in json.dumps(shown)


# -- commands ------------------------------------------------------------------------------------------------


def test_a_command_takes_places_as_well(four: Site) -> None:
    four.index.before = watch = Watch(0.7)
    assert both(four, "pipmirror.sync platform=p0", "pipmirror.sync platform=p1", "pipmirror.sync") == [0, 0, 0]
    assert watch.most <= 2
    for name in NAMES:
        four.check(name)


def test_whoever_waits_says_so_and_goes_on(four: Site) -> None:
    with held(four, 2):
        process = four.minion.start("pipmirror.sync", "platform=p0", "lock_timeout=0")
        until((four.private("p0") / "lock").exists)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        assert four.asked() == []
    assert process.wait(timeout=60) == 0
    four.check("p0")


def test_nothing_to_do_needs_no_place(four: Site) -> None:
    four.good(four.apply())
    with held(four, 2):
        assert four.call("sync").code == 0
        assert four.call("publish").code == 0


def test_a_place_dies_with_its_process(four: Site) -> None:
    four.index.fail["/simple/"] = Fault(stall=30, times=None)
    with held(four, 1):
        process = four.minion.start("pipmirror.sync", "platform=p0")
        until(lambda: is_taken(slots(four.target, 2)[1]))
        process.kill()
        process.wait(timeout=30)
        four.index.fail.clear()
        assert four.call("sync", platform="p1").code == 0


# -- two for one platform ------------------------------------------------------------------------------------


def test_the_second_sync_of_a_platform_waits(four: Site) -> None:
    four.index.before = Watch(1.0)
    assert both(four, "pipmirror.sync platform=p0", "pipmirror.sync platform=p0") == [0, 0]
    fetched = [request.path for request in four.index.log if request.path.endswith(".whl")]
    assert fetched == ["/files/p0-1.0-py3-none-any.whl"], "the second found it there"
    four.check("p0")


def test_or_it_fails_after_lock_timeout(four: Site) -> None:
    came = threading.Event()
    go_on = threading.Event()

    def wait(path: str) -> None:
        came.set()
        go_on.wait(60)

    four.index.before = wait
    first = four.minion.start("pipmirror.sync", "platform=p0")
    assert came.wait(60)
    second = four.call("sync", platform="p0", lock_timeout=1)
    go_on.set()
    assert second.code == 1
    assert second.platform["comment"] == "p0: another sync has held the platform for 1 s (lock_timeout)"
    assert first.wait(timeout=60) == 0
    four.check("p0")
