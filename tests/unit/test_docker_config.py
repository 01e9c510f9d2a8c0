"""daemon.json: keys of ours beside an administrator's, judged by a stand-in for dockerd, old or new."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
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
        self.pidfile = directory / "docker.pid"
        self.dockerd = dockerd

    def write(self, **values: Any) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(values))

    def values(self) -> Any:
        return json.loads(self.file.read_text())

    def manage(self, test: bool = False, **settings: Any) -> dict[str, str]:
        return docker_config.manage(settings, str(self.file), self.dockerd, test, str(self.pidfile))


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
    config.manage(mtu=1400)
    config.write(bip="10.0.0.1/24")
    assert config.manage() == {}
    assert config.values() == {"bip": "10.0.0.1/24"}


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
    assert config.manage(test=True, debug=True) == {"debug": "set"}
    assert not config.file.parent.exists()


def test_what_the_engine_refuses_is_told_under_test_too(config: Config) -> None:
    with pytest.raises(CommandExecutionError, match="refuses this configuration"):
        config.manage(test=True, bad=True)
    config.dockerd = "no-such-program"
    assert config.manage(test=True, bad=True) == {"bad": "set"}, "its packages are only about to come"
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


def test_a_file_that_is_not_ours_is_not_even_read(config: Config) -> None:
    config.file.parent.mkdir()
    config.file.write_text("{ // mine")
    assert config.manage() == {}


def test_a_link_stays_and_so_does_the_owner(config: Config, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text('\ufeff{"mtu": 1400}')
    if os.geteuid() == 0:
        os.chown(elsewhere, 12345, 54321)
    owner = (elsewhere.stat().st_uid, elsewhere.stat().st_gid)
    config.file.parent.mkdir()
    config.file.symlink_to(elsewhere)
    assert config.manage(debug=True) == {"debug": "set"}
    assert config.file.is_symlink()
    assert json.loads(elsewhere.read_text()) == {"mtu": 1400, "debug": True}
    assert (elsewhere.stat().st_uid, elsewhere.stat().st_gid) == owner
    assert config.manage() == {"debug": "removed"}
    assert (config.file.is_symlink(), config.values()) == (True, {"mtu": 1400})


def test_a_link_that_leads_nowhere(config: Config, tmp_path: Path) -> None:
    config.file.parent.mkdir()
    config.file.symlink_to(tmp_path / "none" / "daemon.json")
    with pytest.raises(CommandExecutionError, match=r"daemon\.json cannot be kept as it is declared: .*No such file"):
        config.manage(debug=True)


@pytest.mark.parametrize("text", ["[1]", '{"keys": []}', '{"keys": {"mtu": 1}}'])
def test_a_record_that_is_none(config: Config, text: str) -> None:
    config.write(mtu=1400)
    config.file.with_name("daemon.json.salt").write_text(text)
    with pytest.raises(CommandExecutionError, match=r"daemon\.json\.salt .* remove it"):
        config.manage(debug=True)


def test_what_the_engine_has_not_read_is_told_until_it_has(config: Config) -> None:
    """The run that changed the file may have ended before it came to restart the engine."""
    config.pidfile.write_text("17")
    assert config.manage(debug=True) == {"debug": "set"}
    assert config.manage(test=True, debug=True) == {"daemon.json": "not read yet"}
    assert config.manage(debug=True) == {"daemon.json": "not read yet"}
    config.pidfile.write_text("18")
    assert config.manage(debug=True) == {}
    config.write(debug=True, mtu=1400)
    assert config.manage(debug=True) == {}, "what somebody else has changed is no reason to restart it"
    assert config.manage() == {"debug": "removed"}
    assert config.manage() == {"daemon.json": "not read yet"}
    config.pidfile.unlink()
    assert config.manage() == {}
    assert [file.name for file in config.file.parent.iterdir()] == ["daemon.json"]


@pytest.mark.parametrize("settings", [{"mtu": 1300}, {"mtu": None}, {"debug": True}, {}])
@pytest.mark.parametrize("running", [False, True])
def test_killed_between_record_and_file(
    config: Config, monkeypatch: pytest.MonkeyPatch, settings: Any, running: bool
) -> None:
    """Whatever was written by then: what an administrator had comes back in the end."""
    if running:
        config.pidfile.write_text("17")
    write = docker_config._write
    for survived in range(4):
        config.write(mtu=1111)
        config.manage(mtu=1200)
        left = iter(range(survived))

        def die(file: Path, values: Any, mode: int, left: Any = left) -> None:
            if file.parent == config.file.parent and next(left, None) is None:
                raise KeyboardInterrupt
            write(file, values, mode)

        monkeypatch.setattr(docker_config, "_write", die)
        with contextlib.suppress(KeyboardInterrupt):
            config.manage(**settings)
        monkeypatch.setattr(docker_config, "_write", write)
        assert config.values()["mtu"] in (1200, 1111, 1300) if "mtu" in config.values() else settings == {"mtu": None}
        config.manage(**settings)
        assert config.values() == {key: value for key, value in {"mtu": 1111, **settings}.items() if value is not None}
        config.manage()
        assert config.values() == {"mtu": 1111}, survived
        config.pidfile.unlink(missing_ok=True)
        config.manage()
        if running:
            config.pidfile.write_text("17")


def test_one_at_a_time(config: Config, tmp_path: Path) -> None:
    """From what is read until what is written."""
    taken = tmp_path / "taken"
    Path(config.dockerd).write_text(f"#!/bin/sh\nflock --nonblock {config.file.parent} true || touch {taken}\n")
    config.manage(debug=True)
    assert taken.exists()
    assert subprocess.run(["flock", "--nonblock", config.file.parent, "true"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("argv", "beside", "asked"),
    [
        ("/usr/bin/dockerd -H fd:// $OPTIONS", r" \(beside the options -H fd:// of docker\.service\)", "-H fd:// "),
        # As an administrator has it who declares `hosts`, which the engine refuses beside -H.
        ("/usr/bin/dockerd", "", ""),
        ("/usr/bin/dockerd $OPTIONS", "", ""),
    ],
)
def test_options_of_the_unit_are_judged_along(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: str, beside: str, asked: str
) -> None:
    shown = f"{{ path=/usr/bin/dockerd ; argv[]={argv} ; ignore_errors=no ; pid=0 }}"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f"#!/bin/sh\necho 'ExecStart={shown}'\n")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    there = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system" or there(path))
    Path(config.dockerd).write_text('#!/bin/sh\necho "asked: $*"; exit 1\n')
    words = rf"this configuration{beside}; correct it:\nasked: --validate {asked}--config-file daemon\.json$"
    with pytest.raises(CommandExecutionError, match=words):
        config.manage(debug=True)


class TestState:
    @pytest.fixture(autouse=True)
    def dunders(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        manage = functools.partial(docker_config.manage, pidfile=str(tmp_path / "docker.pid"))
        monkeypatch.setattr(state, "__salt__", {"docker_config.manage": manage}, raising=False)
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

    def test_what_the_engine_has_not_read(self, config: Config, tmp_path: Path) -> None:
        (tmp_path / "docker.pid").write_text("17")
        for words in ("was changed", "the engine was started before that"):
            result = state.managed(str(config.file), {"mtu": 1400}, command=config.dockerd)
            assert words in result["comment"]
            assert result["changes"]

    def test_needs_its_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert state.__virtual__() == "docker_config"
        monkeypatch.setattr(state, "__salt__", {})
        assert state.__virtual__()[0] is False
