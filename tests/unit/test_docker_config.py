"""daemon.json: keys of ours beside an administrator's, judged by a stand-in for dockerd, old or new."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from _modules import docker_config
from _states import docker_config as state

# Like the real one it refuses `bad`; before 23.0 it knows no --validate, and reads its file before it wants to be root.
DOCKERD = """#!/bin/sh
for word; do file=$word; done
if {old}; then
    if [ "$1" = --validate ]; then echo "Status: unknown flag: --validate"; exit 125; fi
    [ "$(id -u)" = 65534 ] || { echo "an engine would have been started"; exit 3; }
fi
if grep -q bad "$file"; then
    echo "unable to configure the Docker daemon with file $file: don't match: bad"
    exit 1
fi
if {old}; then echo "dockerd needs to be started with root privileges."; exit 1; fi
"""


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))])
def dockerd(request: pytest.FixtureRequest) -> Iterator[str]:
    """A new one, and an old one, where nobody in particular can reach it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        program = Path(directory, "dockerd")
        program.write_text(DOCKERD.replace("{old}", str(request.param).lower()))
        program.chmod(0o755)
        yield str(program)


class Config:
    def __init__(self, directory: Path, dockerd: str) -> None:
        self.file = directory / "docker" / "daemon.json"
        self.dockerd = dockerd

    def write(self, **values: Any) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(values))

    def values(self) -> Any:
        return json.loads(self.file.read_text())

    def manage(self, test: bool = False, **settings: Any) -> dict[str, str]:
        return docker_config.manage(settings, str(self.file), self.dockerd, test)


@pytest.fixture
def config(tmp_path: Path, dockerd: str) -> Config:
    return Config(tmp_path, dockerd)


def test_from_nothing_and_back(config: Config) -> None:
    assert config.manage(debug=True) == {"debug": "set"}
    assert config.values() == {"debug": True}
    assert config.manage(debug=True) == {}
    assert config.manage() == {"debug": "removed"}
    assert list(config.file.parent.iterdir()) == []
    assert config.manage() == {}


def test_an_administrators_keys_stay(config: Config) -> None:
    config.write(mtu=1400, debug=False)
    config.file.chmod(0o600)
    assert config.manage(debug=True, **{"log-driver": "local"}) == {"debug": "changed", "log-driver": "set"}
    assert config.values() == {"mtu": 1400, "debug": True, "log-driver": "local"}
    assert config.file.stat().st_mode & 0o777 == 0o600
    assert config.manage(debug=True) == {"log-driver": "removed"}
    assert config.manage() == {"debug": "changed"}
    assert config.values() == {"mtu": 1400, "debug": False}


def test_a_key_can_be_removed(config: Config) -> None:
    config.write(mtu=1400)
    assert config.manage(mtu=None, debug=None) == {"mtu": "removed"}
    assert config.values() == {}
    assert config.manage(mtu=None, debug=None) == {}
    assert config.manage() == {"mtu": "set"}
    assert config.values() == {"mtu": 1400}


def test_what_somebody_else_has_changed_since_is_theirs(config: Config) -> None:
    config.manage(debug=True, mtu=1400)
    config.write(debug=True, mtu=1500, bip="10.0.0.1/24")
    assert config.manage() == {"debug": "removed"}
    assert config.values() == {"mtu": 1500, "bip": "10.0.0.1/24"}


def test_a_file_that_is_as_declared_is_not_written(config: Config) -> None:
    config.file.parent.mkdir()
    config.file.write_text('{ "debug" : true }')
    assert config.manage(debug=True) == {}
    assert config.file.read_text() == '{ "debug" : true }'


def test_what_the_engine_refuses_changes_nothing(config: Config) -> None:
    config.write(mtu=1400)
    with pytest.raises(
        CommandExecutionError, match=r"refuses this configuration; correct it:\n.*daemon\.json: don't match"
    ):
        config.manage(bad=True)
    assert config.values() == {"mtu": 1400}
    assert [file.name for file in config.file.parent.iterdir()] == ["daemon.json"]


def test_nothing_is_written_under_test(config: Config) -> None:
    assert config.manage(test=True, bad=True) == {"bad": "set"}
    assert not config.file.parent.exists()


def test_what_was_there_comes_back_without_an_engine(config: Config) -> None:
    config.write(mtu=1400)
    config.manage(mtu=1500)
    config.dockerd = "no-such-program"
    assert config.manage() == {"mtu": "changed"}
    assert config.values() == {"mtu": 1400}


def test_nothing_new_is_written_without_an_engine(config: Config) -> None:
    config.dockerd = "no-such-program"
    with pytest.raises(CommandExecutionError, match="no-such-program is not installed"):
        config.manage(mtu=1500)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is no JSON: .*; correct or remove it"), ("[1]", "must hold a mapping"), ("", None)]
)
def test_files_of_others(config: Config, text: str, message: str | None) -> None:
    config.file.parent.mkdir()
    config.file.write_text(text)
    if message:
        with pytest.raises(CommandExecutionError, match=message):
            config.manage(debug=True)
        assert config.file.read_text() == text
    else:
        assert config.manage(debug=True) == {"debug": "set"}


class TestState:
    @pytest.fixture(autouse=True)
    def dunders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(state, "__salt__", {"docker_config.manage": docker_config.manage}, raising=False)
        monkeypatch.setattr(state, "__pillar__", {"docker": {"daemon": {"mtu": 1400}}}, raising=False)
        monkeypatch.setattr(state, "__opts__", {"test": False}, raising=False)

    def test_settings_from_the_pillar(self, config: Config) -> None:
        result = state.managed(str(config.file), pillar="docker:daemon", command=config.dockerd)
        assert (result["result"], result["changes"]) == (True, {"mtu": "set"})
        again = state.managed(str(config.file), pillar="docker:daemon", command=config.dockerd)
        assert (again["result"], again["changes"]) == (True, {})
        back = state.absent(str(config.file))
        assert (back["result"], back["changes"]) == (True, {"mtu": "removed"})
        assert not config.file.exists()

    def test_announces(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(state.__opts__, "test", True)
        result = state.managed(str(config.file), {"mtu": 1400}, command=config.dockerd)
        assert (result["result"], result["changes"]) == (None, {"mtu": "set"})
        assert not config.file.exists()

    def test_failure(self, config: Config) -> None:
        result = state.managed(str(config.file), {"bad": 1}, command=config.dockerd)
        assert (result["result"], result["changes"]) == (False, {})
        assert "don't match: bad" in result["comment"]

    def test_needs_its_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert state.__virtual__() == "docker_config"
        monkeypatch.setattr(state, "__salt__", {})
        assert state.__virtual__()[0] is False
