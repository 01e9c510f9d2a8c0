"""The original role's declaration, on real images and the index that this machine is configured for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib.fetch import default_url

from tests.support.salt import Minion
from tests.support.site import stamps

pytestmark = [pytest.mark.integration, pytest.mark.live]

IMAGES = ["debian:bullseye", "debian:bookworm", "debian:trixie"]
PRE_COMMAND = "apt-get update && apt-get -y install python3-pip"
# The newest pip that this Python can have decides; nothing is installed beside it.
CURRENT_PIP = """
python3 -m pip install -q --no-cache-dir --target /tmp/pip --upgrade pip >&2 &&
PYTHONPATH=/tmp/pip python3 -m pip install -q --no-cache-dir --dry-run --ignore-installed --break-system-packages \
    --report - ansible
"""
OFFLINE = """
python3 -m pip install -q --no-compile --no-index --find-links /mirror --target /tmp/installed ansible >&2 &&
PYTHONPATH=/tmp/installed python3 /tmp/installed/bin/ansible --version
"""


def platform_of(image: str) -> str:
    return image.replace(":", "-")


def run(image: str, script: str, *options: str) -> str:
    """What a shell script prints in a container of the builder image, as the target's own root would run it."""
    command = ["docker", "run", "--rm", "--entrypoint", "/bin/sh", *options, image, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def reach_the_index() -> list[str]:
    """What a container needs to know of this machine's way to the index.

    The certificates are mounted where no package of the distribution has anything.
    """
    options = ["-e", f"PIP_INDEX_URL={default_url()}", "-e", "PIP_DEFAULT_TIMEOUT=60"]
    bundle = next((os.environ[name] for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE") if os.environ.get(name)), "")
    if bundle:
        options += ["-v", f"{Path(bundle).resolve()}:/pipmirror-tests.pem:ro", "-e", "PIP_CERT=/pipmirror-tests.pem"]
    return options


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory, ensure: Callable[[str], None]) -> Minion:
    """The role's variables as they are, for three images, after one `state.apply`."""
    for image in IMAGES:
        ensure(image)
    directory = tmp_path_factory.mktemp("live")
    platforms = [{"image": image, "pre-command": PRE_COMMAND} for image in IMAGES]
    minion = Minion(
        directory / "minion",
        {"target": str(directory / "mirror"), "packages": ["ansible"], "platforms": platforms, "parallel": 3},
    )
    answer = minion.call("pipmirror.sync", timeout=1200)
    assert answer.code == 0, answer
    return minion


@pytest.fixture(scope="module")
def built(mirrored: Minion) -> dict[str, str]:
    """{image: its builder image}"""
    status = mirrored.call("pipmirror.status").value
    return {image: status[platform_of(image)]["image"] for image in IMAGES}


@pytest.fixture(scope="module")
def chosen_by_pip(built: dict[str, str]) -> dict[str, dict[str, str]]:
    """{image: {project: version}} as current pip picks them in that image."""
    options = reach_the_index()
    with ThreadPoolExecutor(len(IMAGES)) as pool:
        reports = pool.map(lambda image: json.loads(run(built[image], CURRENT_PIP, *options)), IMAGES)
    return {
        image: {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in report["install"]}
        for image, report in zip(IMAGES, reports, strict=True)
    }


@pytest.mark.parametrize("image", IMAGES)
def test_the_versions_that_current_pip_picks(
    mirrored: Minion, chosen_by_pip: dict[str, dict[str, str]], image: str
) -> None:
    name = platform_of(image)
    wheels: dict[str, Any] = mirrored.call("pipmirror.wheels", platform=name).value[name]
    ours = {record["project"]: record["version"] for record in wheels.values()}
    assert ours == {project.replace("_", "-"): version for project, version in chosen_by_pip[image].items()}
    lying = {path.name for path in (Path(mirrored.pillar["target"]) / name).glob("*.whl")}
    assert lying == set(wheels)


@pytest.mark.parametrize("image", IMAGES)
def test_it_installs_without_network(mirrored: Minion, built: dict[str, str], image: str) -> None:
    """By the target's own pip, flat, as the role's users do it."""
    mirror = Path(mirrored.pillar["target"]) / platform_of(image)
    said = run(built[image], OFFLINE, "--network", "none", "-v", f"{mirror}:/mirror:ro")
    assert said.startswith("ansible [core ")


def test_a_second_run_changes_nothing(mirrored: Minion) -> None:
    before = stamps(Path(mirrored.pillar["target"]))
    answer = mirrored.apply()
    assert {name: state["changes"] for name, state in answer.states.items() if state["changes"]} == {}
    assert all(state["result"] for state in answer.states.values())
    after = stamps(Path(mirrored.pillar["target"]))
    assert {name for name in after if after[name] != before.get(name)} <= {
        f".pipmirror/{platform_of(image)}/{cache}.cache" for image in IMAGES for cache in ("verdict", "lists", "scan")
    }


def test_a_set_that_cannot_be_decided_is_stopped_and_apart_it_can(
    tmp_path: Path, ensure: Callable[[str], None]
) -> None:
    """Every release of awscli pins docutils below what sphinx wants; the index has some two thousand of them."""
    ensure("debian:bookworm")
    minion = Minion(
        tmp_path / "minion",
        {
            "target": str(tmp_path / "mirror"),
            "packages": ["sphinx", "awscli"],
            "resolve_timeout": 10,
            "platforms": [{"image": "debian:bookworm", "pre-command": PRE_COMMAND}],
        },
    )
    stopped = minion.call("pipmirror.sync", timeout=300)
    if stopped.code == 0:
        pytest.skip("awscli and sphinx can live together now")
    comment = stopped.platform["comment"]
    assert "resolve_timeout of 10 s is over" in comment
    assert "docutils" in comment
    assert "into sets of their own" in comment
    assert sum(path.stat().st_size for path in (tmp_path / "mirror").rglob("*") if path.is_file()) < 200e6
    minion.pillar.update(packages=["sphinx"], sets={"aws": ["awscli"]}, verify=True)
    done = minion.call("pipmirror.sync", timeout=600)
    assert done.code == 0, done
    versions = {record["version"] for record in done.platform["added"].values() if record["project"] == "docutils"}
    assert len(versions) == 2, "each set has its own"
