"""A machine of one's own: a container in which Salt manages the system, by this checkout and this interpreter.

What it sees of the host lies at the same paths inside, so that a `Minion`'s commands work there as they are.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.salt import REPOSITORY, Answer, Minion

_VARIABLES = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", "DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Box:
    name: str

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program as root; whether it went well is for the caller to say."""
        return _docker("exec", *_options("-e", {**_VARIABLES, **variables}), self.name, *words)

    def good(self, *words: str | Path, **variables: str) -> str:
        done = self.run(*words, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def call(self, minion: Minion, *words: str) -> Answer:
        return minion.call(*words, prefix=("docker", "exec", *_options("-e", _VARIABLES), self.name))

    def apply(self, minion: Minion, sls: str) -> Answer:
        return self.call(minion, "state.apply", sls)

    def address(self, network: str = "bridge") -> str:
        form = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
        return _good("inspect", "--format", form, self.name).strip()


@contextmanager
def box(image: str, mounts: Iterable[Path], *, network: str = "bridge") -> Iterator[Box]:
    """A container that does nothing by itself; the interpreter and the checkout are read-only there."""
    name = f"pipmirror-box-{uuid.uuid4().hex[:8]}"
    interpreter = Path(sys.base_prefix).resolve()
    seen = {REPOSITORY: "ro", Path(sys.prefix): "ro", **dict.fromkeys(mounts, "rw")}
    if interpreter != Path("/usr"):  # the image has its own there
        seen[interpreter] = "ro"
    volumes = [word for path, mode in seen.items() for word in ("-v", f"{path}:{path}:{mode}")]
    _good("run", "-d", "--init", "--name", name, "--network", network, *volumes, image, "sleep", "3600")
    try:
        yield Box(name)
    finally:
        _docker("rm", "-f", "-v", name)


@contextmanager
def closed_network() -> Iterator[str]:
    """A network that leads nowhere but to the containers that are in it."""
    name = f"pipmirror-net-{uuid.uuid4().hex[:8]}"
    _good("network", "create", "--internal", name)
    try:
        yield name
    finally:
        _docker("network", "rm", name)


def join(network: str, member: Box) -> None:
    _good("network", "connect", network, member.name)


def _options(option: str, values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (option, f"{name}={value}")]


def _docker(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["docker", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def _good(*words: str) -> str:
    done = _docker(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout
