"""The plan: declared against present, and the cache that remembers the verdict."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import packaging
import pytest
from pipmirror_lib import plan, resolve
from pipmirror_lib.errors import ResolutionError
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.publication import publish
from pipmirror_lib.settings import Mirror
from pipmirror_lib.verdict import PlatformPlan

from tests.support.dists import make_wheel
from tests.support.mirrors import declare, equip, settle
from tests.support.worlds import make_profile

DEMO, DEP = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"


def make(mirror: Mirror) -> PlatformPlan:
    return plan.make(mirror, mirror.platforms[0], PlatformDirectory.of(mirror, mirror.platforms[0].name))


def record(directory: PlatformDirectory) -> None:
    manifest = directory.manifest()
    directory.record(manifest, [path.name for path in directory.public.glob("*.whl")])


def remember(directory: PlatformDirectory, **changes: Any) -> None:
    path = directory.private / "state.json"
    directory.save(path, json.dumps({**plan.read_json(path), **changes}))


def ago(**span: int) -> str:
    return (datetime.now(timezone.utc) - timedelta(**span)).isoformat()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the decision was made."""
    questions: list[str] = []
    decide = resolve.resolve

    def noting(question: Any, source: Any) -> Any:
        questions.append(str(question.requirements))
        return decide(question, source)

    monkeypatch.setattr(resolve, "resolve", noting)
    return questions


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return declare(tmp_path)


@pytest.fixture
def directory(mirror: Mirror) -> PlatformDirectory:
    """demo and dep, recorded, and left alone for a while."""
    made = equip(mirror)
    make_wheel(made.public, requires=["dep"])
    make_wheel(made.public, "dep", "1.0")
    record(made)
    settle(made)
    return made


# -- the plan ------------------------------------------------------------------------------------------------


def test_a_platform_never_profiled_says_so(mirror: Mirror) -> None:
    made = make(mirror)
    assert made.missing == {"demo": plan.NEVER_PROFILED}
    assert (made.satisfied, made.due) == (False, (plan.ENGINE_NEEDED,))


def test_what_is_missing_is_said(mirror: Mirror) -> None:
    equip(mirror)
    made = make(mirror)
    assert list(made.missing) == ["demo"]
    assert made.missing["demo"].startswith("demo: nothing of that name")
    assert not made.nothing_to_do


def test_a_satisfied_platform(mirror: Mirror, directory: PlatformDirectory) -> None:
    made = make(mirror)
    assert made.satisfied
    assert made.closure == (DEMO, DEP)
    assert made.wanted_by == {DEMO: ("demo (declared)",), DEP: ("dep (wanted by demo 1.0)",)}
    assert (made.orphans, made.unrecorded, made.vanished, dict(made.broken)) == ((), (), (), {})
    assert made.due == (plan.PUBLISH,)


def test_orphans_are_named_once_nothing_is_missing(mirror: Mirror, directory: PlatformDirectory) -> None:
    make_wheel(directory.public, "old", "1.0")
    assert make(mirror).orphans == ("old-1.0-py3-none-any.whl",)
    (directory.public / DEP).unlink()
    assert make(mirror).orphans == ()


def test_every_set_is_decided_on_its_own(tmp_path: Path) -> None:
    mirror = declare(tmp_path, packages=["demo>=2"], sets={"old": ["demo<2"], "bad": ["gone"]})
    made = equip(mirror)
    make_wheel(made.public, "demo", "1.0")
    make_wheel(made.public, "demo", "2.0")
    found = make(mirror)
    assert list(found.missing) == ["gone"]
    assert found.closure == (DEMO, "demo-2.0-py3-none-any.whl")


def test_a_decision_that_takes_too_long_is_told_of_every_requirement(
    mirror: Mirror, directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(question: Any, source: Any) -> None:
        raise ResolutionError("too long")

    monkeypatch.setattr(resolve, "resolve", give_up)
    assert make(mirror).missing == {"demo": "too long"}


def test_wheels_without_a_record_and_records_without_a_wheel(mirror: Mirror, directory: PlatformDirectory) -> None:
    make_wheel(directory.public, "new", "1.0")
    (directory.public / DEP).unlink()
    make_wheel(directory.public, requires=["other-size-than-before"])
    made = make(mirror)
    assert made.unrecorded == (DEMO, "new-1.0-py3-none-any.whl")
    assert made.vanished == (DEP,)


def test_a_broken_wheel_is_named_and_not_forgotten(mirror: Mirror, directory: PlatformDirectory) -> None:
    (directory.public / DEP).write_bytes(b"damage")
    made = make(mirror)
    assert list(made.broken) == [DEP]
    assert (made.satisfied, made.vanished) == (False, ())


# -- what else is due ----------------------------------------------------------------------------------------


def test_everything_done_is_nothing_to_do(mirror: Mirror, directory: PlatformDirectory) -> None:
    publish(mirror, mirror.platforms[0], make(mirror), directory.manifest()["wheels"])
    settle(directory)
    made = make(mirror)
    assert made.due == ()
    assert made.nothing_to_do


@pytest.mark.parametrize(
    "change",
    [
        {"image": "debian:trixie"},
        {"pre_command": "true"},
        {"python": "python3.9"},
        {"architecture": "arm64"},
        {"image_source": "registry"},
    ],
)
def test_another_recipe_needs_the_engine(tmp_path: Path, directory: PlatformDirectory, change: dict[str, str]) -> None:
    platform = {"image": "debian:bookworm", "name": "bookworm", **change}
    assert plan.ENGINE_NEEDED in make(declare(tmp_path, platforms=[platform])).due


def test_what_does_not_make_the_image_needs_no_engine(tmp_path: Path, directory: PlatformDirectory) -> None:
    platform = {"image": "debian:bookworm", "name": "bookworm", "verify_command": "true", "packages": ["dep"]}
    assert plan.ENGINE_NEEDED not in make(declare(tmp_path, platforms=[platform])).due


def test_an_old_image_is_made_anew(tmp_path: Path, directory: PlatformDirectory) -> None:
    remember(directory, prepared=ago(days=8))
    assert plan.REBUILD in make(declare(tmp_path, rebuild_after="1w")).due
    assert plan.REBUILD not in make(declare(tmp_path, rebuild_after="9d")).due
    assert plan.REBUILD not in make(declare(tmp_path, rebuild_after=0)).due


def test_upgrades_are_looked_for_as_often_as_declared(tmp_path: Path, directory: PlatformDirectory) -> None:
    assert plan.UPGRADE in make(declare(tmp_path, upgrade="7d")).due, "never looked"
    remember(directory, looked=ago(days=3))
    assert plan.UPGRADE in make(declare(tmp_path, upgrade=True)).due
    assert plan.UPGRADE in make(declare(tmp_path, upgrade="2d")).due
    assert plan.UPGRADE not in make(declare(tmp_path, upgrade="7d")).due
    assert plan.UPGRADE not in make(declare(tmp_path)).due


def test_a_closure_is_verified_once(tmp_path: Path, directory: PlatformDirectory) -> None:
    mirror = declare(tmp_path, verify=True)
    made = make(mirror)
    assert plan.VERIFY in made.due
    state = plan.read_json(directory.private / "state.json")
    key = plan.proof_key(mirror, mirror.platforms[0], directory, state, made)
    remember(directory, verified={"key": key, "sets": {"packages": {"installed": 2}}})
    assert plan.VERIFY not in make(mirror).due
    assert plan.proofs(plan.read_json(directory.private / "state.json"), key) == {"packages": {"installed": 2}}
    constrained = declare(tmp_path, verify=True, constraints=["other<2"])
    assert plan.VERIFY in make(constrained).due, "other constraints were not proved"
    remember(directory, image="another")
    assert plan.VERIFY in make(mirror).due, "another image was not proved"
    remember(directory, image=state.get("image"))
    assert plan.VERIFY not in make(mirror).due
    make_wheel(directory.public, "demo", "1.1")
    assert plan.VERIFY in make(mirror).due


def test_what_was_interrupted_is_finished(mirror: Mirror, directory: PlatformDirectory) -> None:
    directory.journal_path.write_text("")
    assert plan.RECOVER in make(mirror).due


@pytest.mark.parametrize("content", ["", "{", "[]", '{"manifest": "other"}'])
def test_pages_of_another_manifest_are_published(mirror: Mirror, directory: PlatformDirectory, content: str) -> None:
    directory.published_path.write_text(content)
    assert plan.PUBLISH in make(mirror).due


# -- the verdict cache ---------------------------------------------------------------------------------------


def test_a_verdict_is_remembered(mirror: Mirror, directory: PlatformDirectory, asked: list[str]) -> None:
    first = make(mirror)
    assert len(asked) == 1
    assert make(mirror) == first
    assert len(asked) == 1


def test_a_failure_is_remembered_too(mirror: Mirror, asked: list[str]) -> None:
    settle(equip(mirror))
    assert make(mirror) == make(mirror)
    assert len(asked) == 1


def touch_directory(directory: PlatformDirectory) -> None:
    settle(directory, 5)


def new_wheel(directory: PlatformDirectory) -> None:
    make_wheel(directory.public, "more", "1.0")
    settle(directory)


def another_manifest(directory: PlatformDirectory) -> None:
    directory.save_manifest(directory.manifest())


def another_profile(directory: PlatformDirectory) -> None:
    directory.save(directory.profile_path, make_profile("3.12.1").to_json())


@pytest.mark.parametrize("change", [touch_directory, new_wheel, another_manifest, another_profile])
def test_what_changes_on_disk_is_noticed(
    mirror: Mirror, directory: PlatformDirectory, asked: list[str], change: Callable[[PlatformDirectory], None]
) -> None:
    make(mirror)
    change(directory)
    make(mirror)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"packages": ["demo", "dep"]},
        {"packages": ["demo>=1"]},
        {"constraints": ["dep<9"]},
        {"prereleases": True},
        {"prereleases": ["demo"]},
        {"no_binary": ["demo"]},
        {"sets": {"more": ["dep"]}},
        {"resolve_timeout": 7},
    ],
    ids=str,
)
def test_what_changes_in_the_settings_is_noticed(
    tmp_path: Path, directory: PlatformDirectory, asked: list[str], change: dict[str, Any]
) -> None:
    make(declare(tmp_path))
    before = len(asked)
    make(declare(tmp_path, **change))
    assert len(asked) > before


@pytest.mark.parametrize("change", [{"parallel": 7}, {"upgrade": True}, {"index": {"timeout": 9}}], ids=str)
def test_what_does_not_matter_is_not_noticed(
    tmp_path: Path, directory: PlatformDirectory, asked: list[str], change: dict[str, Any]
) -> None:
    make(declare(tmp_path))
    make(declare(tmp_path, **change))
    assert len(asked) == 1


def test_another_code_decides_anew(
    mirror: Mirror, directory: PlatformDirectory, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(mirror)
    monkeypatch.setattr(plan, "STAMP", "another")
    make(mirror)
    assert len(asked) == 2


def test_another_packaging_decides_anew(
    mirror: Mirror, directory: PlatformDirectory, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(mirror)
    monkeypatch.setattr(packaging, "__version__", "another")
    make(mirror)
    assert len(asked) == 2


def test_a_directory_that_changed_just_now_is_not_trusted(
    mirror: Mirror, directory: PlatformDirectory, asked: list[str]
) -> None:
    """It may change again within the grain of its time stamp, unnoticed."""
    os.utime(directory.public)
    make(mirror)
    make(mirror)
    assert len(asked) == 2
    assert not directory.verdict_path.exists()


def test_a_verdict_that_cannot_be_written_is_done_without(
    mirror: Mirror, directory: PlatformDirectory, asked: list[str]
) -> None:
    directory.verdict_path.mkdir()
    directory.lists_path.mkdir()
    assert make(mirror) == make(mirror)
    assert len(asked) == 2


def test_a_remembered_plan_is_the_plan(mirror: Mirror, directory: PlatformDirectory) -> None:
    (directory.public / "bad-1.0-py3-none-any.whl").write_bytes(b"")
    make_wheel(directory.public, "old", "1.0")
    settle(directory)
    first = make(mirror)
    again = make(mirror)
    for field in dataclasses.fields(first):
        one, other = getattr(first, field.name), getattr(again, field.name)
        assert one == other
        assert type(one) is type(other)


def test_lists_are_not_read_before_somebody_asks(
    mirror: Mirror, directory: PlatformDirectory, asked: list[str]
) -> None:
    publish(mirror, mirror.platforms[0], make(mirror), directory.manifest()["wheels"])
    settle(directory)
    asked.clear()
    make(mirror)
    directory.lists_path.unlink()
    made = make(mirror)
    assert made.nothing_to_do
    assert len(asked) == 1
    assert not directory.lists_path.exists()
    assert made.closure == (DEMO, DEP)
    assert len(asked) == 2, "decided anew, and remembered"
    assert make(mirror).closure == (DEMO, DEP)
    assert len(asked) == 2


def test_a_verdict_is_proved_without_its_lists(tmp_path: Path, directory: PlatformDirectory, asked: list[str]) -> None:
    mirror = declare(tmp_path, verify=True)
    first = make(mirror)
    directory.lists_path.unlink()
    assert plan.VERIFY in make(mirror).due
    state = plan.read_json(directory.private / "state.json")
    key = plan.proof_key(mirror, mirror.platforms[0], directory, state, first)
    remember(directory, verified={"key": key, "sets": {"packages": {"installed": 2}}})
    assert plan.VERIFY not in make(mirror).due
    assert len(asked) == 1
