"""A machine of one's own: a container in which Salt manages the system, by this checkout and this interpreter.

What it sees of the host lies at the same paths inside, so that a `Minion`'s commands work there as they are.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.salt import REPOSITORY, Answer, Minion

_VARIABLES = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", "DEBIAN_FRONTEND": "noninteractive"}
_MACHINE = "/pipmirror-machine"
# Salt looks for it where the system says that libraries are; a system's own programs shall have the system's own.
_LIBCRYPTO = (
    f"ldconfig -p | grep -q libcrypto.so || {{ ln -s {_MACHINE}/lib/libcrypto.so.* /usr/local/lib/ && ldconfig; }}"
)


@dataclass(frozen=True)
class Box:
    name: str
    python: tuple[str, ...] = ()

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program as root; whether it went well is for the caller to say."""
        return _docker("exec", *_options("-e", {**_VARIABLES, **variables}), self.name, *words)

    def good(self, *words: str | Path, **variables: str) -> str:
        done = self.run(*words, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def background(self, *words: str | Path) -> None:
        """Start a program that ends with the machine."""
        _good("exec", "--detach", *_options("-e", _VARIABLES), self.name, *map(str, words))

    def call(self, minion: Minion, *words: str, **arguments: Any) -> Answer:
        prefix = ("docker", "exec", *_options("-e", _VARIABLES), self.name, *self.python)
        return minion.call(*words, prefix=prefix, **arguments)

    def apply(self, minion: Minion, sls: str, **arguments: Any) -> Answer:
        return self.call(minion, "state.apply", sls, **arguments)

    def address(self, network: str = "bridge") -> str:
        form = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
        return _good("inspect", "--format", form, self.name).strip()


@contextmanager
def box(
    image: str, mounts: Iterable[Path], *, network: str = "bridge", bare: bool = False, options: Iterable[str] = ()
) -> Iterator[Box]:
    """A container that does nothing by itself; the interpreter and the checkout are read-only there.

    A `bare` image need not have a Python, nor the libraries of ours.
    """
    name = f"pipmirror-box-{uuid.uuid4().hex[:8]}"
    interpreter = Path(sys.base_prefix).resolve()
    seen = {REPOSITORY: "ro", Path(sys.prefix): "ro", **dict.fromkeys(mounts, "rw")}
    if interpreter != Path("/usr"):  # the image has its own there
        seen[interpreter] = "ro"
    volumes = [word for path, mode in seen.items() for word in ("-v", f"{path}:{path}:{mode}")]
    python, more = _whole_interpreter() if bare else ((), ())
    run = ("run", "-d", "--init", "--name", name, "--network", network, *volumes, *more, *options)
    _good(*run, image, "sleep", "3600")
    made = Box(name, python)
    try:
        if bare:
            made.good("sh", "-c", _LIBCRYPTO)
        yield made
    finally:
        _docker("rm", "-f", "-v", name)


def _whole_interpreter() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """This interpreter with the libraries of this machine, for a system with older ones or none: command, volumes.

    What it starts in turn has the system's own again.
    """
    libraries, program = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH")), Path(sys.executable).resolve()
    (loader,) = libraries.glob("ld-linux-*.so.*")
    seen = {libraries: f"{_MACHINE}/lib", program: f"{_MACHINE}/python"}
    if Path(sys.base_prefix) == Path("/usr"):
        seen[Path(sysconfig.get_path("stdlib"))] = sysconfig.get_path("stdlib")
    volumes = tuple(word for path, where in seen.items() for word in ("-v", f"{path}:{where}:ro"))
    search = (
        f"{Path(sys.base_prefix).resolve()}/lib:{_MACHINE}/lib"  # its own first: the machine may have another one's
    )
    words = (f"{_MACHINE}/lib/{loader.name}", "--library-path", search, "--argv0", sys.executable)
    return (*words, f"{_MACHINE}/python"), volumes


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
