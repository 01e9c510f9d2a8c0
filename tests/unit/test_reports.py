"""What an administrator may ask, and that asking changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pipmirror_lib import plan, reports, sync
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.moments import later, now
from pipmirror_lib.settings import Mirror, RequirementSet

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import PLATFORM, declare, directory_of, equip

DEMO, DEP = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"
SECRET = "hunter2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["dep"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    with LocalIndex(tmp_path / "files", username="me", password=SECRET) as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    return declare(tmp_path, server.url, index={"username": "me", "password": SECRET})


@pytest.fixture
def synced(mirror: Mirror) -> Mirror:
    equip(mirror)
    answer = sync.sync(mirror)
    assert answer["result"], answer
    return mirror


def everything(mirror: Mirror) -> list[Any]:
    asked = [reports.plans, reports.status, reports.wheels, reports.drift]
    return [reports.platforms(mirror), *(ask(mirror, None) for ask in asked)]


def snapshot(mirror: Mirror) -> dict[str, tuple[int, int]]:
    paths = (path for path in mirror.target.rglob("*") if path.is_file() and path.suffix != ".cache")
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


def test_what_is_declared(mirror: Mirror) -> None:
    assert reports.platforms(mirror) == {
        "target": str(mirror.target),
        "highstate": "build",
        "engine_sls": "docker",
        "parallel": 2,
        "platforms": {
            PLATFORM: {
                "image": "debian:bookworm",
                "directory": str(mirror.target / PLATFORM),
                "sets": {"packages": ["demo"]},
            }
        },
    }


def test_before_anything_was_synced(mirror: Mirror) -> None:
    everything(mirror)
    assert not mirror.target.exists(), "asking makes nothing"
    assert reports.plans(mirror, None)[PLATFORM]["missing"] == {"demo": plan.NEVER_PROFILED}
    assert reports.status(mirror, None)[PLATFORM]["wheels"] == 0
    assert reports.wheels(mirror, None) == {PLATFORM: {}}
    assert reports.drift(mirror, None) == {}


def test_asking_changes_nothing(synced: Mirror, server: LocalIndex) -> None:
    before = snapshot(synced)
    server.log.clear()
    everything(synced)
    assert snapshot(synced) == before
    assert server.log == []


def test_every_answer_is_plain_data_without_secrets(synced: Mirror) -> None:
    answers = everything(synced)
    text = json.dumps(answers)
    assert json.loads(text) == answers
    assert SECRET not in text


def test_a_synced_platform(synced: Mirror) -> None:
    made = reports.plans(synced, PLATFORM)[PLATFORM]
    assert (made["satisfied"], made["nothing_to_do"]) == (True, True)
    assert made["closure"] == [DEMO, DEP]
    status = reports.status(synced, PLATFORM)[PLATFORM]
    sizes = [path.stat().st_size for path in directory_of(synced).public.glob("*.whl")]
    assert (status["wheels"], status["bytes"], status["orphans"]) == (2, sum(sizes), 0)
    assert (status["python"], status["pip"]) == ("3.11.2", "26.3")
    assert status["last_sync"]
    assert status["last_look"]


def test_wheels_say_who_wants_them(synced: Mirror) -> None:
    found = reports.wheels(synced, None)[PLATFORM]
    assert found[DEP]["wanted_by"] == ["dep (wanted by demo 1.0)"]
    assert (found[DEMO]["project"], found[DEMO]["version"], found[DEMO]["origin"]) == ("demo", "1.0", "index")


def test_orphans_are_counted(synced: Mirror, tmp_path: Path) -> None:
    directory = directory_of(synced)
    orphan = make_wheel(directory.public, "old", "1.0")
    manifest = directory.manifest()
    directory.record(manifest, [orphan.name])
    status = reports.status(synced, None)[PLATFORM]
    assert (status["orphans"], status["orphan_bytes"]) == (1, orphan.stat().st_size)
    assert (status["orphans_until"], status["held"]) == ("", "")


def test_until_when_an_orphan_stays_and_what_holds_it_then(synced: Mirror) -> None:
    directory = directory_of(synced)
    old, older = (make_wheel(directory.public, "old", version).name for version in ("2.0", "1.0"))
    directory.record(directory.manifest(), [old, older])
    since = later(now(), -31 * 86400)
    plan.remember(directory, unneeded={older: since}, synced=now())
    told = reports.plans(synced, None)[PLATFORM]
    assert told["keep_until"] == {older: later(since, 30 * 86400), old: ""}
    assert told["held"] == ""
    assert reports.status(synced, None)[PLATFORM]["orphans_until"] == later(since, 30 * 86400)
    undeclared = replace(synced, platforms=(replace(synced.platforms[0], sets=()),))
    held = reports.status(undeclared, None)[PLATFORM]["held"]
    assert held.startswith("no requirement is declared for the platform")
    missing = replace(
        synced, platforms=(replace(synced.platforms[0], sets=(RequirementSet("s", (Requirement("no"),)),)),)
    )
    assert reports.plans(missing, None)[PLATFORM]["held"].startswith("not every set is satisfied")


def test_drift_is_told(synced: Mirror) -> None:
    assert reports.drift(synced, None) == {PLATFORM: {"written": [], "removed": []}}
    (directory_of(synced).public / "simple" / "dep" / "index.html").write_text("drift")
    assert reports.drift(synced, None) == {PLATFORM: {"written": ["simple/dep/index.html"], "removed": []}}


def test_a_plan_that_asks_the_index_says_what_would_come(mirror: Mirror) -> None:
    equip(mirror)
    before = snapshot(mirror)
    lock = reports.plans(mirror, None, resolve=True)[PLATFORM]["lock"]
    assert set(lock["files"]) == {DEMO, DEP}
    assert lock["bytes"] == sum(file["size"] for file in lock["files"].values()) > 0
    assert lock["files"][DEMO]["kind"] == "wheel"
    assert set(snapshot(mirror)) - set(before) <= {p for p in snapshot(mirror) if ".metadata" in p or ".downloads" in p}
    assert SECRET not in json.dumps(lock)


def test_a_platform_that_the_index_cannot_be_asked_of_does_not_keep_the_others_from_their_answer(
    tmp_path: Path, server: LocalIndex
) -> None:
    """One has all that is declared, and nobody to ask for; of the other the index wants other credentials."""
    platforms = [{"image": "debian:bookworm", "name": name, "packages": [name]} for name in ("demo", "dep")]
    known = {"username": "me", "password": SECRET}
    two = declare(tmp_path, server.url, packages=[], platforms=platforms, index=known)
    equip(two)
    assert sync.sync(two, "demo")["result"]
    server.password = "another"
    plans = reports.plans(two, None, resolve=True)
    assert plans["demo"]["lock"]["files"] == {}
    assert "refuses us (401): check index:username" in plans["dep"]["lock"]["error"]
    assert plans["dep"]["missing"]


def test_a_plan_that_asks_the_index_leaves_nothing_where_there_is_no_mirror(mirror: Mirror) -> None:
    assert reports.plans(mirror, None, resolve=True)[PLATFORM]["lock"] == {"error": plan.NEVER_PROFILED}
    assert not mirror.target.exists()


def test_a_platform_that_is_not_declared(mirror: Mirror) -> None:
    for ask in (reports.plans, reports.status, reports.wheels, reports.drift):
        with pytest.raises(SettingsError, match=r"did you mean 'bookworm'"):
            ask(mirror, "bokworm")


def alter(mirror: Mirror, filename: str, **record: Any) -> None:
    directory = directory_of(mirror)
    manifest = directory.manifest()
    manifest["wheels"][filename].update(record)
    directory.save_manifest(manifest)


def test_what_was_yanked_or_withdrawn_upstream_is_told(synced: Mirror) -> None:
    status = reports.status(synced, None)[PLATFORM]
    assert (status["yanked"], status["withdrawn"]) == ({}, [])
    alter(synced, DEP, yanked="")
    alter(synced, DEMO, yanked="broken", withdrawn=True)
    status = reports.status(synced, None)[PLATFORM]
    assert (status["yanked"], status["withdrawn"]) == ({DEMO: "broken", DEP: ""}, [DEMO])
    wheels = reports.wheels(synced, None)[PLATFORM]
    assert [(wheels[name]["yanked"], wheels[name]["withdrawn"]) for name in (DEMO, DEP)] == [
        ("broken", True),
        ("", False),
    ]


def test_every_wheel_has_the_same_keys(synced: Mirror) -> None:
    directory = directory_of(synced)
    lying = make_wheel(directory.public, "old", "1.0", tag="py2.py3-none-any")
    directory.record(directory.manifest(), [lying.name])
    found = reports.wheels(synced, None)[PLATFORM]
    assert set(found[lying.name]) == set(found[DEMO])
    assert found[lying.name]["tags"] == ["py2-none-any", "py3-none-any"]
    assert (found[lying.name]["url"], found[lying.name]["yanked"], found[lying.name]["wanted_by"]) == ("", None, [])


def test_who_declared_a_wheel_comes_first(tmp_path: Path) -> None:
    mirror = declare(tmp_path, packages=["a", "b", "demo"])
    directory = equip(mirror)
    for name, wants in {"a": ["demo>=1"], "b": ["demo"], "demo": []}.items():
        make_wheel(directory.public, name, "1.0", requires=wants)
    directory.record(directory.manifest(), [path.name for path in directory.public.glob("*.whl")])
    assert reports.wheels(mirror, None)[PLATFORM][DEMO]["wanted_by"] == [
        "demo (declared)",
        "demo (wanted by b 1.0)",
        "demo>=1 (wanted by a 1.0)",
    ]


def test_what_a_set_declares_is_told_although_the_set_is_not_satisfied(tmp_path: Path) -> None:
    """Of anything else nobody can say who needs it; a set that is satisfied has said it."""
    url = "git+https://git.invalid/other@main"
    packages = ["demo[tls]; os_name == 'posix'", "demo", "dep>=2", "gone", url, "no; os_name == 'nt'"]
    mirror = declare(tmp_path, packages=packages, sets={"fine": ["fine"]})
    directory = equip(mirror)
    for name in ("demo", "dep", "other", "fine", "no"):
        make_wheel(directory.public, name, "1.0")
    manifest = directory.manifest()
    directory.record(manifest, [path.name for path in directory.public.glob("*.whl")])
    manifest["wheels"]["other-1.0-py3-none-any.whl"]["direct"] = [url]
    directory.save_manifest(manifest)
    found = reports.wheels(mirror, None)[PLATFORM]
    told = {about["project"]: (about["wanted_by"], about["undecided"]) for about in found.values()}
    assert told == {
        "demo": (["demo (declared)", "demo[tls] (declared)"], False),
        "dep": ([], True),
        "other": ([f"{url} (declared)"], False),
        "fine": (["fine (declared)"], False),
        "no": ([], True),
    }
    (directory.private / "profile.json").unlink()
    assert reports.wheels(mirror, None)[PLATFORM]["fine-1.0-py3-none-any.whl"]["wanted_by"] == ["fine (declared)"]


def test_an_orphan_that_nobody_has_recorded_has_a_size_too(synced: Mirror) -> None:
    orphan = make_wheel(directory_of(synced).public, "old", "1.0")
    status = reports.status(synced, None)[PLATFORM]
    assert (status["orphans"], status["orphan_bytes"], status["wheels"]) == (1, orphan.stat().st_size, 2)


def test_a_platform_without_an_image_is_told_of_no_image(tmp_path: Path) -> None:
    here = declare(tmp_path, platforms=[{"name": PLATFORM}], rebuild_after="1d")
    status = reports.status(here, None)[PLATFORM]
    assert (status["image"], status["image_source"]) == ("", "this machine")
    assert status["due"] == ["prepare: this machine's Python was never profiled, or this Python is new"]
    directory = equip(here)
    plan.remember(directory, prepared=later(now(), -2 * 86400))
    due = reports.plans(here, None)[PLATFORM]["due"]
    assert "prepare: the profile of this machine's Python is older than rebuild_after" in due


def test_the_age_of_the_builder_image(synced: Mirror) -> None:
    assert 0 <= reports.status(synced, None)[PLATFORM]["image_age"] < 3600
    (directory_of(synced).private / "state.json").write_text("{}")
    status = reports.status(synced, None)[PLATFORM]
    assert (status["image_made"], status["image_age"]) == ("", None)


def test_broken_wheels_come_in_order(synced: Mirror) -> None:
    names = [f"{letter}-1.0-py3-none-any.whl" for letter in "zyxabc"]
    for name in names:
        (directory_of(synced).public / name).write_bytes(b"")
    assert list(reports.plans(synced, None)[PLATFORM]["broken"]) == sorted(names)
