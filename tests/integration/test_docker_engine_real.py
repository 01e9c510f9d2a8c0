"""The distribution's own engines on a machine of ours, from nothing: they run containers, and go again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import Ensure
from tests.support.box import Box, box
from tests.support.salt import Minion

pytestmark = pytest.mark.integration

# The smallest image that says something.
IMAGE = "tar -ch /bin/echo /bin/sleep /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu/libc.so.6 2>/dev/null"
# What an engine needs, where a container may not simply have everything: the machine itself may lack some of it.
RIGHTS = [f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE")]
RIGHTS += [f"--security-opt={part}=unconfined" for part in ("seccomp", "apparmor", "systempaths")]
RIGHTS += ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup"]
DISKS = ["--volume=/var/lib/docker", "--volume=/var/lib/containers"]


class Machine:
    def __init__(self, box: Box, minion: Minion) -> None:
        self.box = box
        self.minion = minion

    def apply(self, sls: str = "docker", **docker: Any) -> dict[str, Any]:
        self.minion.extra_pillar = {"docker": docker}
        return self.box.apply(self.minion, sls).states

    def good(self, sls: str = "docker", **docker: Any) -> dict[str, Any]:
        states = self.apply(sls, **docker)
        bad = {sid: state["comment"] for sid, state in states.items() if state["result"] is not True}
        assert not bad, json.dumps(bad, indent=1)
        return {sid: state["changes"] for sid, state in states.items() if state["changes"]}

    def docker(self, *words: str) -> str:
        return self.box.good("docker", *words).strip()


@pytest.fixture(scope="module")
def machine(ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Its engine judges its own configuration, and its containers lie on a real disk."""
    ensure("debian:trixie")
    directory = tmp_path_factory.mktemp("engine")
    with box("debian:trixie", [directory], bare=True, options=[*RIGHTS, *DISKS]) as bare:
        bare.good("sh", "-c", "echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/fast")
        yield Machine(bare, Minion(directory / "minion"))


def test_a_running_engine_from_nothing(machine: Machine) -> None:
    changed = machine.good(provider="distro", daemon={"log-driver": "local"})
    assert {"docker-needs", "docker-packages", "docker-config", "docker-service"} == set(changed)
    machine.box.good("sh", "-c", f"{IMAGE} | docker import - tiny")
    assert machine.docker("run", "--rm", "tiny", "/bin/echo", "hello") == "hello"
    assert machine.docker("info", "--format", "{{.LoggingDriver}}") == "local"


def test_nothing_more_to_do(machine: Machine) -> None:
    pid = machine.box.good("cat", "/var/run/docker.pid")
    assert machine.good(provider="distro", daemon={"log-driver": "local"}) == {}
    assert machine.box.good("cat", "/var/run/docker.pid") == pid


def test_what_the_engine_would_not_start_with(machine: Machine) -> None:
    state = machine.apply(provider="distro", daemon={"log-driver": "local", "mtu": "many"})["docker-config"]
    assert state["result"] is False
    assert "docker:daemon: dockerd refuses this configuration" in state["comment"]
    assert machine.docker("run", "--rm", "tiny", "/bin/echo", "hello") == "hello"


def test_not_taken_away_while_it_is_used(machine: Machine) -> None:
    machine.docker("run", "--detach", "--name", "worker", "tiny", "/bin/sleep", "600")
    state = machine.apply("docker.clean", provider="distro")["docker-idle"]
    assert state["result"] is False
    assert "Containers run (worker)" in state["comment"]
    assert machine.docker("ps", "--format", "{{.Names}}") == "worker"
    machine.docker("rm", "--force", "worker")
    assert {"docker-packages", "docker-service", "docker-config"} <= set(
        machine.good("docker.clean", provider="distro")
    )
    assert machine.box.run("test", "-e", "/var/run/docker.sock").returncode != 0
    assert machine.box.good("ls", "/var/lib/docker")
    assert "docker-data" in machine.good("docker.clean", provider="distro", remove_data=True)
    assert machine.box.good("ls", "/var/lib/docker") == "", "a disk of its own, which cannot be removed itself"


def test_podman(machine: Machine) -> None:
    assert {"docker-packages", "docker-service"} == set(machine.good(provider="podman"))
    ping = machine.box.call(machine.minion, "docker_engine.ping", "/run/podman/podman.sock")
    assert ping.value is True
    assert machine.good(provider="podman") == {}
    assert {"docker-packages", "docker-service"} == set(machine.good("docker.clean", provider="podman"))
