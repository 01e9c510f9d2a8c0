"""Real daemons and a minion that has nothing but Salt: one run goes from nothing to a mirror."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.version
from saltfactories.manager import FactoriesManager
from saltfactories.plugins.event_listener import EventListener

from tests.support.salt import served
from tests.support.site import PLATFORM, Site

pytestmark = [pytest.mark.integration, pytest.mark.live]

STATE = f"pipmirror-default-{PLATFORM}"
# What `pip install salt` does not bring.
OURS = ("docker", "installer", "resolvelib")
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def only_salt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with Salt and nothing else."""
    directory = tmp_path_factory.mktemp("only-salt")
    programs = directory / "bin"
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=120)
    pip = [str(programs / "pip"), "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"salt=={salt.version.__version__}"], check=True, timeout=600)
    return programs


@pytest.fixture
def cold(only_salt: Path) -> Path:
    """The same, without what an earlier test has brought."""
    uninstall = [str(only_salt / "pip"), "uninstall", "-q", "-y", "--disable-pip-version-check", *OURS]
    subprocess.run(uninstall, check=True, timeout=120, capture_output=True)
    missing = [name for name in OURS if _imports(only_salt, name)]
    assert missing == [], "the minion would not be cold"
    return only_salt


def _imports(programs: Path, name: str) -> bool:
    done = subprocess.run(
        [str(programs / "python"), "-c", f"import {name}"], timeout=60, check=False, capture_output=True
    )
    return done.returncode == 0


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    """What a master serves: this repository, and a top file."""
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "top.sls").write_text(json.dumps({"base": {"*": ["pipmirror"]}}))
    return [*served(tmp_path / "served"), str(tmp_path / "top")]


@pytest.fixture
def daemons() -> Iterator[Path]:
    """A place with a short name: a socket's path ends at 107 characters, and a daemon beyond it just never answers."""
    with tempfile.TemporaryDirectory(prefix="pm-") as directory:
        yield Path(directory)


@pytest.fixture
def run(site: Site, cold: Path, daemons: Path, roots: list[str], event_listener: EventListener) -> Iterator[Run]:
    """Call a function on the minion through its master; the states by ID, or what was returned instead."""
    site.minion.configure()
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    manager = FactoriesManager(
        root_dir=daemons,
        scripts_dir=cold,
        log_server_port=0,
        log_server_level="warning",
        log_server_host="localhost",
        event_listener=event_listener,
        environ=environ,
    )
    number = uuid.uuid4().hex[:8]
    pillar_roots = {"base": [str(site.minion.directory / "pillar")]}
    options = {"open_mode": True, "file_roots": {"base": roots}, "pillar_roots": pillar_roots}
    master = manager.salt_master_daemon(f"master-{number}", overrides=options)
    with master.started():
        minion = master.salt_minion_daemon(f"minion-{number}")
        with minion.started():

            def call(*words: str, **more: Any) -> dict[str, Any]:
                done = master.salt_cli(timeout=400).run(*words, minion_tgt=minion.id, _timeout=400, **more)
                assert isinstance(done.data, dict), done
                return {state["__id__"]: state for state in done.data.values()}

            yield call


def failures(states: dict[str, Any]) -> dict[str, str]:
    return {name: state["comment"] for name, state in states.items() if state["result"] is False}


def test_state_apply(site: Site, run: Run) -> None:
    testing = run("state.apply", "pipmirror", "test=True")
    assert failures(testing) == {}
    assert testing["pipmirror-python"]["result"] is None
    assert testing["pipmirror-modules"]["result"] is None
    assert not site.target.exists()
    assert site.asked() == []
    from_nothing(site, run, "state.apply", "pipmirror")


def test_highstate(site: Site, run: Run, event_listener: EventListener) -> None:
    event_listener.store.clear()
    from_nothing(site, run, "state.highstate")
    told = [event.data["data"]["platforms"] for event in event_listener.store if event.tag == "pipmirror/progress"]
    assert told, "the master hears of it meanwhile"
    assert {name for platforms in told for name in platforms} == {PLATFORM}
    assert told[0][PLATFORM]["text"] == "preparing the builder image"


def from_nothing(site: Site, run: Run, *words: str) -> None:
    states = run(*words)
    assert failures(states) == {}
    assert set(OURS) <= {name.split("==")[0] for name in states["pipmirror-python"]["changes"]}
    assert states[STATE]["changes"]["alpha"] == {"old": "", "new": "1.0"}
    site.check()
    again = run(*words)
    assert failures(again) == {}
    assert {name: state["changes"] for name, state in again.items() if state["changes"]} == {}
