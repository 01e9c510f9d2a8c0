"""The state tree as Salt renders and runs it: from a checkout, from a sub-directory, on a cold minion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import prepared
from tests.support.salt import REPOSITORY, Minion
from tests.support.site import IMAGE, PLATFORM, Site

STATE = f"pipmirror-default-{PLATFORM}"
SECRET = "hunter2-secret"
# Salt's own interpreter has everything that the tests need; nothing may be installed into it here.
PYTHON = {"packages": ["requests>=2.31"]}


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A file root of this test's own: the tree in the sub-directory `infra`, beside an SLS of somebody else."""
    root = tmp_path / "roots"
    shutil.copytree(REPOSITORY / "salt", root / "infra")
    (root / "other.sls").write_text(f"other:\n  file.managed:\n    - name: {tmp_path}/other\n    - contents: here\n")
    (root / "top.sls").write_text(json.dumps({"base": {"*": ["infra.pipmirror", "other"]}}))
    return root


def library_in(root: Path) -> Path:
    """Give a file root modules and library to sync."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("_modules", "_states", "_utils"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=unwanted)
    return root / "_utils" / "pipmirror_lib"


def test_one_failing_state_for_every_fault(site: Site, roots: Path) -> None:
    site.settings.update(target="relative", platforms=[{"name": "no-image", "image": ""}], upgrad=True)
    site.minion.file_root = roots
    answer = site.minion.call("state.highstate")
    failed = {name for name, state in answer.states.items() if not state["result"]}
    assert failed == {"pipmirror-declaration"}
    comment = answer.states["pipmirror-declaration"]["comment"]
    for place in ("pipmirror:target:", "pipmirror:platforms[0]:image:", "pipmirror:upgrad:"):
        assert place in comment
    assert answer.states["other"]["result"] is True
    assert (site.directory / "other").read_text() == "here\n"
    assert answer.code != 0


def test_faults_of_the_web_server_are_told_under_test_as_well(minion: Minion) -> None:
    minion.extra_pillar["pipmirror_server"] = {"target": "x;y", "lisen": [1]}
    answer = minion.call("state.apply", "pipmirror.server", "test=True")
    (state,) = answer.states.values()
    assert (state["result"], state["name"], state["changes"]) == (False, "nginx", {})
    assert [line.split(": ")[0] for line in state["comment"].splitlines()] == [
        "pipmirror_server:lisen",
        "pipmirror_server:target",
    ]


@pytest.mark.parametrize(
    "pillar",
    ["text", [], None, {"platforms": IMAGE}, {"mirrors": ["a"]}, {"platforms": [5]}, {"platforms": {"a": None}}],
)
@pytest.mark.parametrize("cold", [False, True])
def test_no_pillar_keeps_the_highstate_from_compiling(minion: Minion, roots: Path, pillar: Any, cold: bool) -> None:
    minion.pillar, minion.file_root = pillar, roots
    minion.module_dir = None if cold else minion.module_dir
    minion.extra_pillar["pipmirror_python"] = PYTHON
    answer = minion.call("state.highstate", test=cold)
    assert answer.states["other"]["result"] in (True, None)
    if not cold:
        assert answer.states["pipmirror-declaration"]["result"] is False


def test_from_a_sub_directory(site: Site, roots: Path) -> None:
    site.minion.file_root = roots
    shown = site.minion.call("state.show_sls", "infra.pipmirror").value
    assert {state["__sls__"] for state in shown.values()} == {
        "infra.pipmirror",
        "infra.pipmirror.python",
        "infra.docker",
    }
    answer = site.good(site.minion.call("state.apply", "infra.pipmirror"))
    assert answer.states[STATE]["changes"]
    assert answer.states["pipmirror-published"]["__run_num__"] == len(answer.states) - 1


@pytest.mark.parametrize(
    ("engine_sls", "included"), [("", set()), ("mine.engine", {"mine.engine"}), (None, {"docker"})]
)
def test_the_engine_that_is_included(site: Site, tmp_path: Path, engine_sls: str | None, included: set[str]) -> None:
    root = tmp_path / "roots"
    shutil.copytree(REPOSITORY / "salt", root)
    (root / "mine").mkdir()
    (root / "mine" / "engine.sls").write_text("mine:\n  test.nop: []\n")
    site.minion.file_root = root
    if engine_sls is not None:
        site.settings["engine_sls"] = engine_sls
    shown = site.minion.call("state.show_sls", "pipmirror").value
    assert {state["__sls__"] for state in shown.values()} == {"pipmirror", "pipmirror.python", *included}
    assert ("require" in json.dumps(shown[STATE])) is bool(included)


def test_several_mirrors_have_a_state_for_each_platform(site: Site) -> None:
    site.settings["mirrors"] = {"one": {}, "two": {"target": str(site.directory / "two")}}
    site.also("debian/12@home")
    prepared(site)
    answer = site.good(site.apply())
    expected = {f"pipmirror-{mirror}-{name}" for mirror in ("one", "two") for name in (PLATFORM, "debian/12@home")}
    assert set(answer.states) >= expected
    for name in (PLATFORM, "debian/12@home"):
        assert site.wheels(name)
        assert list((site.directory / "two" / name).glob("*.whl"))


@pytest.mark.parametrize("name", ["12", "yes", "null", "1e3", "2024-01-01", "a+b.c_d@e-f"])
def test_names_that_yaml_would_misread(site: Site, name: str) -> None:
    site.platform["name"] = name
    prepared(site)
    state = site.state(site.good(site.apply()), name)
    assert state["name"] == name
    assert site.wheels(name)


def test_no_secret_is_shown(site: Site) -> None:
    site.settings["index"].update(username="me", password=SECRET)
    for function in ("state.show_sls", "state.show_low_sls"):
        answer = site.minion.call(function, "pipmirror", "-l", "debug")
        assert STATE in json.dumps(answer.value)
        assert SECRET not in json.dumps(answer.value)
        assert SECRET not in answer.stderr
    applied = site.apply()
    assert SECRET not in json.dumps(applied.value) + applied.stderr
    kept = [path for path in site.target.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_report_mode(site: Site) -> None:
    site.settings["highstate"] = "report"
    answer = site.apply()
    assert site.state(answer)["result"] is False
    assert "run pipmirror.sync" in site.state(answer)["comment"]
    assert not site.public().exists()
    assert site.call("sync").code == 0
    assert site.state(site.good(site.apply()))["changes"] == {}


def test_a_pillar_that_did_not_render(site: Site) -> None:
    """Salt itself refuses then; nothing of ours may act before or after."""
    site.minion.configure()
    (site.minion.directory / "pillar" / "declared.sls").write_text("{{ nonsense(")
    site.minion.configure = lambda: None  # type: ignore[method-assign]
    answer = site.apply()
    assert answer.code != 0
    assert "Pillar failed to render" in json.dumps(answer.value) + answer.stderr
    assert not site.public().exists()


class TestColdMinion:
    """Nothing is synced to it; modules and library come from the file root."""

    @pytest.fixture
    def cold(self, site: Site, tmp_path: Path) -> Site:
        root = tmp_path / "roots"
        shutil.copytree(REPOSITORY / "salt", root)
        library_in(root)
        site.minion.file_root, site.minion.module_dir = root, None
        site.minion.extra_pillar["pipmirror_python"] = PYTHON
        return site

    def test_test_mode_ends_without_an_error(self, cold: Site) -> None:
        answer = cold.apply("test=True")
        outcome = {name: state["result"] for name, state in answer.states.items()}
        assert outcome["pipmirror-modules"] is None
        assert False not in outcome.values()
        assert answer.code == 0
        assert not cold.public().exists()

    def test_what_may_go_is_no_state_before_there_is_one(self, cold: Site) -> None:
        testing = cold.minion.call("state.apply", "pipmirror.pruned", "test=True")
        assert testing.code == 0
        assert "pipmirror-pruned" not in testing.states
        answer = cold.good(cold.minion.call("state.apply", "pipmirror.pruned"))
        numbers = {name: state["__run_num__"] for name, state in answer.states.items()}
        assert numbers["pipmirror-published"] < numbers["pipmirror-pruned"]
        warm = cold.minion.call("state.apply", "pipmirror.pruned", "test=True")
        assert warm.states["pipmirror-pruned"]["result"] is True

    def test_from_nothing_in_one_run(self, cold: Site) -> None:
        answer = cold.good(cold.apply())
        assert "modules.pipmirror" in answer.states["pipmirror-modules"]["changes"]["modules"]
        assert cold.state(answer)["changes"]["alpha"]["new"] == "1.0"
        cold.check()
        # The next run is a warm one.
        again = cold.good(cold.apply())
        assert "pipmirror-modules" not in again.states
        assert [name for name, state in again.states.items() if state["changes"]] == []

    def test_platforms_by_label(self, cold: Site) -> None:
        """The names that a cold minion derives from the pillar are those that the module will know."""
        one = cold.platform
        cold.settings["platforms"] = {"mine": one, "theirs": [{**one, "name": "a"}, {"image": "debian:b"}]}
        states = cold.minion.call("state.show_sls", "pipmirror").value
        cold.minion.module_dir = REPOSITORY
        known = cold.call("platforms").value["default"]["platforms"]
        assert {name for name in states if "-default-" in name} == {f"pipmirror-default-{name}" for name in known}
        assert len(known) == 3

    def test_a_library_synced_anew_is_used_at_once(self, cold: Site) -> None:
        """In the very process that synced it, where Python still holds the old one."""
        root = cold.minion.file_root
        again = "\n  module.run:\n    - pipmirror.platforms:\n"
        (root / "pipmirror-again.sls").write_text(
            f"before:{again}\n"
            "resync:\n  saltutil.sync_all:\n    - refresh: True\n    - reload_modules: True\n\n"
            f"after:{again}    - require:\n      - saltutil: resync\n"
        )
        assert cold.minion.call("saltutil.sync_all").code == 0
        reports = root / "_utils" / "pipmirror_lib" / "reports.py"
        text = reports.read_text()
        assert '"engine_sls": mirror.engine_sls,' in text
        reports.write_text(text.replace('"engine_sls":', '"changed": True, "engine_sls":'))
        states = cold.minion.call("state.apply", "pipmirror-again").states
        seen = {name: "changed" in json.dumps(states[name]["changes"]) for name in ("before", "after")}
        assert seen == {"before": False, "after": True}

    def test_faults_on_a_cold_minion(self, cold: Site) -> None:
        cold.settings.update(upgrad=True, target="relative")
        answer = cold.apply()
        failed = [state["comment"] for state in answer.states.values() if not state["result"]]
        assert any("did you mean 'upgrade'?" in comment and "is relative" in comment for comment in failed)
        assert not any("Traceback" in comment for comment in failed)
