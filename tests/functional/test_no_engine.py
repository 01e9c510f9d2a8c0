"""Platforms that need no engine: this machine itself, and one that has its profile and needs nothing built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pipmirror_lib import machine

from tests.functional.conftest import prepared
from tests.support.salt import REPOSITORY, Minion
from tests.support.site import PLATFORM, Site

HERE = "here"


@pytest.fixture
def here(bare: Site) -> Site:
    """An index with an sdist, and this machine for its only platform."""
    bare.settings["platforms"] = [{"name": HERE}]
    bare.settings["packages"] = ["alpha", "omega"]
    bare.sdist("omega", requires=["beta<2"], intree_backend=True, on_build="import os; print('uid', os.getuid())")
    return bare


def test_a_highstate_on_this_machine(here: Site) -> None:
    """From nothing to wheels that this machine's own pip has installed, one of them built here; then nothing to do."""
    here.settings["verify"] = True
    answer = here.good(here.apply())
    assert not any("docker" in name for name in answer.states), "no engine is set up"
    state = here.state(answer, HERE)
    assert set(state["changes"]) >= {"alpha", "beta", "omega"}
    assert "on this machine instead of containers, as " in state["comment"]
    assert "added 3 wheels, 1 of them built here" in state["comment"]
    here.check(HERE)
    assert here.record("omega-1.0-py3-none-any.whl", HERE)["origin"] == "built"
    status = here.call("status").value[HERE]
    assert status["image_source"] == "this machine"
    assert status["built_here"] == 1
    assert status["verified"]["packages"]["installed"] == 3
    if sys.platform == "linux":
        log = (here.private(HERE) / "logs" / here.record("omega-1.0-py3-none-any.whl", HERE)["log"]).read_text()
        assert "uid 0\n" not in log
        assert "uid " in log
    here.forget()
    before = here.stamps(HERE)
    answer = here.good(here.apply())
    assert here.state(answer, HERE)["changes"] == {}
    assert (here.asked(), here.stamps(HERE)) == ([], before)
    assert here.call("prune").code == 0
    assert "builder images" not in here.call("prune").value["comment"], "there is no engine to be asked for them"


@pytest.mark.parametrize("what", ["sync", "clean"])
def test_what_a_killed_run_left_outside_goes(here: Site, what: str) -> None:
    """Although nothing must be built any more, and so nobody would come by."""
    here.settings["packages"] = ["alpha"]
    here.good(here.apply())
    private = here.private(HERE)
    shelter = machine.shelter_of(private)
    (shelter / "x").mkdir(parents=True)
    (private / "holder").write_text("somewhere/1/1")  # as a kill leaves it
    assert here.call(what).code == 0
    assert not shelter.exists()


def test_a_new_interpreter_is_asked_anew(here: Site, tmp_path: Path) -> None:
    """An upgrade of this machine's Python may change what fits."""
    here.settings["packages"] = ["alpha"]
    here.good(here.apply())
    assert here.call("plan").platform["nothing_to_do"]
    here.settings["platforms"] = [{"name": HERE, "python": sys.executable}]
    plan = here.call("plan").platform
    assert plan["satisfied"]
    assert plan["due"][0].endswith("or this Python is new")


def test_an_interpreter_that_is_not_there(here: Site) -> None:
    here.settings["platforms"] = [{"name": HERE, "python": "python3.99"}]
    answer = here.call("sync")
    assert answer.code == 1
    assert "here: this machine has no python3.99" in answer.platform["comment"]


def test_a_cold_minion_sets_up_an_engine_only_for_images(here: Site, minion: Minion) -> None:
    """Before the modules are synced, the pillar alone tells."""
    here.minion.module_dir = None
    here.minion.file_root = REPOSITORY / "salt"
    shown = here.minion.call("state.show_sls", "pipmirror").value
    assert "docker" not in {state["__sls__"] for state in shown.values()}
    here.also(PLATFORM, image="debian:bookworm")
    shown = here.minion.call("state.show_sls", "pipmirror").value
    assert "docker" in {state["__sls__"] for state in shown.values()}
    assert "require" in str(shown[f"pipmirror-default-{PLATFORM}"])
    assert "{'sls': 'docker'}" not in str(shown[f"pipmirror-default-{HERE}"])


def test_a_profile_and_no_sdist_need_no_engine(bare: Site) -> None:
    """There is none in this site; what has no wheel fails, and the other set comes in."""
    prepared(bare)
    bare.sdist("omega", intree_backend=True)
    bare.settings["sets"] = {"built": ["omega"]}
    answer = bare.call("sync")
    assert answer.code == 1
    assert bare.wheels() == {"alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"}
    assert "omega 1.0: cannot be built: the container engine at unix:///nonexistent" in answer.platform["comment"]
    del bare.settings["sets"]
    answer = bare.call("sync")
    assert answer.code == 0
    bare.check()
