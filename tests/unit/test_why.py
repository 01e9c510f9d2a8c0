"""Why a project is mirrored, asked of directories that hold tiny real wheels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import plan, why
from pipmirror_lib.errors import ResolutionError, SettingsError
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.mirrors import PLATFORM, declare, directory_of, equip

DEMO, DEP = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    """demo -> mid -> dep, and old, which nobody wants."""
    made = declare(tmp_path)
    public = equip(made).public
    make_wheel(public, requires=["Mid~=1.0"])
    make_wheel(public, "mid", "1.0", requires=["dep>=0.5"])
    make_wheel(public, "dep", "1.0")
    make_wheel(public, "old", "1.0")
    return made


def ask(mirror: Mirror, project: str) -> Any:
    return why.why(mirror, PLATFORM, project=project)[PLATFORM]


def test_the_chain_and_the_file(mirror: Mirror) -> None:
    report = ask(mirror, "DEP")
    assert report["project"] == "dep"
    assert report["sets"] == {
        "packages": {
            "satisfied": True,
            "file": DEP,
            "chains": [["demo", "Mid~=1.0", "dep>=0.5"]],
            "more": False,
            "missing": {},
        }
    }
    size = (directory_of(mirror).public / DEP).stat().st_size
    assert report["files"] == {DEP: {"version": "1.0", "size": size, "origin": "", "yanked": None}}


def test_where_a_recorded_wheel_comes_from(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    directory.record(directory.manifest(), [DEP])
    assert ask(mirror, "dep")["files"][DEP]["origin"] == "adopted"


def test_every_set_has_its_own_file(tmp_path: Path) -> None:
    mirror = declare(tmp_path, packages=["demo"], sets={"old": ["dep<1"], "other": ["lone"]})
    public = equip(mirror).public
    make_wheel(public, requires=["dep"])
    make_wheel(public, "lone", "1.0")
    for version in ("0.5", "1.0"):
        make_wheel(public, "dep", version)
    sets = ask(mirror, "dep")["sets"]
    assert {name: (found["file"], found["chains"]) for name, found in sets.items()} == {
        "packages": (DEP, [["demo", "dep"]]),
        "old": ("dep-0.5-py3-none-any.whl", [["dep<1"]]),
    }


def test_a_wheel_is_asked_for_by_its_file_name(mirror: Mirror) -> None:
    assert ask(mirror, DEP) == ask(mirror, "dep")


@pytest.mark.parametrize("text", ["dep>=1", "dep[tls]", "", "../dep", "dep-1.0.whl"])
def test_what_is_no_project_is_refused(mirror: Mirror, text: str) -> None:
    with pytest.raises(SettingsError, match="project: "):
        why.why(mirror, None, project=text)


def test_an_orphan_is_told(mirror: Mirror) -> None:
    report = ask(mirror, "old")
    assert (report["sets"], report["orphans"]) == ({}, ["old-1.0-py3-none-any.whl"])
    make_wheel(directory_of(mirror).public, "dep", "0.1")
    report = ask(mirror, "dep")
    assert report["sets"]["packages"]["file"] == DEP
    assert report["orphans"] == ["dep-0.1-py3-none-any.whl"]


def test_what_is_missing_has_the_reason_of_the_plan(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    (directory.public / DEP).unlink()
    found = ask(mirror, "dep")["sets"]["packages"]
    assert (found["satisfied"], found["file"]) == (False, None)
    assert found["chains"] == [["demo", "Mid~=1.0", "dep>=0.5"]]
    assert found["missing"] == plan.make(mirror, mirror.platforms[0], directory).missing
    assert "dep: nothing of that name in the mirror (demo 1.0 -> mid 1.0 -> dep>=0.5)" in found["missing"]["demo"]


def test_while_something_is_missing_nobody_is_called_an_orphan(mirror: Mirror) -> None:
    (directory_of(mirror).public / DEP).unlink()
    report = ask(mirror, "old")
    assert (report["orphans"], report["undecided"]) == ([], ["packages"])
    assert list(report["files"]) == ["old-1.0-py3-none-any.whl"]


def test_a_broken_wheel_is_told(mirror: Mirror) -> None:
    (directory_of(mirror).public / DEP).write_bytes(b"damage")
    report = ask(mirror, "dep")
    assert (list(report["broken"]), report["files"]) == ([DEP], {})


def test_an_unknown_project_is_an_error_with_near_names(mirror: Mirror) -> None:
    reports = why.why(mirror, None, project="depp")
    with pytest.raises(SettingsError, match=r"'depp' is wanted by nobody and lies nowhere; did you mean 'dep'\?"):
        why.check_known("depp", reports)
    reports = why.why(mirror, None, project="zzzzzz")
    with pytest.raises(SettingsError, match=r"pipmirror\.wheels lists what is there"):
        why.check_known("zzzzzz", reports)


def test_what_a_sync_might_bring_is_not_said_to_be_wanted_by_nobody(mirror: Mirror) -> None:
    (directory_of(mirror).public / DEP).unlink()
    with pytest.raises(SettingsError) as caught:
        why.check_known("zzzzzz", why.why(mirror, None, project="zzzzzz"))
    said = str(caught.value)
    assert said.startswith("1 fault in the arguments:")
    assert "wanted by nobody" not in said
    assert "run pipmirror.sync, or pipmirror.plan resolve=True" in said


def test_known_on_one_platform_is_known(mirror: Mirror) -> None:
    unknown = ask(mirror, "depp")
    why.check_known("dep", {"one": ask(mirror, "dep"), "two": unknown})


def test_a_project_that_is_only_missing_is_known(mirror: Mirror) -> None:
    (directory_of(mirror).public / DEP).unlink()
    why.check_known("dep", why.why(mirror, None, project="dep"))


def test_a_declared_marker_that_does_not_hold_is_told(tmp_path: Path) -> None:
    mirror = declare(tmp_path, packages=["tomli; python_version < '3.11'"])
    equip(mirror)
    report = ask(mirror, "tomli")
    assert (report["sets"], report["not_here"]) == ({}, ['tomli; python_version < "3.11"'])
    why.check_known("tomli", {PLATFORM: report})


def test_a_declared_marker_that_makes_no_sense_is_for_the_plan_to_tell(tmp_path: Path) -> None:
    mirror = declare(tmp_path, packages=["demo; os_name ~= 'posix'"])
    equip(mirror)
    report = ask(mirror, "demo")
    assert (report["undecided"], report["not_here"]) == (["packages"], [])
    (reason,) = report["sets"]["packages"]["missing"].values()
    assert "a marker cannot be evaluated" in reason


def test_a_platform_never_profiled(tmp_path: Path) -> None:
    mirror = declare(tmp_path)
    report = ask(mirror, "demo")
    assert report["note"] == plan.NEVER_PROFILED
    assert report["sets"]["packages"]["missing"] == {"demo": plan.NEVER_PROFILED}
    reports = why.why(mirror, None, project="dmo")
    with pytest.raises(SettingsError, match=r"only a sync can tell of bookworm.*pipmirror\.sync.*you mean 'demo'\?"):
        why.check_known("dmo", reports)
    assert not mirror.target.exists()


def test_a_set_that_cannot_be_decided(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(question: Any, source: Any) -> None:
        raise ResolutionError("too long")

    monkeypatch.setattr(why.resolve, "resolve", give_up)
    found = ask(mirror, "dep")["sets"]["packages"]
    assert found["missing"] == {"demo": "too long"}
    assert found["chains"] == [["demo", "Mid~=1.0", "dep>=0.5"]]


URL = "git+https://git.invalid/demo@main"


def test_a_declared_url_is_a_chain_of_its_own(tmp_path: Path) -> None:
    mirror = declare(tmp_path, packages=[URL, "other"])
    directory = equip(mirror)
    make_wheel(directory.public, requires=["dep"])
    make_wheel(directory.public, "dep", "1.0")
    make_wheel(directory.public, "other", "1.0")
    manifest = directory.manifest()
    directory.record(manifest, [DEMO])
    assert ask(mirror, "dep")["sets"] == {}, "nobody knows what the URL would become"
    assert ask(mirror, "other")["sets"]["packages"]["chains"] == [["other"]]
    manifest["wheels"][DEMO]["direct"] = [URL]
    directory.save_manifest(manifest)
    assert ask(mirror, "dep")["sets"]["packages"]["chains"] == [[URL, "dep"]]
    assert ask(mirror, "demo")["sets"]["packages"] == {
        "satisfied": True,
        "file": DEMO,
        "chains": [[URL]],
        "more": False,
        "missing": {},
    }


def test_the_answer_is_plain_data(mirror: Mirror) -> None:
    answer = why.why(mirror, None, project="dep")
    assert json.loads(json.dumps(answer)) == answer


def test_a_platform_that_is_not_declared(mirror: Mirror) -> None:
    with pytest.raises(SettingsError, match=r"did you mean 'bookworm'"):
        why.why(mirror, "bokworm", project="dep")
