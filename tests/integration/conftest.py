"""The engine and the images that every integration test shares; nothing here is removed that was there before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipmirror_lib import images
from pipmirror_lib.engine import Engine
from pipmirror_lib.settings import Platform

from tests.support.leaks import nameless
from tests.support.localindex import LocalIndex
from tests.support.site import IMAGE, Site

Ensure = Callable[[str], None]


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.connect("")


@pytest.fixture(scope="session")
def ensure(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Ensure:
    """Have a base image: a machine without registry makes it from the distribution's packages."""
    workdir = tmp_path_factory.mktemp("images")

    def have(image: str) -> None:
        images.ensure(engine, Platform(name="tests", image=image, sets=()), workdir, lambda text: None)

    return have


@pytest.fixture
def site(tmp_path: Path, ensure: Ensure) -> Iterator[Site]:
    """A site of this test's own, with alpha -> beta on the index."""
    ensure(IMAGE)
    with LocalIndex() as index:
        site = Site(tmp_path, index, nameless=nameless())
        site.wheel("alpha", requires=["beta>=1"])
        site.wheel("beta", "1.0")
        site.wheel("beta", "2.0")
        yield site


@pytest.fixture(scope="session")
def setuptools(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheels of the real setuptools, wheel and flit, as a Python 3.11 target would have them."""
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
    wanted = ["-d", str(directory), "setuptools<81", "wheel<0.46", "flit_core<4"]
    subprocess.run([*command, *wanted], timeout=180, check=True, capture_output=True)
    return list(directory.glob("*.whl"))
