"""Builder images with real processes: made once, and nothing left behind whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import builder
from pipmirror_lib.engine import LABEL, Engine
from pipmirror_lib.settings import Container, Platform

from tests.support.salt import Minion
from tests.support.site import IMAGE, PRE_COMMAND, Site

pytestmark = pytest.mark.integration

MARK = f"at-once-{os.getpid()}"


@pytest.fixture
def quick(site: Site, engine: Engine, tmp_path: Path) -> Iterator[Site]:
    """Platforms whose base has Python and pip already, so that nothing but their own command takes its time."""
    given = Platform(name="given", image=IMAGE, sets=(), pre_command=PRE_COMMAND)
    made = builder.prepare(engine, given, Container(), workdir=tmp_path, rebuild_after=0, progress=lambda text: None)
    base = engine.image(made.id)
    assert base
    image = {"image": base.tags[0], "image_source": "local", "pre_command": f"sleep 2; : {MARK} {tmp_path}"}
    site.settings["platforms"] = [{**image, "name": f"{MARK}-{letter}"} for letter in "ab"]
    yield site
    for info in ours(engine):
        engine.remove_image(info.id)
    engine.remove_abandoned()


def ours(engine: Engine) -> list[Any]:
    return [info for letter in "ab" for info in engine.find({f"{LABEL}.platform": f"{MARK}-{letter}"})]


def containers(engine: Engine) -> list[str]:
    rows = engine._api.containers(all=True, filters={"label": f"{LABEL}=1"})
    return [name for row in rows for name in row["Names"] if MARK in name]


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_many_at_once_make_one(quick: Site, engine: Engine) -> None:
    """Two platforms of a highstate, each in a process, and another mirror in a third."""
    other = Minion(quick.directory / "other", {**quick.settings, "target": str(quick.directory / "theirs")})
    beside = other.start("pipmirror.prepare", f"platform={MARK}-b")
    answer = quick.good(quick.apply())
    assert beside.wait(timeout=120) == 0
    (image,) = ours(engine)
    states = [answer.states[f"pipmirror-default-{MARK}-{letter}"] for letter in "ab"]
    assert all(state["__parallel__"] for state in states)
    assert [state["changes"]["alpha"]["new"] for state in states] == ["1.0", "1.0"]
    made = [state["changes"]["(builder image)"]["id"] for state in states if "(builder image)" in state["changes"]]
    assert made in ([], [image.id]), "the third may have been first"
    assert containers(engine) == []


def test_a_container_that_somebody_starts_from_it_is_no_leftover(quick: Site, engine: Engine) -> None:
    assert quick.call("prepare", platform=f"{MARK}-a").code == 0, "by a process that has ended since"
    (image,) = ours(engine)
    made = subprocess.check_output(["docker", "create", image.id, "true"], text=True).strip()
    try:
        assert made not in engine.abandoned()
    finally:
        subprocess.run(["docker", "rm", made], check=True, stdout=subprocess.DEVNULL)


def test_both_platforms_of_a_forced_run_get_the_one_new(quick: Site, engine: Engine) -> None:
    assert quick.call("prepare").code == 0
    (old,) = ours(engine)
    done = quick.call("prepare", force=True)
    (new,) = ours(engine)
    assert new.id != old.id
    assert engine.image(old.id) is None, "it is not left behind without a name"
    assert {one["image"]["id"] for one in done.value["platforms"].values()} == {new.id}


def test_killed_while_it_is_made(quick: Site, engine: Engine) -> None:
    quick.settings["platforms"] = quick.settings["platforms"][:1]
    command, quick.platform["pre_command"] = quick.platform["pre_command"], f"sleep 300; : {MARK}"
    process = quick.minion.start("pipmirror.prepare")
    until(lambda: containers(engine))
    process.kill()
    process.wait(timeout=30)
    quick.platform["pre_command"] = command
    done = quick.call("prepare")
    assert done.code == 0
    assert containers(engine) == []
    assert len(ours(engine)) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_is_made(quick: Site, engine: Engine, how: signal.Signals) -> None:
    quick.platform["pre_command"] = f"sleep 300; : {MARK}"
    process = quick.minion.start("pipmirror.prepare", f"platform={MARK}-a")
    until(lambda: containers(engine))
    process.send_signal(how)
    process.wait(timeout=60)
    assert containers(engine) == []
    assert ours(engine) == []


def test_a_command_that_fails_leaves_nothing(quick: Site, engine: Engine) -> None:
    for platform in quick.settings["platforms"]:
        platform["pre_command"] = f"exit 3; : {MARK}"
    done = quick.call("prepare")
    assert done.code == 1
    assert all("failed with exit code 3" in one["comment"] for one in done.value["platforms"].values())
    assert containers(engine) == []
    assert ours(engine) == []


def test_clean_takes_them_back(quick: Site, engine: Engine) -> None:
    assert quick.call("prepare").code == 0
    (image,) = ours(engine)
    assert quick.call("clean", platform=f"{MARK}-a").value["images"] == {}, "the other platform uses it as well"
    with builder.using(image.id):
        held = quick.call("clean").value
    assert held["images"] == {}
    assert "a run uses it" in held["comment"]
    assert list(quick.call("clean", test=True).value["images"]) == [image.id]
    assert [found.id for found in ours(engine)] == [image.id]
    done = quick.call("clean")
    assert done.code == 0
    assert done.value["images"][image.id]["kind"] == "builder"
    assert ours(engine) == []
    quick.good(quick.apply())
    assert len(ours(engine)) == 1, "it is made again when it is needed"


def test_clean_removes_what_a_killed_run_has_left(quick: Site, engine: Engine) -> None:
    """Or else any other run of this machine has: what is told of it, is for the unit tests."""
    quick.platform["pre_command"] = f"sleep 300; : {MARK}"
    process = quick.minion.start("pipmirror.prepare", f"platform={MARK}-a")
    until(lambda: containers(engine))
    process.kill()
    process.wait(timeout=30)
    assert quick.call("clean").code == 0
    assert containers(engine) == []
