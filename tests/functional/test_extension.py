"""The wheel that this repository builds: the same files as a Salt extension, for minions that sync nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pipmirror_lib import __version__

from tests.support.salt import REPOSITORY, Minion
from tests.support.site import PLATFORM, Site

PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves its own directories beside the sources."""
    directory = tmp_path_factory.mktemp("extension")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "tests")
    shutil.copytree(REPOSITORY, directory / "source", ignore=unwanted)
    command = [*PIP, "wheel", "--no-deps", "-w", str(directory), str(directory / "source")]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    (made,) = directory.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("installed")
    command = [*PIP, "install", "--no-deps", "--target", str(directory), str(wheel)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return directory


def as_extension(minion: Minion, installed: Path) -> Minion:
    minion.module_dir = None
    minion.environment = {"PYTHONPATH": str(installed)}
    return minion


def test_contents(wheel: Path) -> None:
    """Every module of the four directories, and nothing else."""
    places = {
        "pipmirror_lib": REPOSITORY / "_utils" / "pipmirror_lib",
        "pipmirror_lib/salt_modules": REPOSITORY / "_modules",
        "pipmirror_lib/salt_output": REPOSITORY / "_output",
        "pipmirror_lib/salt_states": REPOSITORY / "_states",
    }
    expected = {f"{place}/{path.relative_to(root)}" for place, root in places.items() for path in root.rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert wheel.name == f"saltext_pipmirror-{__version__}-py3-none-any.whl"


def test_salt_finds_it(minion: Minion, installed: Path) -> None:
    minion.pillar = {"target": "/srv/pip", "packages": ["alpha"], "platforms": [{"image": "debian:bookworm"}]}
    answer = as_extension(minion, installed).call("pipmirror.platforms")
    assert answer.value["default"]["platforms"]["debian-bookworm"]["image"] == "debian:bookworm"
    assert minion.call("docker_engine.ping", "/nonexistent").value is False
    assert minion.show("pipmirror.platforms").startswith("default: /srv/pip; highstate: build\n")


def test_without_it_there_is_nothing(minion: Minion) -> None:
    minion.module_dir = None
    assert "'pipmirror.platforms' is not available" in minion.call("pipmirror.platforms").stderr


def test_the_states_work_from_it(site: Site, installed: Path) -> None:
    as_extension(site.minion, installed)
    answer = site.good(site.apply())
    assert site.state(answer)["changes"]["alpha"]["new"] == "1.0"
    assert "pipmirror-modules" not in answer.states
    site.check(PLATFORM)
    assert site.state(site.good(site.apply()))["changes"] == {}
