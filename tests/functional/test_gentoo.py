"""The Gentoo mirror's SLS, state and functions as Salt has them, without an engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import gentoo_settings
from pipmirror_lib.gentoo_store import Store

from tests.support.gentoo import hashed
from tests.support.gentoo.left import DATA, DIGESTS, NAME, SNAPSHOT, asked, with_snapshot
from tests.support.salt import REPOSITORY, Minion

STATE = "gentoo-mirror"


@pytest.fixture
def minion(tmp_path: Path) -> Minion:
    """One whose mirror is complete, and that reaches no engine."""
    pillar = {
        "target": str(tmp_path / "mirror"),
        "image": "stage3",
        "packages": ["app-misc/demo"],
        "container": {"engine_url": "unix:///nonexistent"},
    }
    mirror = gentoo_settings.load(pillar)
    store = Store(mirror)
    store.create()
    store.write_layout()
    state = asked(mirror, with_snapshot(store, tmp_path / "new"))
    (tmp_path / NAME).write_bytes(DATA)
    store.admit(state, tmp_path / NAME, hashed(NAME), DIGESTS)
    store.save(state)
    found = Minion(tmp_path / "minion")
    found.extra_pillar["gentoo_mirror"] = pillar
    return found


def declared(minion: Minion) -> dict[str, Any]:
    found: dict[str, Any] = minion.extra_pillar["gentoo_mirror"]
    return found


def test_nothing_to_do(minion: Minion) -> None:
    answer = minion.call("state.apply", "gentoo-mirror")
    state = answer.states[STATE]
    assert (state["result"], state["changes"], answer.code) == (True, {}, 0)
    assert state["comment"] == f"1 distfile in the mirror, with the tree of {SNAPSHOT}"
    plan = minion.call("gentoo_mirror.plan").value
    assert (plan["nothing_to_do"], plan["missing"], plan["latest"]) == (True, {}, SNAPSHOT)
    done = minion.call("gentoo_mirror.sync")
    assert (done.code, done.value["added"]) == (0, {})


@pytest.mark.parametrize("test", [True, False])
def test_something_to_do(minion: Minion, test: bool) -> None:
    (Path(declared(minion)["target"]) / hashed(NAME)).unlink()
    state = minion.call("state.apply", "gentoo-mirror", test=test).states[STATE]
    if test:
        assert (state["result"], state["changes"]) == (None, {"missing": [NAME]})
        assert f"{NAME}: it is not in the mirror" in state["comment"]
    else:
        assert (state["result"], state["changes"]) == (False, {})
        assert "container engine at unix:///nonexistent" in state["comment"]


def test_the_declaration_is_faulty(minion: Minion) -> None:
    declared(minion).update(target="relative", imag="x")
    answer = minion.call("state.apply", "gentoo-mirror")
    comment = answer.states[STATE]["comment"]
    assert answer.states[STATE]["result"] is False
    for place in ("gentoo_mirror:target:", "gentoo_mirror:imag:"):
        assert place in comment
    found = minion.call("gentoo_mirror.faults")
    assert (found.code, len(found.value)) == (1, 2)


@pytest.mark.parametrize("pillar", ["text", [], None, {"engine_sls": 5}])
def test_no_pillar_keeps_a_highstate_from_compiling(minion: Minion, pillar: Any) -> None:
    minion.extra_pillar["gentoo_mirror"] = pillar
    assert minion.call("state.apply", "gentoo-mirror").states[STATE]["result"] is False


@pytest.mark.parametrize(
    ("engine", "included"), [("docker", "infra.docker"), ("my.engine", "my.engine"), ("", None), (None, "infra.docker")]
)
def test_includes(minion: Minion, tmp_path: Path, engine: str | None, included: str | None) -> None:
    """From a sub-directory of the file root, with this tree's engine, somebody's own, or none."""
    root = tmp_path / "roots"
    shutil.copytree(REPOSITORY / "salt", root / "infra")
    (root / "my").mkdir()
    (root / "my" / "engine.sls").write_text("mine:\n  test.nop: []\n")
    minion.file_root = root
    if engine is not None:
        declared(minion)["engine_sls"] = engine
    declared(minion)["make_conf"] = {"USE": "something-private"}
    shown = minion.call("state.show_sls", "infra.gentoo-mirror").value
    sources = {state["__sls__"] for state in shown.values()} - {"infra.gentoo-mirror", "infra.pipmirror.python"}
    assert {source for source in sources if f"{source}.".startswith(f"{included}.")} == sources
    assert bool(sources) == bool(included)
    required = [part for part in shown[STATE]["gentoo_mirror"] if isinstance(part, dict) and "require" in part]
    assert (required == [{"require": [{"sls": included}]}]) == bool(included)
    assert "something-private" not in json.dumps(shown)


def test_cold_and_testing(minion: Minion) -> None:
    """A minion without our modules says that it has none yet, and changes nothing."""
    minion.module_dir = None
    minion.extra_pillar["pipmirror_python"] = {"packages": ["requests>=2.31"]}
    answer = minion.call("state.apply", "gentoo-mirror", test=True)
    assert answer.states["gentoo-mirror-modules"]["result"] is None
    assert "would be synced" in answer.states["gentoo-mirror-modules"]["comment"]
    assert STATE not in answer.states


def test_cold(minion: Minion, tmp_path: Path) -> None:
    """It syncs them first, and the state runs with what has come."""
    root = tmp_path / "roots"
    shutil.copytree(REPOSITORY / "salt", root)
    for name in ("_modules", "_states", "_utils"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    minion.file_root, minion.module_dir = root, None
    minion.extra_pillar["pipmirror_python"] = {"packages": ["requests>=2.31"]}
    answer = minion.call("state.apply", "gentoo-mirror")
    assert answer.states[STATE]["result"] is True, answer
    assert answer.states["gentoo-mirror-modules"]["changes"]
