"""The SLS `docker` as Salt renders it, on minions that are told which system they are.

docker_sls.yaml holds what comes out for systems that no test can run on: grains, pillar, states, reviewed by hand.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import salt.config
import salt.loader
import yaml

from tests.support.salt import served

REPOSITORY = Path(__file__).parents[2]
SALT_CALL = Path(sys.executable).parent / "salt-call"
SYSTEMS = yaml.safe_load(Path(__file__).with_name("docker_sls.yaml").read_text())

SYSTEMD = {"os_family": "Debian", "osarch": "amd64", "init": "systemd"}
DEBIAN = {**SYSTEMD, "os": "Debian", "oscodename": "bookworm"}
SOLARIS = {"os": "Solaris", "os_family": "Solaris", "osarch": "x86_64", "init": "unknown"}

# What is installed is the one thing that a test cannot choose: the package manager's own query is replaced.
DPKG_QUERY = """#!/bin/sh
for package in {installed}; do echo "install ok installed $package 1.0 all"; done
"""

Call = Callable[..., Any]
States = dict[str, dict[str, Any]]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Package managers that know of nothing installed."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("dpkg-query", "pacman"):
        (directory / name).write_text(DPKG_QUERY.format(installed=""))
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Not the checkout itself: Salt looks through all that lies there, a virtual environment too."""
    return served(tmp_path_factory.mktemp("roots"))


def options(directory: Path, roots: list[str], grains: dict[str, Any], cold: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "root_dir": str(directory / "root"),
        "file_client": "local",
        "id": "test",
        "grains": grains,
        "file_roots": {"base": roots},
        "pillar_roots": {"base": [str(directory / "pillar")]},
    }
    return found if cold else {**found, "module_dirs": [str(REPOSITORY)]}


@pytest.fixture
def salt_call(tmp_path: Path, programs: Path, roots: list[str]) -> Call:
    """Call a function on a minion with these grains and packages; `cold`: with nothing synced to it."""

    def call(
        *arguments: str,
        grains: dict[str, str],
        docker: Any = None,
        installed: str = "",
        cold: bool = False,
    ) -> Any:
        (tmp_path / "minion").write_text(json.dumps(options(tmp_path, roots, grains, cold)))
        (programs / "dpkg-query").write_text(DPKG_QUERY.format(installed=installed))
        command = [SALT_CALL, "--local", "--config-dir", tmp_path, "--out", "json", *arguments]
        if docker is not None:
            command.append(f"pillar={json.dumps({'docker': docker})}")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)["local"]

    return call


@pytest.fixture(scope="session")
def own_grains() -> dict[str, Any]:
    return dict(salt.loader.grains(salt.config.minion_config(None)))


@pytest.fixture
def render(
    tmp_path: Path, programs: Path, roots: list[str], own_grains: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., States]:
    """The states by ID, each `{"function": NAME, **arguments}`, in the order in which they would be applied."""
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def render(
        sls: str = "docker", *, grains: dict[str, Any], docker: Any = None, cold: bool = False, **more: Any
    ) -> States:
        own = {**own_grains, "pythonexecutable": "/salt/bin/python3", "package": "pip", **grains}
        opts = salt.config.minion_config(None)
        opts.update(
            options(tmp_path, roots, own, cold), cachedir=str(tmp_path / "cache"), conf_file=str(tmp_path / "minion")
        )
        opts.update(pillar={"docker": docker or {}}, **more)
        states = salt.loader.minion_mods(opts)["state.show_sls"](sls)
        assert isinstance(states, dict), "\n".join(states)
        return {sid: _flat(body) for sid, body in sorted(states.items(), key=lambda item: _order(item[1]))}

    return render


def _arguments(body: dict[str, Any]) -> tuple[str, list[Any]]:
    (module,) = (key for key in body if not key.startswith("__"))
    return module, body[module]


def _order(body: dict[str, Any]) -> int:
    return next(item["order"] for item in _arguments(body)[1] if isinstance(item, dict) and "order" in item)


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    module, arguments = _arguments(body)
    flat = {"function": module}
    for item in arguments:
        if isinstance(item, str):
            flat["function"] += f".{item}"
        else:
            flat.update(item)
    del flat["order"]
    return flat


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems(render: Callable[..., States], name: str) -> None:
    case = SYSTEMS[name]
    states = render(case.get("sls", "docker"), grains=case["grains"], docker=case.get("docker"))
    assert states == case["states"]
    assert list(states) == list(case["states"])


@pytest.mark.parametrize(
    ("docker", "function"), [({"managed": False}, "test.nop"), ({"hodl": True}, "test.configurable_test_state")]
)
def test_every_part_can_be_required(
    render: Callable[..., States], roots: list[str], tmp_path: Path, docker: Any, function: str
) -> None:
    """Also where none has anything to do, by an SLS that includes nothing else."""
    parts = [f"docker.{part}" for part in ("repo", "package", "config", "service", "python")]
    after = {"test.nop": [{"require": [{"sls": part} for part in parts]}]}
    (tmp_path / "other.sls").write_text(json.dumps({"include": parts, "after": after}))
    states = render("other", grains=DEBIAN, docker=docker, file_roots={"base": [*roots, str(tmp_path)]})
    assert states["docker-engine"]["function"] == function
    own = {"docker-repository", "docker-packages", "docker-config", "docker-service", "docker-python"}
    assert set(states) == {"docker-engine", "after", *own}
    assert all(states[sid]["require"] == [{"sls": "docker"}] for sid in own)


def test_clean_has_nothing_to_do(render: Callable[..., States]) -> None:
    states = render("docker.clean", grains=DEBIAN, docker={"managed": False})
    assert {state["function"] for state in states.values()} == {"test.nop"}


@pytest.mark.parametrize("docker", [{"managed": None}, None])
def test_only_false_means_not_managed(render: Callable[..., States], docker: Any) -> None:
    assert "docker-packages" in render(grains=DEBIAN, docker=docker)


@pytest.mark.parametrize("managed", ["", 0, "no"])
def test_what_looks_like_false(render: Callable[..., States], managed: Any) -> None:
    states = render(grains=DEBIAN, docker={"managed": managed})
    assert states["docker-engine"]["comment"] == f"docker:managed: must be true or false, not {managed!r}"


@pytest.mark.parametrize(
    ("minion", "words"),
    [
        pytest.param({"grains": SOLARIS}, ["Solaris", "docker:managed"], id="unknown system"),
        pytest.param({"docker": {"provider": "snap", "hodl": True}}, ["hodl", "did you mean 'hold'"], id="unknown key"),
        pytest.param({"installed": "docker.io"}, ["installed (docker.io)"], id="docker-ce over docker.io"),
        pytest.param(
            {"installed": "docker-ce", "docker": {"provider": "distro"}},
            ["installed (docker-ce)", "docker:replace_conflicting"],
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
    grains: dict[str, Any] = {**SOLARIS, "saltversioninfo": [3006, 9]}
    for arguments, key in ((["test=True"], "name"), ([], "comment")):
        (result,) = salt_call("state.apply", "docker", *arguments, grains=grains).values()
        assert result["result"] is False
        assert "docker:managed" in result[key]
    assert result["name"] == "docker"


def test_what_is_in_the_way_goes_when_the_rest_is_there(salt_call: Call) -> None:
    docker = {"provider": "distro", "replace_conflicting": True}
    shown = salt_call("state.show_sls", "docker.package", grains=DEBIAN, docker=docker, installed="docker-ce")
    states = {sid: _flat(body) for sid, body in shown.items()}
    assert states["docker-conflicting"]["pkgs"] == ["docker-ce"]
    assert states["docker-conflicting"]["require"][0] == "docker-idle"
    assert states["docker-fetched"]["require"][0] == "docker-idle"
    assert states["docker-fetched"]["require_in"] == ["docker-conflicting"]
    assert states["docker-needs"]["require"] == ["docker-conflicting"]


@pytest.mark.parametrize("grains", [DEBIAN, SOLARIS], ids=lambda grains: grains["os"])
def test_not_managed(render: Callable[..., States], grains: dict[str, str]) -> None:
    states = render(grains=grains, docker={"managed": False, "hodl": True})
    assert {sid: state["function"] for sid, state in states.items()} == {"docker-engine": "test.nop"}


@pytest.mark.parametrize("sls", ["other", "infra.near"])
def test_required_by_others(render: Callable[..., States], roots: list[str], tmp_path: Path, sls: str) -> None:
    """From any SLS, and where the tree is mounted below another directory."""
    root = tmp_path / "tree"
    shutil.copytree(REPOSITORY / "salt", root / "infra")
    for name, included in (("other", "infra.docker"), ("infra/near", ".docker")):
        state = {"test.nop": [{"require": [{"sls": "infra.docker"}]}]}
        (root / f"{name}.sls").write_text(json.dumps({"include": [included], "after": state}))
    states = render(sls, grains=DEBIAN, file_roots={"base": [roots[0], str(root)]})
    assert states["docker-engine"]["require"] == [{"sls": "infra.docker.service"}]
    assert {"docker-keyring", "docker-repository", "docker-packages", "docker-config", "docker-service"} < set(states)


def test_onedir(render: Callable[..., States]) -> None:
    """Whose own pip is found by Salt, if it is not told another, and installs where an upgrade of Salt leaves it."""
    docker = {"managed": True, "python_find_links": "/srv/wheels"}
    states = render("docker.python", grains={**DEBIAN, "package": "onedir"}, docker=docker, cold=True)
    assert states["docker-python"] == {
        "function": "pip.installed",
        "pkgs": ["docker==7.2.0"],
        "find_links": "/srv/wheels",
        "no_index": True,
        "reload_modules": True,
    }


def _lacks_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_the_sdk_comes_back_after_an_upgrade_of_salt(
    render: Callable[..., States], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = render("docker.python", grains=DEBIAN)
    assert states["docker-python"]["function"] == "test.nop"
    _lacks_the_sdk(monkeypatch)
    states = render("docker.python", grains=DEBIAN)
    assert states["docker-python"]["function"] == "pip.installed"
    assert states["docker-python"]["bin_env"] == "/salt/bin/python3"


@pytest.mark.parametrize(
    ("grains", "package"),
    [(DEBIAN, "python3-docker"), ({**DEBIAN, "os": "Arch", "os_family": "Arch"}, "python-docker")],
)
def test_the_sdk_of_the_systems_own_python(
    render: Callable[..., States], monkeypatch: pytest.MonkeyPatch, grains: dict[str, str], package: str
) -> None:
    _lacks_the_sdk(monkeypatch)
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, "/usr")
    states = render("docker.python", grains=grains)
    assert states["docker-python"] == {"function": "pkg.installed", "name": package, "reload_modules": True}


class TestColdMinion:
    """On which `state.apply` finds none of our modules yet, and no init system would start the engine."""

    MINION: ClassVar[dict[str, Any]] = {
        "grains": {**DEBIAN, "init": "unknown"},
        "docker": {"provider": "distro"},
        "installed": "docker.io iptables",
        "cold": True,
    }

    def test_syncs_first(self, salt_call: Call) -> None:
        minion = {**self.MINION, "docker": {"provider": "distro", "daemon": {"debug": True}}}
        shown = salt_call("state.show_sls", "docker", **minion)
        states = {sid: _flat(body) for sid, body in shown.items()}
        assert states["docker-modules"]["function"] == "saltutil.sync_all"
        assert states["docker-modules"]["reload_modules"] is True
        assert states["docker-service"]["function"] == "docker_engine.running"
        assert states["docker-config"]["function"] == "docker_config.managed"
        for sid in ("docker-service", "docker-config"):
            assert {"saltutil": "docker-modules"} in states[sid]["require"]

    def test_does_not_sync_where_nothing_of_ours_is_needed(self, salt_call: Call) -> None:
        minion = {**self.MINION, "grains": DEBIAN}
        shown = salt_call("state.show_sls", "docker", **minion)
        assert "docker-modules" not in shown
        assert _flat(shown["docker-service"])["function"] == "service.running"

    def test_announces_that_under_test(self, salt_call: Call) -> None:
        results = salt_call("state.apply", "docker", "test=True", **self.MINION).values()
        outcome = {result["__id__"]: result["result"] for result in results}
        assert outcome == {
            "docker-repository": True,
            "docker-needs": True,
            "docker-packages": True,
            "docker-config": True,
            "docker-service": None,
            "docker-engine": True,
        }

    def test_is_warm_afterwards(self, salt_call: Call) -> None:
        (result,) = salt_call("state.sls_id", "docker-modules", "docker", **self.MINION).values()
        assert result["result"] is True
        assert {"modules.docker_config", "modules.docker_engine"} <= set(result["changes"]["modules"])
        assert "docker-modules" not in salt_call("state.show_sls", "docker", **self.MINION)
