"""Projects without a fitting wheel: built in a container of the target's own image, without network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pipmirror_lib.wheels import sha256_of

from tests.support.site import COMPILER, Site

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


@pytest.fixture(scope="session")
def setuptools(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheels of the real setuptools and wheel, as a Python 3.11 target would have them."""
    directory = tmp_path_factory.mktemp("setuptools")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(directory),
    ]
    wanted = ["-d", str(directory), "setuptools<81", "wheel<0.46"]
    subprocess.run([*command, *wanted], timeout=180, check=True, capture_output=True)
    return list(directory.glob("*.whl"))


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
    assert list(site.state(site.good(site.apply()))["changes"]) == ["omega"]
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
