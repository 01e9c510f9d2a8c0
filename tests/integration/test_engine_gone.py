"""An engine that is killed, stopped or emptied while we use it, or between two steps; one of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pipmirror_lib import builder
from pipmirror_lib.engine import Engine
from pipmirror_lib.settings import Container, Platform

from tests.integration.conftest import Ensure
from tests.support.dockerd import OwnEngine
from tests.support.leaks import nothing_left, until
from tests.support.localindex import Fault, LocalIndex
from tests.support.salt import Answer
from tests.support.site import IMAGE, PRE_COMMAND, Site

pytestmark = pytest.mark.integration

BASE = "pipmirror-tests:engine-gone"


@pytest.fixture(scope="module")
def own(engine: Engine, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """It has one image, with Python and pip."""
    ensure(IMAGE)
    workdir = tmp_path_factory.mktemp("prepare")
    platform = Platform(name="bookworm", image=IMAGE, sets=(), pre_command=PRE_COMMAND)
    made = builder.prepare(engine, platform, Container(), workdir=workdir, rebuild_after=0, progress=lambda text: None)
    with OwnEngine() as started:
        started.take(made.id)
        started.docker("tag", made.id, BASE)
        yield started


@pytest.fixture
def site(tmp_path: Path, own: OwnEngine) -> Iterator[Site]:
    with LocalIndex() as index:
        site = Site(tmp_path, index)
        site.wheel("alpha", requires=["beta>=1"])
        site.wheel("beta", "1.0")
        site.platform.update(image=BASE, image_source="local", pre_command="")
        site.settings["container"] = {"engine_url": own.url}
        yield site


def sdist(site: Site, on_build: str = "") -> None:
    if "omega-1.0.tar.gz" in site.index.files:
        site.index.remove("omega-1.0.tar.gz")
    site.sdist("omega", intree_backend=True, on_build=on_build)
    site.settings["packages"] = ["alpha", "omega"]


def failed(site: Site, answer: Answer, *said: str) -> None:
    """One line, or two where a log is named; what was there is there."""
    state = site.state(answer)
    assert state["result"] is False
    assert "Traceback" not in answer.stderr
    assert "internal error" not in state["comment"]
    first = state["comment"].splitlines()[0]
    assert all(text in first for text in said), state["comment"]


def finished(site: Site, own: OwnEngine) -> None:
    site.good(site.apply())
    site.check()
    nothing_left(site, host=own.url)
    assert own.containers() == []


def test_killed_in_the_middle_of_a_build(site: Site, own: OwnEngine) -> None:
    sdist(site, "import time; time.sleep(300)")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.apply)
        assert until(lambda: "pipmirror-build" in own.docker("ps", "--format", "{{.Names}}").stdout)
        own.kill()
        try:
            answer = running.result(timeout=120)
        finally:
            own.start()
        failed(site, answer, "omega", "built", "the container engine has gone away")
    assert not (site.private() / "holder").exists(), "it has come to an end by itself"
    sdist(site)
    finished(site, own)
    assert "omega-1.0-py3-none-any.whl" in site.wheels()
    words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own.processes()]
    assert not [line for line in words if b"shim" in line], "its supervisors have gone as well"


def test_stopped_and_started_again(site: Site, own: OwnEngine) -> None:
    site.good(site.apply())
    own.stop()
    try:
        assert site.state(site.good(site.apply()))["changes"] == {}, "nothing to do needs no engine"
        site.wheel("gamma")
        site.settings["packages"] = ["alpha", "gamma"]
        assert "went on with the known profile" in site.state(site.good(site.apply()))["comment"]
        before = site.wares()
        sdist(site)
        failed(site, site.apply(), own.url, "start dockerd")
        assert {name: stamp for name, stamp in site.wares().items() if name in before} == before
    finally:
        own.start()
    finished(site, own)


def test_the_builder_image_is_removed_between_preparing_and_building(site: Site, own: OwnEngine) -> None:
    site.platform["pre_command"] = "true made-for-the-test-of-removed-images"
    site.good(site.apply())
    image = own.docker("images", "--quiet", "pipmirror-builder").stdout.split()
    assert len(image) == 1
    own.docker("rmi", "--force", *image)
    sdist(site)
    finished(site, own)
    assert own.docker("images", "--quiet", "pipmirror-builder").stdout.split() not in ([], image)


def test_the_builder_image_is_removed_while_the_source_is_on_its_way(site: Site, own: OwnEngine) -> None:
    site.platform["pre_command"] = "true made-for-the-test-of-images-removed-meanwhile"
    site.good(site.apply())
    sdist(site)
    site.index.fail["/files/omega"] = Fault(stall=4, times=1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.apply)
        assert until(lambda: any("omega" in request.path for request in list(site.index.log)))
        own.docker("rmi", "--force", *own.docker("images", "--quiet", "pipmirror-builder").stdout.split())
        answer = running.result(timeout=120)
    if not site.state(answer)["result"]:
        failed(site, answer, "omega", "image")
    finished(site, own)


def test_the_base_image_is_removed(site: Site, own: OwnEngine) -> None:
    site.good(site.apply())
    identity = own.docker("inspect", "--format", "{{.Id}}", BASE).stdout.strip()
    own.docker("tag", BASE, "pipmirror-tests:kept")
    own.docker("rmi", BASE)
    sdist(site)
    failed(site, site.apply(), BASE, "not on this machine", "docker load")
    own.docker("tag", identity, BASE)
    own.docker("rmi", "pipmirror-tests:kept")
    finished(site, own)
