"""The SLS `docker` as Salt renders it, on minions that are told which system they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

REPOSITORY = Path(__file__).parents[2]
SALT_CALL = Path(sys.executable).parent / "salt-call"

SYSTEMD = {"os_family": "Debian", "osarch": "amd64", "init": "systemd"}
DEBIAN = {**SYSTEMD, "os": "Debian", "oscodename": "bookworm"}
UBUNTU = {**SYSTEMD, "os": "Ubuntu", "oscodename": "noble", "osarch": "arm64"}
MINT = {**SYSTEMD, "os": "Mint", "oscodename": "wilma"}
ROCKY = {**SYSTEMD, "os": "Rocky", "os_family": "RedHat", "osarch": "x86_64"}

# What is installed is the one thing that a test cannot choose: the package manager's own query is replaced.
DPKG_QUERY = """#!/bin/sh
for package in {installed}; do echo "install ok installed $package 1.0 all"; done
"""

Call = Callable[..., Any]
States = dict[str, dict[str, Any]]


@pytest.fixture
def salt_call(tmp_path: Path) -> Call:
    """Call a function on a minion with these grains and packages; `cold`: with nothing synced to it."""

    def call(
        *arguments: str,
        grains: dict[str, str],
        docker: Any = None,
        installed: str = "",
        cold: bool = False,
    ) -> Any:
        options: dict[str, Any] = {
            "root_dir": str(tmp_path / "root"),
            "file_client": "local",
            "id": "test",
            "grains": grains,
            "file_roots": {"base": [str(REPOSITORY), str(REPOSITORY / "salt")]},
            "pillar_roots": {"base": [str(tmp_path / "pillar")]},
        }
        if not cold:
            options["module_dirs"] = [str(REPOSITORY)]
        (tmp_path / "minion").write_text(json.dumps(options))
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "dpkg-query").write_text(DPKG_QUERY.format(installed=installed))
        (programs / "dpkg-query").chmod(0o755)
        command = [SALT_CALL, "--local", "--config-dir", tmp_path, "--out", "json", *arguments]
        if docker is not None:
            command.append(f"pillar={json.dumps({'docker': docker})}")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)["local"]

    return call


@pytest.fixture
def render(salt_call: Call) -> Callable[..., States]:
    """The states by ID, each `{"function": NAME, **arguments}`."""

    def render(**minion: Any) -> States:
        return {sid: _flat(body) for sid, body in salt_call("state.show_sls", "docker", **minion).items()}

    return render


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    (module,) = (key for key in body if not key.startswith("__"))
    flat = {"function": module}
    for item in body[module]:
        if isinstance(item, str):
            flat["function"] += f".{item}"
        else:
            flat.update(item)
    return flat


@pytest.mark.parametrize(
    ("grains", "key", "line"),
    [
        pytest.param(
            DEBIAN,
            "https://download.docker.com/linux/debian/gpg",
            "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc]"
            " https://download.docker.com/linux/debian bookworm stable",
            id="Debian",
        ),
        pytest.param(
            UBUNTU,
            "https://download.docker.com/linux/ubuntu/gpg",
            "deb [arch=arm64 signed-by=/etc/apt/keyrings/docker.asc]"
            " https://download.docker.com/linux/ubuntu noble stable",
            id="Ubuntu",
        ),
    ],
)
def test_docker_ce(render: Callable[..., States], grains: dict[str, str], key: str, line: str) -> None:
    states = render(grains=grains)
    assert list(states) == [
        "docker-prerequisites",
        "docker-keyring",
        "docker-repository",
        "docker-packages",
        "docker-engine",
    ]
    assert states["docker-keyring"]["name"] == "/etc/apt/keyrings/docker.asc"
    assert states["docker-keyring"]["source"] == key
    assert len(states["docker-keyring"]["source_hash"]) == len("sha256=") + 64
    assert states["docker-repository"]["name"] == "/etc/apt/sources.list.d/docker.list"
    assert states["docker-repository"]["contents"] == line
    assert {"file": "docker-keyring"} in states["docker-repository"]["require"]
    assert states["docker-packages"]["pkgs"] == ["docker-ce", "docker-ce-cli", "containerd.io"]
    assert states["docker-packages"]["refresh"] is True
    assert states["docker-packages"]["require"] == [{"file": "docker-repository"}]


def test_repository_of_ones_own(render: Callable[..., States]) -> None:
    repo = {"uri": "http://mirror.example/docker", "key": "salt://keys/docker.asc", "key_sha256": "0" * 64}
    states = render(grains=DEBIAN, docker={"repo": repo})
    assert states["docker-keyring"]["source"] == "salt://keys/docker.asc"
    assert states["docker-keyring"]["source_hash"] == "sha256=" + "0" * 64
    line = states["docker-repository"]["contents"]
    assert line.endswith(" http://mirror.example/docker/debian bookworm stable")


@pytest.mark.parametrize("grains", [DEBIAN, UBUNTU, MINT], ids=lambda grains: grains["os"])
def test_distro(render: Callable[..., States], grains: dict[str, str]) -> None:
    states = render(grains=grains, docker={"provider": "distro"})
    assert list(states) == ["docker-packages", "docker-engine"]
    assert states["docker-packages"]["pkgs"] == ["docker.io", "iptables"]
    assert states["docker-packages"]["install_recommends"] is False


def test_engine_with_an_init_system(render: Callable[..., States]) -> None:
    # Nothing of ours is needed then, so a cold minion does not sync either.
    states = render(grains=DEBIAN, cold=True)
    assert "docker-modules" not in states
    engine = states["docker-engine"]
    assert (engine["function"], engine["name"], engine["enable"]) == ("service.running", "docker", True)
    assert engine["require"] == [{"pkg": "docker-packages"}]


def test_engine_without_an_init_system(render: Callable[..., States]) -> None:
    states = render(grains={**DEBIAN, "init": "unknown"})
    assert "docker-modules" not in states
    assert states["docker-engine"]["function"] == "docker_engine.running"
    assert states["docker-engine"]["require"] == [{"pkg": "docker-packages"}]


@pytest.mark.parametrize(
    ("minion", "words"),
    [
        pytest.param({"grains": ROCKY}, ["Rocky", "docker:managed"], id="unknown system"),
        pytest.param({"grains": MINT}, ["Mint", "docker:provider to distro"], id="docker-ce on a derivative"),
        pytest.param({"docker": {"provider": "snap"}}, ["snap", "docker-ce or distro"], id="provider"),
        pytest.param({"installed": "docker.io"}, ["docker.io is installed"], id="docker-ce over docker.io"),
        pytest.param(
            {"installed": "docker-ce", "docker": {"provider": "distro"}},
            ["docker-ce is installed"],
            id="docker.io over docker-ce",
        ),
    ],
)
def test_what_cannot_be_done_is_one_failing_state(salt_call: Call, minion: dict[str, Any], words: list[str]) -> None:
    (result,) = salt_call("state.apply", "docker", "test=True", **{"grains": DEBIAN, **minion}).values()
    assert (result["result"], result["changes"]) == (False, {})
    assert (result["__id__"], result["name"]) == ("docker-engine", "docker")
    assert all(word in result["comment"] for word in words)


def test_where_salt_replaces_the_comment_under_test_the_name_says_it_all(salt_call: Call) -> None:
    grains: dict[str, Any] = {**ROCKY, "saltversioninfo": [3006, 9]}
    for arguments, key in ((["test=True"], "name"), ([], "comment")):
        (result,) = salt_call("state.apply", "docker", *arguments, grains=grains).values()
        assert result["result"] is False
        assert "docker:managed" in result[key]
    assert result["name"] == "docker"


@pytest.mark.parametrize("grains", [DEBIAN, ROCKY], ids=lambda grains: grains["os"])
def test_not_managed(salt_call: Call, grains: dict[str, str]) -> None:
    (result,) = salt_call("state.apply", "docker", grains=grains, docker={"managed": False}).values()
    assert result["result"] is True
    assert result["changes"] == {}
    assert result["__id__"] == "docker-engine"


class TestColdMinion:
    """On which `state.apply` finds none of our modules yet, and no init system would start the engine."""

    MINION: ClassVar[dict[str, Any]] = {
        "grains": {**DEBIAN, "init": "unknown"},
        "docker": {"provider": "distro"},
        "installed": "docker.io iptables",
        "cold": True,
    }

    def test_syncs_first(self, render: Callable[..., States]) -> None:
        states = render(**self.MINION)
        assert states["docker-modules"]["function"] == "saltutil.sync_all"
        assert states["docker-modules"]["reload_modules"] is True
        assert states["docker-engine"]["function"] == "docker_engine.running"
        assert {"saltutil": "docker-modules"} in states["docker-engine"]["require"]

    def test_announces_that_under_test(self, salt_call: Call) -> None:
        results = salt_call("state.apply", "docker", "test=True", **self.MINION).values()
        outcome = {result["__id__"]: result["result"] for result in results}
        assert outcome == {"docker-packages": True, "docker-modules": None, "docker-engine": None}

    def test_is_warm_afterwards(self, salt_call: Call, render: Callable[..., States]) -> None:
        (result,) = salt_call("state.sls_id", "docker-modules", "docker", **self.MINION).values()
        assert result["result"] is True
        assert "modules.docker_engine" in result["changes"]["modules"]
        assert "docker-modules" not in render(**self.MINION)
