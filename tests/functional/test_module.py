"""The execution module through Salt's loader, as an operator calls it."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from _modules import pipmirror
from tests.functional.conftest import prepared
from tests.support.salt import Minion
from tests.support.site import IMAGE, PLATFORM, Site

# Every fault that the module has to name, each with the place where it stands.
FAULTY: dict[str, Any] = {
    "target": "srv/pip",
    "packages": ["x; touch /tmp/pwned", 5, None, "--pre alpha", "-r list.txt", "fine"],
    "constraints": "alpha<2",
    "paralell": 2,
    "prune": "yes",
    "index": {"url": "ftp://somewhere/", "username": "me"},
    "platforms": [
        {"python": "no-image"},
        {"image": IMAGE, "name": "twice"},
        {"image": "debian:trixie", "name": "twice"},
        {"image": IMAGE, "name": "../up"},
        {"image": IMAGE, "name": "/absolute"},
        {"image": IMAGE, "name": ".hidden"},
        {"image": IMAGE, "name": "typo", "pre_comand": "true"},
        "just a string",
    ],
}
PLACES = [
    "pipmirror:target: 'srv/pip' is relative",
    "pipmirror:packages[0]: 'x; touch /tmp/pwned' is not a valid requirement",
    "pipmirror:packages[1]: must be a string, not the number 5",
    "pipmirror:packages[2]: must be a string, not null",
    "pipmirror:packages[3]: '--pre alpha' holds the pip option --pre; use the setting prereleases",
    "pipmirror:packages[4]: '-r list.txt' holds the pip option -r",
    "pipmirror:constraints: must be a list of strings, not the string 'alpha<2'",
    "pipmirror:paralell: unknown key; did you mean 'parallel'?",
    "pipmirror:prune: must be true or false, not the string 'yes'",
    "pipmirror:index:url: must be a URL",
    "pipmirror:index:username: username and password belong together",
    "pipmirror:platforms[0]:image: missing",
    "pipmirror:platforms[2]:name: 'twice'",
    "pipmirror:platforms[3]:name: '../up'",
    "pipmirror:platforms[4]:name: '/absolute'",
    "pipmirror:platforms[5]:name: '.hidden'",
    "pipmirror:platforms[6]:pre_comand: unknown key; did you mean 'pre_command'?",
    "pipmirror:platforms[7]: must be a mapping with an image",
]
READING = ["plan", "status", "wheels"]


def functions() -> list[str]:
    return [name for name, value in vars(pipmirror).items() if inspect.isfunction(value) and name[0] != "_"]


@pytest.mark.parametrize("function", ["sync", "plan"])
def test_every_fault_at_once(minion: Minion, function: str) -> None:
    minion.pillar = FAULTY
    answer = minion.call(f"pipmirror.{function}")
    assert answer.value is None
    assert answer.code != 0
    assert "Traceback" not in answer.stderr
    for place in PLACES:
        assert f"- {place}" in answer.stderr
    assert f"{len(PLACES)} faults in the pipmirror settings" in answer.stderr
    told = minion.call("pipmirror.faults")
    assert told.code == 1
    assert told.value == [line[2:] for line in answer.stderr.splitlines() if line.startswith("- ")]


@pytest.mark.parametrize(
    "pillar", [None, {}, [], "text", 7, {"target": None, "platforms": None}, {"target": "/srv", "platforms": {}}]
)
def test_no_declaration_at_all(minion: Minion, pillar: Any) -> None:
    minion.pillar = pillar
    answer = minion.call("pipmirror.sync")
    assert answer.code != 0
    assert "pipmirror:platforms: missing" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_pillar_that_did_not_render_is_never_acted_upon(site: Site) -> None:
    site.minion.configure()
    pillar = site.minion.directory / "pillar"
    (pillar / "broken.sls").write_text("{{ nonsense(")
    top = json.dumps({"base": {"*": ["declared", "broken"]}})
    (pillar / "top.sls").write_text(top)
    site.minion.configure = lambda: None  # type: ignore[method-assign]
    for function, arguments in (("sync", {}), ("plan", {}), ("publish", {}), ("prune", {"force": True})):
        answer = site.call(function, **arguments)
        assert answer.code != 0
        assert "pillar: did not render" in answer.stderr
    assert site.asked() == []
    assert not site.public().exists()


def test_argument_over_pillar_over_minion_configuration(minion: Minion, tmp_path: Path) -> None:
    platforms = [{"image": IMAGE}]
    minion.options["pipmirror"] = {"target": "/from/minion", "packages": ["minion"], "platforms": platforms}
    assert _sets(minion) == ("/from/minion", ["minion"])
    minion.pillar = {"target": "/from/pillar"}
    assert _sets(minion) == ("/from/pillar", ["minion"])
    assert _sets(minion, target="/from/argument") == ("/from/argument", ["minion"])
    assert _sets(minion, packages=["a<2", "b"]) == ("/from/pillar", ["a<2", "b"])
    assert _sets(minion, packages="one") == ("/from/pillar", ["one"]), "one requirement needs no list"


def _sets(minion: Minion, **arguments: Any) -> tuple[str, list[str]]:
    declared = minion.call("pipmirror.platforms", **arguments).value["default"]
    return declared["target"], declared["platforms"]["debian-bookworm"]["sets"]["packages"]


def test_sync_from_the_command_line(site: Site) -> None:
    """Without an engine: the platform was prepared, and there is a wheel for everything."""
    answer = site.call("sync")
    assert answer.code == 0, answer
    assert answer.value["result"] is True
    platform = answer.platform
    assert set(platform) >= {"result", "comment", "added", "removed", "seconds"}
    assert platform["added"]["alpha-1.0-py3-none-any.whl"]["origin"] == "index"
    assert site.wheels() == {"alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"}
    site.check()
    status = site.call("status").value[PLATFORM]
    assert (status["satisfied"], status["wheels"], status["orphans"]) == (True, 2, 0)
    assert status["bytes"] == sum(path.stat().st_size for path in site.public().glob("*.whl"))
    wheels = site.call("wheels").value[PLATFORM]
    assert wheels["beta-2.0-py3-none-any.whl"]["wanted_by"] == ["beta>=1 (wanted by alpha 1.0)"]


def test_progress_is_logged(site: Site) -> None:
    answer = site.minion.call("pipmirror.sync", "-l", "info")
    assert f"{PLATFORM}: preparing the builder image" in answer.stderr
    assert f"{PLATFORM}: fetched 2 of 2 files" in answer.stderr


def test_one_of_two_platforms_fails(site: Site) -> None:
    site.also("second", packages=["nosuchproject"])
    prepared(site)
    answer = site.call("sync")
    assert answer.code != 0
    assert answer.value["result"] is False
    assert answer.value["comment"] == "1 of 2 platforms are satisfied; failed: second"
    assert answer.value["platforms"][PLATFORM]["result"] is True
    assert answer.value["platforms"]["second"]["result"] is False
    assert site.call("sync", platform=PLATFORM).code == 0


def test_several_mirrors(site: Site) -> None:
    other = site.directory / "other"
    site.settings["mirrors"] = {"first": {}, "second": {"target": str(other), "packages": ["beta<2"]}}
    prepared(site)
    answer = site.call("sync")
    assert answer.code == 0, answer
    assert set(answer.value["platforms"]) == {f"first:{PLATFORM}", f"second:{PLATFORM}"}
    assert {path.name for path in other.rglob("*.whl") if path.parent.parent == other} == {"beta-1.0-py3-none-any.whl"}
    assert len(site.wheels()) == 2
    assert set(site.call("plan", mirror="second").value["platforms"]) == {PLATFORM}
    refused = site.call("plan", mirror="secnd")
    assert "mirror: 'secnd' is not declared; did you mean 'second'?" in refused.stderr
    assert refused.code != 0


def test_an_unknown_platform_names_the_nearest(site: Site) -> None:
    for function in ("sync", "plan", "status"):
        answer = site.call(function, platform="bokworm")
        assert f"platform: 'bokworm' is not declared; did you mean '{PLATFORM}'?" in answer.stderr
        assert answer.code != 0


@pytest.mark.parametrize("function", READING)
def test_reading_creates_nothing(bare: Site, function: str) -> None:
    answer = bare.call(function)
    assert answer.code == 0, answer
    assert not bare.target.exists()


@pytest.mark.parametrize("function", ["publish", "verify"])
def test_acting_on_nothing_fails_and_creates_nothing(bare: Site, function: str) -> None:
    answer = bare.call(function)
    assert answer.code != 0
    assert "Traceback" not in answer.stderr
    assert not bare.target.exists()


def test_publish_repairs(site: Site) -> None:
    assert site.call("sync").code == 0
    page = site.public() / "simple" / "alpha" / "index.html"
    page.write_text("vandalised")
    (site.public() / "simple" / "beta" / "index.json").unlink()
    drift = site.call("publish", test=True).value["platforms"][PLATFORM]
    assert drift == {"written": ["simple/alpha/index.html", "simple/beta/index.json"], "removed": []}
    assert page.read_text() == "vandalised"
    assert site.call("publish").code == 0
    site.check()
    assert "alpha-1.0" in page.read_text()


BETA_1 = "beta-1.0-py3-none-any.whl"


def superseded(site: Site) -> None:
    """Leave beta 1.0 behind, which nobody needs any more."""
    assert site.call("sync", packages=["alpha", "beta<2"]).code == 0
    assert site.call("sync", upgrade=True).code == 0
    assert BETA_1 in site.wheels()


def test_prune_from_the_command_line(site: Site) -> None:
    superseded(site)
    assert site.call("prune").platform["removed"] == {}, "it is not old enough"
    told = site.call("prune", test=True, keep_days=0)
    assert BETA_1 in site.wheels()
    answer = site.call("prune", keep_days=0)
    assert answer.code == 0, answer
    assert answer.platform["removed"] == told.platform["removed"]
    assert set(answer.platform["removed"][BETA_1]) == {"project", "version", "reason", "size", "since"}
    assert answer.value["images"] == {}
    assert "builder images were left alone: " in answer.value["comment"], "no engine is no failure"
    assert BETA_1 not in site.wheels()
    site.check()
    assert site.call("prune", keep_days=0).platform["removed"] == {}


def test_prune_is_held_and_forced(site: Site) -> None:
    superseded(site)
    site.settings.update(packages=["alpha", "nosuchproject"], keep_days=0)
    answer = site.call("prune")
    assert answer.code == 0
    assert "not every set is satisfied" in answer.platform["held"]
    assert answer.platform["held"] in answer.platform["comment"]
    assert BETA_1 in site.wheels()
    refused = site.call("prune", force=True, packages=["--pre alpha"])
    assert refused.code != 0
    assert "pip option --pre" in refused.stderr
    assert len(site.wheels()) == 3, "no force overrides a fault"
    assert len(site.call("prune", force=True).platform["removed"]) == 3, "no set of it is satisfied"


def test_prune_by_other_requirements_is_refused(site: Site) -> None:
    """In every mirror, before it begins in one."""
    superseded(site)
    site.settings["mirrors"] = {"first": {"packages": ["beta"]}, "second": {"target": str(site.directory / "other")}}
    answer = site.call("prune", packages=["beta"], keep_days=0)
    assert answer.code != 0
    assert "nothing can be pruned: the arguments require something else than is declared" in answer.stderr
    assert BETA_1 in site.wheels()


def test_prune_where_nothing_is(bare: Site) -> None:
    answer = bare.call("prune", force=True)
    assert answer.code == 0
    assert "has profiled it" in answer.platform["held"]
    assert not bare.target.exists()


def test_prune_of_several_mirrors(site: Site) -> None:
    other = site.directory / "other"
    site.settings["mirrors"] = {"first": {}, "second": {"target": str(other), "packages": ["beta<2"]}}
    prepared(site)
    assert site.call("sync").code == 0
    answer = site.call("prune", test=True, keep_days=0).value
    assert set(answer["platforms"]) == {f"first:{PLATFORM}", f"second:{PLATFORM}"}
    assert set(answer["leftovers"]) == {"first:metadata", "second:metadata"}
    narrow = site.call("prune", test=True, keep_days=0, mirror="first", platform=PLATFORM).value
    assert (set(narrow["platforms"]), narrow["leftovers"], narrow["images"]) == ({PLATFORM}, {}, {})


def test_images_stay_where_the_pillar_alone_does_not_name_the_platforms(minion: Minion, tmp_path: Path) -> None:
    minion.pillar = {"packages": ["alpha"], "platforms": [{"image": IMAGE}]}
    answer = minion.call("pipmirror.prune", target=str(tmp_path / "mirror")).value
    assert "the pillar alone does not say which platforms there are" in answer["comment"]


def test_no_secret_is_told(site: Site) -> None:
    """Not by what describes the declaration, not by errors, not by the log."""
    site.settings["index"].update(username="me", password="hunter2-secret")
    site.index.username, site.index.password = "me", "something else"
    for function in ("platforms", "plan", "status", "sync"):
        answer = site.minion.call(f"pipmirror.{function}", "-l", "debug")
        assert "hunter2" not in json.dumps(answer.value)
        told = [line for line in answer.stderr.splitlines() if "hunter2" in line]
        assert told == []
    assert "check index:username and index:password" in answer.platform["comment"]


def test_a_plan_that_could_not_ask_the_index_says_so_and_fails(site: Site) -> None:
    site.index.username, site.index.password = "me", "something else"
    answer = site.call("plan", resolve=True)
    assert answer.code == 1
    assert "it wants credentials (index:url)" in answer.platform["lock"]["error"]
    assert answer.platform["missing"]


def test_documentation(minion: Minion) -> None:
    """`salt-call sys.doc pipmirror` has every function, with its parameters and an example."""
    documented = minion.call("sys.doc", "pipmirror").value
    assert set(documented) == {f"pipmirror.{name}" for name in functions()}
    for name, text in documented.items():
        assert re.search(rf"salt-call {re.escape(name)}\b", text), name
        assert "CLI Example" in text


@pytest.mark.parametrize(
    ("function", "flag"),
    [("sync", "upgrade"), ("prepare", "force"), ("verify", "hashes"), ("prune", "force"), ("prune", "test")]
    + [("clean", "test"), ("publish", "test"), ("plan", "resolve"), ("plan", "upgrade")],
)
def test_a_word_is_no_flag(function: str, flag: str) -> None:
    with pytest.raises(CommandExecutionError, match=f"{flag}: must be True or False, not 'nein'"):
        getattr(pipmirror, function)(**{flag: "nein"})
