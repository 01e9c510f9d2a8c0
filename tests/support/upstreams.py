"""Package indexes that others run, each started for real on the loopback: devpi, pypiserver, a directory behind nginx.

devpi and pypiserver have a virtual environment of their own; nginx is the distribution's.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from packaging.utils import canonicalize_name

from tests.support.dists import name_and_version

USER, PASSWORD = "reader", "correct-horse"


@dataclass(frozen=True)
class Upstream:
    """What an administrator writes under `index`, and what a test may want to look at."""

    index: dict[str, Any]
    place: Path


def install(directory: Path) -> Path:
    """The programs of devpi and pypiserver; takes some twenty seconds."""
    make = [sys.executable, "-m", "venv", "--without-pip", str(directory)]
    subprocess.run(make, timeout=120, check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "--python", str(directory / "bin" / "python"), "install", "-q"]
    subprocess.run([*pip, "devpi-server", "pypiserver[passlib]"], timeout=300, check=True, capture_output=True)
    return directory / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], url: str, log: Path) -> Iterator[None]:
    """The program, once it answers there, and until the test is done with it."""
    with log.open("wb") as output:
        program = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        for _ in range(600):
            assert program.poll() is None, log.read_text()
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=5).status_code < 500:
                    break
            time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        yield
    finally:
        program.terminate()
        program.wait(timeout=30)


@contextlib.contextmanager
def pypiserver(programs: Path, place: Path, files: Iterable[Path]) -> Iterator[Upstream]:
    """A flat directory that it shows as an index; only who knows the password may read. Its hashes are md5."""
    packages, users, port = place / "packages", place / "users", free_port()
    packages.mkdir(parents=True)
    for path in files:
        shutil.copy(path, packages)
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    users.write_text(f"{USER}:{{SHA}}{digest}\n")
    command = [str(programs / "pypi-server"), "run", "-i", "127.0.0.1", "-p", str(port), "--disable-fallback"]
    url = f"http://127.0.0.1:{port}/"
    with _running([*command, "-P", str(users), "-a", "list,download,update", str(packages)], url, place / "log"):
        yield Upstream({"url": f"{url}simple/", "username": USER, "password": PASSWORD}, place)


@contextlib.contextmanager
def nginx(place: Path, files: Iterable[Path]) -> Iterator[Upstream]:
    """Directories that nginx lists: no hashes, names percent-encoded, pages compressed."""
    for path in files:
        project = place / "root" / "simple" / canonicalize_name(name_and_version(path.name)[0])
        project.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, project)
    port = free_port()
    server = f"listen 127.0.0.1:{port}; root {place}/root; autoindex on; gzip on; gzip_min_length 1; gzip_proxied any;"
    temporary = "".join(
        f"{kind}_temp_path {place}/tmp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = (
        f"{'user root;' if os.geteuid() == 0 else ''} daemon off; pid {place}/pid; error_log {place}/error.log;"
        f"events {{}} http {{ access_log off; default_type application/octet-stream; {temporary}"
        f"server {{ {server} }} }}"
    )
    (place / "nginx.conf").write_text(configuration)
    url = f"http://127.0.0.1:{port}/simple/"
    command = ["nginx", "-e", str(place / "error.log"), "-p", str(place), "-c", str(place / "nginx.conf")]
    with _running(command, url, place / "log"):
        yield Upstream({"url": url}, place)


@contextlib.contextmanager
def devpi(programs: Path, place: Path, files: Iterable[Path]) -> Iterator[Upstream]:
    """An index of one user."""
    data, port = place / "data", free_port()
    place.mkdir(parents=True, exist_ok=True)
    init = [str(programs / "devpi-init"), "--serverdir", str(data), "--no-root-pypi", "--root-passwd", PASSWORD]
    subprocess.run(init, timeout=120, check=True, capture_output=True)
    url = f"http://127.0.0.1:{port}/"
    command = [str(programs / "devpi-server"), "--serverdir", str(data), "--port", str(port), "--offline-mode"]
    with _running(command, url, place / "log"):
        _fill_devpi(url, files)
        yield Upstream({"url": f"{url}{USER}/stable/+simple/"}, place)


def _fill_devpi(url: str, files: Iterable[Path]) -> None:
    with requests.Session() as session:
        session.put(f"{url}{USER}", json={"password": PASSWORD, "email": ""}, timeout=30).raise_for_status()
        login = session.post(f"{url}+login", json={"user": USER, "password": PASSWORD}, timeout=30)
        session.auth = (USER, login.json()["result"]["password"])
        index = {"bases": [], "volatile": True}
        session.put(f"{url}{USER}/stable", json=index, timeout=30).raise_for_status()
        for path in files:
            name, version = name_and_version(path.name)
            kind = "bdist_wheel" if path.name.endswith(".whl") else "sdist"
            form = {":action": "file_upload", "name": name, "version": version, "filetype": kind, "pyversion": "py3"}
            content = {"content": (path.name, path.read_bytes())}
            session.post(f"{url}{USER}/stable/", data=form, files=content, timeout=60).raise_for_status()
