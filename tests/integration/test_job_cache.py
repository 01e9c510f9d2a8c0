"""What a master keeps of a run, and of one that fails: nothing that only the minion's process may know."""

from __future__ import annotations

import os
import secrets as random
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from saltfactories.manager import FactoriesManager
from saltfactories.plugins.event_listener import EventListener

from tests.functional.conftest import prepared
from tests.support import gpg
from tests.support.dists import make_wheel
from tests.support.gpg import SecretiveMinion
from tests.support.localindex import LocalIndex
from tests.support.salt import served
from tests.support.site import Site
from tests.support.watching import Secrets

pytestmark = pytest.mark.integration

NAMES = ("index", "linked")
Call = Callable[..., Any]


@pytest.fixture
def passwords() -> dict[str, str]:
    return {name: f"hush-{name}-{random.token_hex(8)}" for name in NAMES}


@pytest.fixture
def site(tmp_path: Path, passwords: dict[str, str]) -> Iterator[Site]:
    """An index with a password and a file with another; the platform is prepared, so that no engine is needed."""
    with ExitStack() as running:
        index = running.enter_context(LocalIndex(username="index", password=passwords["index"]))
        make_wheel(tmp_path / "linked", "linked")
        linked = LocalIndex(tmp_path / "linked", username="linked", password=passwords["linked"])
        url = running.enter_context(linked).url.replace("/simple/", "/files/linked-1.0-py3-none-any.whl")
        made = Site(tmp_path, index, {"container": {"engine_url": "unix:///nonexistent"}})
        made.wheel("alpha")
        made.settings["index"].update(username="index", password=passwords["index"])
        made.settings["packages"] = ["alpha", url.replace("://", f"://linked:{passwords['linked']}@")]
        prepared(made)
        key = running.enter_context(gpg.key(tmp_path / "gpg"))
        made.minion = SecretiveMinion(made.minion.directory, made.settings, key=key, secrets=list(passwords.values()))
        yield made


@pytest.fixture
def daemons() -> Iterator[Path]:
    """Short, for the sockets below it."""
    with tempfile.TemporaryDirectory(prefix="pm-") as directory:
        yield Path(directory)


@pytest.fixture
def call(site: Site, daemons: Path, tmp_path: Path, event_listener: EventListener) -> Iterator[Call]:
    site.minion.configure()
    manager = FactoriesManager(
        root_dir=daemons,
        scripts_dir=Path(sys.executable).parent,
        log_server_port=0,
        log_server_level="warning",
        log_server_host="localhost",
        event_listener=event_listener,
        environ={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NETRC": os.devnull},
    )
    number = uuid.uuid4().hex[:8]
    options: dict[str, Any] = {
        "open_mode": True,
        "file_roots": {"base": served(tmp_path / "served")},
        "pillar_roots": {"base": [str(site.minion.directory / "pillar")]},
        "gpg_keydir": site.minion.options["gpg_keydir"],
        # Else the master itself keeps every minion's pillar, as it was decrypted.
        "minion_data_cache": False,
        "log_level_logfile": "debug",
    }
    master = manager.salt_master_daemon(f"master-{number}", overrides=options)
    with master.started():
        minion = master.salt_minion_daemon(f"minion-{number}", overrides={"log_level_logfile": "debug"})
        with minion.started():
            yield lambda *words: master.salt_cli(timeout=200).run(*words, minion_tgt=minion.id, _timeout=200)


def test_the_master_knows_no_secret(site: Site, call: Call, passwords: dict[str, str], daemons: Path) -> None:
    secrets = Secrets(list(passwords.items()))
    told = [call("state.apply", "pipmirror")]
    assert site.wheels() == {"alpha-1.0-py3-none-any.whl", "linked-1.0-py3-none-any.whl"}, told[0]
    told.append(call("pipmirror.status"))
    # Now everything fails.
    site.index.password = "another"
    site.settings["packages"].append("beta")
    site.minion.configure()
    told += [call("saltutil.refresh_pillar", "wait=True"), call("state.apply", "pipmirror"), call("pipmirror.sync")]
    assert "check index:username and index:password" in told[-1].stdout
    for answer in told:
        assert secrets.within((answer.stdout + answer.stderr).encode()) == []
    jobs = list(daemons.rglob("return.p"))
    assert len(jobs) >= len(told), "the job cache has them all"
    assert secrets.below(daemons, site.target, site.minion.directory) == []
