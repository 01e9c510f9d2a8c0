"""The same code with Podman's Docker-compatible socket, by `container:engine_url`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipmirror_lib import builder
from pipmirror_lib.engine import Engine, RunSpec
from pipmirror_lib.errors import EngineError, ImageError
from pipmirror_lib.settings import Container, Platform

from tests.integration.conftest import Ensure
from tests.support.podman import Podman
from tests.support.site import IMAGE, PLATFORM, PRE_COMMAND, Site

pytestmark = pytest.mark.integration
# Has pip already, so that nothing need be fetched for it.
WITH_PIP = "localhost/pipmirror-test-podman:1"
LIMITS = Container(memory=1 << 30, pids=256, timeout=120)


@pytest.fixture(scope="module")
def podman(engine: Engine, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    ensure(IMAGE)
    usual = Platform(name=PLATFORM, image=IMAGE, sets=(), pre_command=PRE_COMMAND)
    workdir = tmp_path_factory.mktemp("podman")
    image = builder.prepare(engine, usual, LIMITS, workdir=workdir, rebuild_after=0, progress=lambda text: None)
    with Podman() as running:
        running.load(image.id, WITH_PIP)
        yield running
        assert running.ask("ps", "--all", "--quiet") == "", "no container is left"


@pytest.fixture
def there(podman: Podman) -> Iterator[Engine]:
    engine = Engine.connect(podman.url)
    yield engine
    engine.close()


def spec(*command: str, **options: object) -> RunSpec:
    return RunSpec(**{"image": WITH_PIP, "command": command, "limits": LIMITS, **options})  # type: ignore[arg-type]


def test_a_highstate(site: Site, podman: Podman, there: Engine) -> None:
    """Builder image, profile, build, proof; then nothing to do, and a new recipe makes the old image go."""
    code = "import os, socket; print('uid', os.getuid()); assert open('/proc/net/route').read().count(chr(10)) <= 1"
    site.sdist("omega", requires=["beta<2"], intree_backend=True, on_build=code)
    site.settings.update(packages=["alpha", "omega"], verify=True, container={"engine_url": podman.url})
    site.platform.update(image=WITH_PIP, pre_command="id -u > /made")
    answer = site.good(site.apply())
    assert "added 3 wheels, 1 of them built here" in site.state(answer)["comment"]
    site.check()
    record = site.record("omega-1.0-py3-none-any.whl")
    assert "uid 65534" in (site.private() / "logs" / record["log"]).read_text()
    status = site.call("status").value[PLATFORM]
    assert status["verified"]["packages"]["installed"] == 3
    made = there.image(status["image"])
    assert made is not None
    assert made.labels["org.pipmirror.platform"] == PLATFORM
    assert there.run(spec("/bin/cat", "/made", image=made.id)).log == "0\n"
    assert site.state(site.good(site.apply()))["changes"] == {}
    again = site.call("prepare", force=True)
    assert again.code == 0, again
    assert site.call("status").value[PLATFORM]["image"] != made.id
    assert there.image(made.id) is None
    assert there.image(WITH_PIP) is not None


def test_hardened_runs(there: Engine, tmp_path: Path) -> None:
    script = (
        "id; grep -E 'Cap|NoNew' /proc/self/status; touch /x; touch $TMPDIR/y && echo wrote; wc -l </proc/net/route"
    )
    log = there.run(spec("/bin/sh", "-c", script, scratch=tmp_path / "scratch", groups=(4711,))).log
    assert "uid=65534" in log
    assert "4711" in log.splitlines()[0]
    assert "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000" in log
    assert "NoNewPrivs:\t1" in log
    assert "Read-only file system" in log
    assert log.endswith("wrote\n1\n") or log.endswith("wrote\n0\n")


def test_limits(there: Engine) -> None:
    short = dataclasses.replace(LIMITS, timeout=2)
    result = there.run(spec("/bin/sh", "-c", "echo begin; trap '' TERM; sleep 60", limits=short))
    assert (result.timed_out, result.log) == (True, "begin\n")
    small = dataclasses.replace(LIMITS, memory=64 << 20)
    result = there.run(spec("/usr/bin/perl", "-e", "$x = 'x' x (1 << 29)", limits=small))
    assert result.oom_killed or result.exit_code == 137
    few = dataclasses.replace(LIMITS, pids=8)
    result = there.run(spec("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait", limits=few))
    assert "fork" in result.log


def test_what_is_not_there(there: Engine) -> None:
    assert there.image("no-such-image:ever") is None
    assert there.remove_image("no-such-image:ever") is False
    with pytest.raises(ImageError, match="no-such-image"):
        there.run(spec("/bin/true", image="no-such-image:ever"))
    with pytest.raises(EngineError, match="no such file or directory"):
        there.run(spec("/no/such/program"))
    assert there.remove_abandoned() == {}
