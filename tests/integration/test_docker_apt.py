"""The docker state on real Debian releases, against a signed repository of ours; their engine is a small stand-in.

Each release has one machine, without any network: the repository is on its loopback. What one test leaves, the next
begins with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ensure
from tests.support.aptrepo import AptRepository
from tests.support.box import Box, box
from tests.support.salt import REPOSITORY, Minion

pytestmark = pytest.mark.integration

URI = "http://127.0.0.1:8000"
LIST = "/etc/apt/sources.list.d/docker.list"
SOURCES = "/etc/apt/sources.list.d/docker.sources"
KEYRING = "/etc/apt/keyrings/docker.asc"
DAEMON = "/etc/docker/daemon.json"
NAMES = ("docker-ce", "docker-ce-cli", "containerd.io")


@dataclass
class Machine:
    release: str
    box: Box
    minion: Minion
    repository: AptRepository

    def apply(self, sls: str = "docker", test: bool = False, **docker: Any) -> dict[str, Any]:
        """The states by ID; what is declared besides is the repository."""
        repo = {"uri": URI, "key_sha256": self.repository.key_sha256, **docker.pop("repo", {})}
        self.minion.extra_pillar = {"docker": {"repo": repo, **docker}}
        return self.box.apply(self.minion, sls, **({"test": True} if test else {})).states

    def good(self, sls: str = "docker", **docker: Any) -> dict[str, Any]:
        """What was changed, by ID; all went well."""
        states = self.apply(sls, **docker)
        bad = {sid: state["comment"] for sid, state in states.items() if state["result"] is not True}
        assert not bad, json.dumps(bad, indent=1)
        return {sid: state["changes"] for sid, state in states.items() if state["changes"]}

    def fails(self, sid: str, **docker: Any) -> str:
        """Why that state fails; whatever else does not succeed only follows from it."""
        states = self.apply(**docker)
        assert states[sid]["result"] is False, states[sid]
        others = [state["comment"] for other, state in states.items() if state["result"] is False and other != sid]
        assert all("requisite" in comment for comment in others), others
        assert not any(state["changes"] for state in states.values()), states
        return str(states[sid]["comment"])

    def versions(self) -> dict[str, str]:
        """What is installed of ours."""
        shown = self.box.good("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\n")
        lines = [line.split() for line in shown.splitlines()]
        return {name: version for status, name, version in lines if status[1] == "i" and name in (*NAMES, "docker.io")}

    def held(self) -> set[str]:
        return set(self.box.good("apt-mark", "showhold").split())

    def read(self, path: str) -> str:
        return self.box.good("cat", path)

    def is_there(self, path: str) -> bool:
        return self.box.run("test", "-e", path).returncode == 0

    def pid(self) -> str:
        return self.read("/var/run/docker.pid")

    def ours(self, version: str) -> dict[str, str]:
        full = f"5:{version}-1~tests"
        return {"docker-ce": full, "docker-ce-cli": full, "containerd.io": self.versions().get("containerd.io", "")}


def start(release: str, directory: Path, bare: Box) -> Machine:
    directory.chmod(0o755)
    repository = AptRepository(directory / "repository", directory / "gnupg")
    repository.__enter__()
    for version in ("27.3.1", "27.5.0"):
        repository.add_docker(version)
    repository.publish([release])
    # Nothing of the distribution's own is in reach, and nothing is needed.
    bare.good("sh", "-c", "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir -p /etc/docker")
    serve = ("-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", str(repository.directory))
    bare.background(*bare.python, *serve)
    return Machine(release, bare, Minion(directory / "minion"), repository)


def machine_of(release: str, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    ensure(f"debian:{release}")
    directory = tmp_path_factory.mktemp(release)
    # One test mounts a volume, as an engine would.
    rights = ["--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined"]
    with box(f"debian:{release}", [directory], network="none", bare=True, options=rights) as bare:
        machine = start(release, directory, bare)
        try:
            yield machine
        finally:
            machine.repository.__exit__()


@pytest.fixture(scope="module", params=["bullseye", "bookworm", "trixie"])
def machine(
    request: pytest.FixtureRequest, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    yield from machine_of(request.param, ensure, tmp_path_factory)


def test_wrong_key(machine: Machine) -> None:
    assert "does not match" in machine.fails("docker-keyring", repo={"key_sha256": "0" * 64})
    assert not machine.is_there(LIST)


def test_announced_first(machine: Machine) -> None:
    states = machine.apply(test=True)
    assert {sid for sid, state in states.items() if state["result"] is None} >= {"docker-keyring", "docker-packages"}
    assert not [sid for sid, state in states.items() if state["result"] is False]
    assert (machine.versions(), machine.is_there(LIST), machine.is_there(KEYRING)) == ({}, False, False)


def test_from_nothing_to_a_pinned_engine(machine: Machine) -> None:
    changed = machine.good(version="27.3.1", hold=True)
    assert {"docker-keyring", "docker-repository", "docker-packages", "docker-service"} <= set(changed)
    assert machine.versions() == machine.ours("27.3.1")
    assert machine.held() == set(NAMES)
    assert machine.read(LIST) == f"deb [arch=amd64 signed-by={KEYRING}] {URI}/debian {machine.release} stable\n"
    assert machine.read(KEYRING) == machine.repository.key.read_text()
    assert machine.box.call(machine.minion, "docker_engine.ping").value is True


def test_nothing_more_to_do(machine: Machine) -> None:
    pid = machine.pid()
    assert machine.good(version="27.3.1", hold=True) == {}
    states = machine.apply(test=True, version="27.3.*", hold=True)
    assert {state["result"] for state in states.values()} == {True}
    assert machine.pid() == pid


def test_a_repository_that_was_tampered_with(machine: Machine) -> None:
    machine.repository.add_docker("27.9.9")
    machine.repository.publish([machine.release])
    machine.repository.tamper(machine.release)
    machine.fails("docker-packages", version="27.9.*", hold=True)
    assert machine.versions() == machine.ours("27.3.1")
    assert machine.held() == set(NAMES)


def test_a_repository_that_somebody_else_signs(machine: Machine) -> None:
    pinned = machine.repository.key_sha256
    own = machine.repository.key.read_text()
    machine.repository.sign_anew()
    machine.repository.publish([machine.release])
    machine.repository.key.write_text(own)
    machine.fails("docker-packages", version="27.9.*", hold=True, repo={"key_sha256": pinned})
    assert machine.versions() == machine.ours("27.3.1")
    machine.repository.sign_anew()
    machine.repository.publish([machine.release])


def test_other_version_and_no_hold(machine: Machine) -> None:
    changed = machine.good(version="27.5.*", hold=True)
    assert changed["docker-packages"]["docker-ce"]["new"] == "5:27.5.0-1~tests"
    assert machine.held() == set(NAMES)
    changed = machine.good()
    assert set(changed) == {"docker-released", "docker-held"}
    assert (machine.held(), machine.versions()) == (set(), machine.ours("27.5.0"))
    machine.box.good("apt-mark", "hold", "docker-ce")
    assert machine.good() == {}
    machine.good(hold=True)
    assert machine.held() == set(NAMES)
    assert machine.good(hold=True) == {}
    machine.good()
    assert machine.held() == {"docker-ce"}, "an administrator's own hold"
    machine.box.good("apt-mark", "unhold", "docker-ce")


def test_clean(machine: Machine) -> None:
    machine.box.good("mkdir", "-p", "/var/lib/docker/volumes")
    states = machine.apply("docker.clean", test=True)
    assert False not in {state["result"] for state in states.values()}
    assert machine.versions() == machine.ours("27.5.0")
    changed = machine.good("docker.clean")
    assert {"docker-packages", "docker-repository", "docker-service"} <= set(changed)
    left = [path for path in (LIST, SOURCES, KEYRING, "/var/run/docker.sock") if machine.is_there(path)]
    assert (machine.versions(), left) == ({}, [])
    assert machine.is_there("/var/lib/docker/volumes")
    assert machine.good("docker.clean") == {}


@pytest.fixture(scope="module")
def trixie(ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One more machine, which has to get everything from Salt's own file server."""
    for machine in machine_of("trixie", ensure, tmp_path_factory):
        roots = machine.minion.directory / "roots"
        (roots / "keys").mkdir(parents=True)
        (roots / "keys" / "docker.asc").write_text(machine.repository.key.read_text())
        for part in ("salt/docker", "_modules", "_states", "_utils"):
            (roots / Path(part).name).symlink_to(REPOSITORY / part)
        machine.minion.file_root, machine.minion.module_dir = roots, None
        yield machine


def test_cold_minion(trixie: Machine) -> None:
    own = {"repo": {"key": "salt://keys/docker.asc"}, "daemon": {"mtu": 1300}}
    assert {"docker-modules", "docker-config", "docker-service"} <= set(trixie.good(**own))
    assert json.loads(trixie.read(DAEMON)) == {"mtu": 1300}
    assert trixie.good(**own) == {}
    trixie.good()
    assert not trixie.is_there(DAEMON)


def test_key_from_the_file_server_is_pinned_too(trixie: Machine) -> None:
    own = {"key": "salt://keys/docker.asc"}
    trixie.box.good("rm", KEYRING)
    trixie.fails("docker-keyring", repo={**own, "key_sha256": "0" * 64})
    assert not trixie.is_there(KEYRING)
    assert set(trixie.good(repo=own)) == {"docker-keyring"}


def test_the_other_form_is_replaced(trixie: Machine) -> None:
    assert set(trixie.good(repo={"format": "deb822"})) == {"docker-repository", "docker-repository-other-form"}
    assert (trixie.is_there(LIST), trixie.is_there(SOURCES)) == (False, True)
    assert f"URIs: {URI}/debian\nSuites: trixie\n" in trixie.read(SOURCES)
    trixie.box.good("apt-get", "update")
    assert trixie.box.good("apt-cache", "madison", "docker-ce").count(f"{URI}/debian trixie/stable") == 2
    assert trixie.good(repo={"format": "deb822"}) == {}
    trixie.good()
    assert (trixie.is_there(LIST), trixie.is_there(SOURCES)) == (True, False)


def test_an_older_version_of_what_is_held(trixie: Machine) -> None:
    trixie.good(version="27.5.0", hold=True)
    trixie.good(version="27.3.1", hold=True)
    assert (trixie.versions(), trixie.held()) == (trixie.ours("27.3.1"), set(NAMES))
    assert trixie.good(version="27.3.1", hold=True) == {}


def test_daemon_json(trixie: Machine) -> None:
    trixie.box.good("sh", "-c", f"echo '{{\"mtu\": 1400}}' > {DAEMON}")
    before = trixie.pid()
    changed = trixie.good(daemon={"log-driver": "local"})
    assert changed["docker-config"] == {"log-driver": "set"}
    assert json.loads(trixie.read(DAEMON)) == {"mtu": 1400, "log-driver": "local"}
    after = trixie.pid()
    assert after != before, "the engine did not read it again"
    assert trixie.good(daemon={"log-driver": "local"}) == {}
    assert "no-such-option" in trixie.fails("docker-config", daemon={"no-such-option": True})
    assert json.loads(trixie.read(DAEMON)) == {"mtu": 1400, "log-driver": "local"}
    assert trixie.pid() == after, "the engine was restarted for nothing"
    assert set(trixie.good()) == {"docker-config", "docker-service"}
    assert json.loads(trixie.read(DAEMON)) == {"mtu": 1400}


def test_a_run_that_ended_before_the_restart(trixie: Machine) -> None:
    """The next one makes up for it; and nothing is restarted without need."""
    before = trixie.pid()
    states = trixie.apply(users=["nobody-knows"], daemon={"mtu": 1200})
    assert (states["docker-config"]["result"], states["docker-users"]["result"]) == (True, False)
    assert trixie.pid() == before
    states = trixie.apply(test=True, daemon={"mtu": 1200})
    assert {states[sid]["result"] for sid in ("docker-config", "docker-service")} == {None}
    assert set(trixie.good(daemon={"mtu": 1200})) == {"docker-config", "docker-service"}
    assert trixie.pid() != before
    assert trixie.good(daemon={"mtu": 1200}) == {}
    trixie.good()


def test_users(trixie: Machine) -> None:
    trixie.box.good("useradd", "joe")
    assert trixie.good(users=["joe"])["docker-users"]
    assert "docker" in trixie.box.good("id", "-nG", "joe").split()
    assert trixie.good(users=["joe"]) == {}


def test_another_provider(trixie: Machine) -> None:
    """Never while containers run, unless it is said twice."""
    trixie.repository.add("docker.io", "26.1.5", conflicts="docker-ce")
    trixie.repository.add("iptables", "1.8")
    trixie.repository.add("docker-cli", "26.1.5")
    trixie.repository.publish(["trixie"])
    trixie.good(hold=True)
    before, pid = trixie.versions(), trixie.pid()
    reason = trixie.fails("docker-engine", provider="distro")
    assert "installed (docker-ce, docker-ce-cli, containerd.io)" in reason
    trixie.box.good("touch", "/run/stand-in-runs")
    replace = {"provider": "distro", "replace_conflicting": True}
    assert "Containers run (web)" in trixie.fails("docker-idle", **replace)
    assert (trixie.versions(), trixie.pid()) == (before, pid)
    trixie.good(**replace, force=True)
    assert (trixie.versions(), trixie.held()) == ({"docker.io": "26.1.5"}, set())
    assert trixie.good(provider="distro") == {}


def test_another_provider_that_cannot_be_had(trixie: Machine) -> None:
    """Nothing is removed for it."""
    pid = trixie.pid()
    states = trixie.apply(version="99.9", replace_conflicting=True, force=True)
    assert states["docker-fetched"]["result"] is False
    assert "Version '5:99.9-*' for 'docker-ce' was not found" in states["docker-fetched"]["comment"]
    assert states["docker-conflicting"]["result"] is False
    assert (trixie.versions(), trixie.pid()) == ({"docker.io": "26.1.5"}, pid)


def test_an_engine_that_does_not_tell_what_it_runs(trixie: Machine) -> None:
    pid = trixie.pid()
    trixie.box.good("touch", "/run/stand-in-is-busy")
    reason = trixie.fails("docker-idle", replace_conflicting=True)
    trixie.box.good("rm", "/run/stand-in-is-busy")
    assert "does not tell its containers" in reason
    assert (trixie.versions(), trixie.pid()) == ({"docker.io": "26.1.5"}, pid)


def test_clean_while_containers_run(trixie: Machine) -> None:
    states = trixie.apply("docker.clean", provider="distro")
    assert states["docker-idle"]["result"] is False
    assert trixie.versions() == {"docker.io": "26.1.5"}
    trixie.box.good("mkdir", "-p", "/var/lib/docker/volumes")
    # The volume of a container whose engine was killed.
    volume = "/var/lib/docker/volumes/nfs"
    trixie.box.good("sh", "-c", f"mkdir {volume} /srv/data; touch /srv/data/precious; mount --bind /srv/data {volume}")
    told = {"provider": "distro", "force": True, "remove_data": True, "users": ["joe"]}
    states = trixie.apply("docker.clean", **told)
    assert f"Still mounted: {volume}; unmount that first" in states["docker-data"]["comment"]
    assert trixie.is_there("/srv/data/precious")
    trixie.box.good("umount", volume)
    trixie.good("docker.clean", **told)
    assert trixie.is_there("/srv/data/precious")
    assert "iptables" in trixie.box.good("dpkg-query", "--show", "iptables"), "who knows what else works with it"
    assert (trixie.versions(), trixie.is_there("/var/lib/docker")) == ({}, False)
    assert "docker" not in trixie.box.good("id", "-nG", "joe").split()
