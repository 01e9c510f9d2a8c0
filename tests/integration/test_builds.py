"""Projects without a fitting wheel: built in a container of the target's own image, without network."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import builder
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import Engine
from pipmirror_lib.settings import Container, Platform
from pipmirror_lib.wheels import sha256_of

from tests.integration.conftest import Ensure
from tests.support.bench import Bench
from tests.support.dists import make_sdist
from tests.support.site import COMPILER, IMAGE, PRE_COMMAND, Site

pytestmark = [pytest.mark.integration]

# Runs while the wheel is built: whoever reaches the index from there fails the build that must not.
REACH_OUT = """
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=3)
except OSError:
    pass
else:
    raise SystemExit("the build has reached the index")
"""


def test_an_sdist_with_its_own_backend(site: Site) -> None:
    site.wheel("helper")
    sdist = site.sdist(
        "omega",
        requires=["beta<2"],
        build_requires=["helper"],
        intree_backend=True,
        on_build="import helper" + REACH_OUT.format(port=site.index.port),
    )
    site.settings["packages"] = ["omega"]
    answer = site.good(site.apply())
    wheel = "omega-1.0-py3-none-any.whl"
    assert site.wheels() == {wheel, "beta-1.0-py3-none-any.whl"}, "what only builds need stays out of the mirror"
    site.check()
    record = site.record(wheel)
    assert record["origin"] == "built"
    assert record["source"]["sha256"] == sha256_of(site.shelf / sdist)
    assert record["source"]["filename"] == sdist
    helper = "helper-1.0-py3-none-any.whl"
    assert record["build_requires"] == [{"filename": helper, "sha256": sha256_of(site.shelf / helper)}]
    assert (site.private() / "logs" / record["log"]).stat().st_size > 0
    assert site.state(answer)["changes"]["omega"] == {"old": "", "new": "1.0"}
    assert site.call("status").value["bookworm"]["built_here"] == 1
    # It is not built a second time, and a deleted one is.
    site.forget()
    assert site.state(site.good(site.apply()))["changes"] == {}
    assert site.asked() == []
    (site.public() / wheel).unlink()
    # Its page had gone with it.
    assert list(site.state(site.good(site.apply()))["changes"]) == ["omega", "(published)"]
    site.check()


def test_what_a_backend_asks_for_on_the_way(site: Site) -> None:
    site.wheel("asked", requires=["deeper"])
    site.wheel("deeper")
    site.sdist("omega", intree_backend=True, get_requires=["asked>=1"], on_build="import asked, deeper")
    site.settings["packages"] = ["omega"]
    site.good(site.apply())
    wheel = "omega-1.0-py3-none-any.whl"
    assert site.wheels() == {wheel}
    assert [one["filename"].split("-")[0] for one in site.record(wheel)["build_requires"]] == ["asked", "deeper"]


def test_build_requirements_that_are_sdists_themselves(site: Site) -> None:
    site.sdist("tool", intree_backend=True, build_requires=["beta"], on_build="import beta")
    site.sdist("omega", intree_backend=True, build_requires=["tool"], on_build="import tool")
    site.settings["packages"] = ["omega"]
    site.good(site.apply())
    assert site.wheels() == {"omega-1.0-py3-none-any.whl"}


def test_a_legacy_setup_py(site: Site, setuptools: list[Path]) -> None:
    for wheel in setuptools:
        site.index.add(wheel)
    site.sdist("Omega.Legacy", requires=["beta"], extras={"more": ["gamma"]})
    site.wheel("gamma")
    site.settings["packages"] = ["omega-legacy[more]"]
    site.good(site.apply())
    built = {name for name in site.wheels() if name.lower().startswith("omega")}
    assert site.wheels() - built == {"beta-2.0-py3-none-any.whl", "gamma-1.0-py3-none-any.whl"}
    (name,) = built
    assert "setuptools" in {one["filename"].split("-")[0] for one in site.record(name)["build_requires"]}
    verified = site.call("verify")
    assert verified.code == 0, verified
    assert verified.platform["verified"]["packages"]["installed"] == 3


def test_build_constraints_choose_the_setuptools(site: Site, setuptools: list[Path]) -> None:
    for wheel in setuptools:
        site.index.add(wheel)
    site.wheel("setuptools", "999")  # would be chosen, and is no setuptools at all
    site.settings["packages"] = ["omega"]
    site.settings["build_constraints"] = ["setuptools<999"]
    site.sdist("omega", build_requires=["setuptools"])
    site.good(site.apply())
    assert "omega-1.0-py3-none-any.whl" in site.wheels()


def test_a_c_extension(site: Site) -> None:
    """It gets the platform's own tag, never goes to another platform, and runs where it was built for."""
    site.platform["pre_command"] = COMPILER
    site.sdist("omega", intree_backend=True, c_extension=True)
    site.settings["packages"] = ["omega"]
    site.good(site.apply())
    (wheel,) = site.wheels()
    assert wheel.startswith("omega-1.0-cp311-cp311-linux_")
    site.check()
    assert site.call("verify").platform["verified"]["packages"]["installed"] == 1


def test_a_wheel_built_here_stays_on_its_platform(site: Site) -> None:
    site.also("second")
    site.sdist("omega", intree_backend=True)
    site.settings["packages"] = ["omega"]
    site.good(site.apply())
    wheel = "omega-1.0-py3-none-any.whl"
    first, second = (site.public(name) / wheel for name in ("bookworm", "second"))
    assert first.stat().st_ino != second.stat().st_ino
    assert site.record(wheel, "second")["origin"] == "built"


def test_no_binary_builds_although_a_wheel_exists(site: Site) -> None:
    site.sdist("alpha", intree_backend=True, requires=["beta<2"])
    site.settings["no_binary"] = ["alpha"]
    site.good(site.apply())
    assert site.record("alpha-1.0-py3-none-any.whl")["origin"] == "built"
    assert "beta-1.0-py3-none-any.whl" in site.wheels()


def test_a_wheel_from_the_index_is_preferred_to_building(site: Site) -> None:
    site.sdist("alpha", intree_backend=True)
    site.good(site.apply())
    assert site.record("alpha-1.0-py3-none-any.whl")["origin"] == "index"
    assert site.index.requests_of("alpha-1.0.tar.gz") == []


# --- never twice, and at once ---------------------------------------------------------------------


def started(since: float, *projects: str) -> list[str]:
    """The projects whose build containers have started since then, in order; the engine is asked, not we."""
    until = str(time.time() + 1)
    command = ["docker", "events", "--since", str(since), "--until", until, "--format", "{{json .}}"]
    filters = ["--filter", "label=org.pipmirror=1", "--filter", "event=start"]
    lines = subprocess.check_output([*command, *filters], text=True).splitlines()
    names = [json.loads(line)["Actor"]["Attributes"]["name"] for line in lines]
    return [project for name in names for project in projects if name.startswith(f"pipmirror-build-{project}-")]


def test_nothing_is_built_twice(site: Site) -> None:
    """Not by a later run, nor for another project, nor after another's fault, nor what only builds need."""
    tool, omega, psi = (f"{name}{os.getpid()}" for name in ("tool", "omega", "psi"))
    site.sdist(tool, intree_backend=True, build_requires=["beta"], on_build="import beta")
    site.sdist(omega, intree_backend=True, build_requires=[tool], on_build=f"import {tool}")
    site.sdist(psi, intree_backend=True, build_requires=[tool], on_build=f"import {tool}")
    began = time.time()
    site.settings["packages"] = [omega, "nosuch"]
    assert site.apply().code != 0, "the set is not complete, so nothing of it comes in"
    assert site.wheels() == set()
    site.settings["packages"] = [omega]
    site.good(site.apply())
    site.settings["packages"] = [omega, psi]
    site.good(site.apply())
    (site.public() / f"{omega}-1.0-py3-none-any.whl").unlink()
    site.good(site.apply())
    assert started(began, tool, omega, psi) == [tool, omega, psi]
    assert site.wheels() == {f"{omega}-1.0-py3-none-any.whl", f"{psi}-1.0-py3-none-any.whl"}
    site.settings["build_constraints"] = ["other<2"]
    (site.public() / f"{omega}-1.0-py3-none-any.whl").unlink()
    site.good(site.apply())
    assert started(began, tool, omega, psi) == [tool, omega, psi, tool, omega], "from other inputs it may be another"


# Ends only when the test has seen all of them, and never beside one that waits for its end.
GATE = """
import os, time
open("/pipmirror/out/begun", "w").close()
end = time.time() + 60
while not os.path.exists("/pipmirror/out/go"):
    if time.time() > end:
        raise SystemExit("alone")
    time.sleep(0.05)
"""


@pytest.mark.parametrize("static", [True, False], ids=["for their wheels", "for what they require"])
def test_independent_builds_run_at_once(site: Site, static: bool) -> None:
    names = ["one", "two", "three"]
    for name in names:
        site.sdist(name, intree_backend=True, on_build=GATE, static_metadata=static)
    site.settings.update(packages=names, container={"cpus": 0.3, "memory": "256m"})
    ended = threading.Event()

    def open_gates() -> None:
        while not ended.wait(0.05):
            begun = list(site.private().glob("staging/build-*/out/begun"))
            for place in begun if len(begun) == len(names) else ():
                place.with_name("go").touch()

    keeper = threading.Thread(target=open_gates)
    keeper.start()
    try:
        site.good(site.apply())
    finally:
        ended.set()
        keeper.join()
    assert site.wheels() == {f"{name}-1.0-py3-none-any.whl" for name in names}
    site.check()


FLIT = """[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
[project]
name = "demo"
version = "1.0"
description = "Made for a test"
"""


@pytest.mark.parametrize("backend", ["setuptools", "flit", "in-tree"])
def test_the_same_sources_become_the_same_bytes(
    engine: Engine, ensure: Ensure, setuptools: list[Path], tmp_path: Path, backend: str
) -> None:
    """Built twice on purpose, at another time and in another place."""
    kinds: dict[str, dict[str, Any]] = {
        "setuptools": {"files": {"package/__init__.py": "", "package/data.txt": "data\n"}},
        "flit": {"pyproject": FLIT},
        "in-tree": {"intree_backend": True},
    }
    sdist = make_sdist(tmp_path, **kinds[backend])
    ensure(IMAGE)
    target, limits = Platform(name="twice", image=IMAGE, sets=(), pre_command=PRE_COMMAND), Container()
    image = builder.prepare(engine, target, limits, workdir=tmp_path, rebuild_after=0, progress=lambda text: None)
    quarters = Containers(engine, image, target)
    profile = builder.profile(quarters, target, limits, workdir=tmp_path)
    digests = set()
    for number in range(2):
        time.sleep(2 * number)  # the precision of an archive's times
        made = Bench(quarters, profile, tmp_path / str(number), limits).build(sdist, wheels=tuple(setuptools))
        assert isinstance(made, Path), made
        digests.add(sha256_of(made))
    assert len(digests) == 1
