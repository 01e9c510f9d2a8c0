"""Readers while wheels come and go: no install fails, and no page names what is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from pipmirror_lib import sync

from tests.support.churn import TURNS
from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import PLATFORM, declare, equip
from tests.support.salt import REPOSITORY
from tests.support.webserver import WebServer, serving

pytestmark = pytest.mark.integration

UV = Path(sys.executable).with_name("uv")
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
SECONDS = 20
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PIP_", "UV_")) and not name.lower().endswith("_proxy")
} | {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "UV_NO_CONFIG": "1",
    "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/_utils",
}


@pytest.fixture
def churning(tmp_path: Path) -> Iterator[Path]:
    """A mirror, and a process that goes on changing it."""
    tmp_path.chmod(0o755)
    with LocalIndex() as index:
        for name, version in (("alpha", "1.0"), ("beta", "1.0"), ("beta", "2.0"), ("beta", "3.0"), ("gamma", "1.0")):
            requires = ["beta"] if name == "alpha" else []
            index.add(make_wheel(tmp_path / "shelf", name, version, requires=requires))
        first = declare(tmp_path, index.url, packages=TURNS[0])
        equip(first)
        assert sync.sync(first)["result"]
        command = [sys.executable, "-m", "tests.support.churn", str(tmp_path), index.url]
        with (tmp_path / "churn.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, env=ENVIRONMENT)
        try:
            yield tmp_path
            assert process.poll() is None, (tmp_path / "churn.log").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


class Readers:
    """Everybody who reads until the time is over; `faults` are what they met, `done` how often it went well."""

    def __init__(self, web: WebServer, work: Path) -> None:
        self.index = f"{web.url}/{PLATFORM}/simple/"
        self.work = work
        self.faults: list[str] = []
        self.done: dict[str, int] = {}
        self._end = time.monotonic() + SECONDS

    def over(self) -> bool:
        return bool(self.faults) or time.monotonic() > self._end

    def go_on(self, once: Callable[[], str]) -> None:
        """Until the time is over, or anybody has met a fault."""
        number = 0
        while not self.over():
            if fault := once():
                self.faults.append(f"{once.__name__}, after {number} times: {fault}")
                return
            number += 1
        self.done[once.__name__] = number

    def pip(self) -> str:
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(self.work / "pip"), "--upgrade"]
        return self._run([*command, "--cache-dir", str(self.work / "pip-cache"), "--index-url", self.index, "alpha"])

    def uv(self) -> str:
        command = [str(UV), "pip", "install", "-q", "--target", str(self.work / "uv"), "--reinstall", "--upgrade"]
        return self._run([*command, "--cache-dir", str(self.work / "uv-cache"), "--index-url", self.index, "alpha"])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
        return done.stdout + done.stderr if done.returncode else ""

    def pages(self) -> str:
        """Every file that a page names, a moment after the page was read: what it says of the file is true."""
        with requests.Session() as session:
            root = session.get(self.index, headers={"Accept": JSON_TYPE}, timeout=10)
            for project in root.json()["projects"]:
                url = urljoin(self.index, f"{project['name']}/")
                page = session.get(url, headers={"Accept": JSON_TYPE}, timeout=10)
                time.sleep(0.05)
                if page.status_code == 404 or "json" not in page.headers["Content-Type"]:
                    continue  # the project went after the root was read
                for file in page.json()["files"]:
                    name = urljoin(url, file["url"])
                    for place, digest in ((name, file["hashes"]), (f"{name}.metadata", file["core-metadata"])):
                        got = session.get(place, timeout=10)
                        if got.status_code != 200 or sha256(got.content).hexdigest() != digest["sha256"]:
                            return f"{place}: {got.status_code}"
        return ""


def test_readers_while_wheels_come_and_go(churning: Path) -> None:
    with serving(churning / "web", churning / "target") as web:
        readers = Readers(web, churning)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(readers.go_on, (readers.pip, readers.uv, readers.pages)))
        assert readers.faults == []
        missing = [one for one in web.asked() if one.status not in (200, 301, 304)]
    turns = int((churning / "turns").read_text())
    assert turns > len(TURNS), "nothing came or went"
    assert all(readers.done[name] for name in ("pip", "uv", "pages")), readers.done
    assert {one.path.rpartition("/simple/")[2] for one in missing} <= {"gamma/", "beta/"}
