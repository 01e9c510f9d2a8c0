"""How unneeded wheels go: the clock in the state, the guards of a platform, and a kill at any step."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import plan, proof, prune, publish, sync
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.moments import age
from pipmirror_lib.plan import PlatformPlan
from pipmirror_lib.proof import VerifyOutcome
from pipmirror_lib.settings import Mirror
from pipmirror_lib.verification import Verification

from tests.support.dists import make_wheel
from tests.support.killing import Killed, kill_before
from tests.support.localindex import LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip, settle, wheels

DEMO, DEP, OLD = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl", "old-1.0-py3-none-any.whl"
Result = dict[str, Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["dep"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    make_wheel(tmp_path / "files", "old", "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    """demo, its dep, and old, which was wanted once."""
    before = declare(tmp_path, server.url, packages=["demo", "old"])
    equip(before)
    synced(before)
    settle(directory_of(before))
    return declare(tmp_path, server.url)


def synced(mirror: Mirror, **more: Any) -> Result:
    return _good(sync.sync(mirror, **more))


def pruned(mirror: Mirror, **more: Any) -> Result:
    return _good(sync.prune(mirror, **more))


def _good(answer: Result) -> Result:
    assert answer["result"], answer
    return dict(next(iter(answer["platforms"].values())))


def made(mirror: Mirror) -> PlatformPlan:
    return plan.make(mirror, mirror.platforms[0], directory_of(mirror))


def unneeded(mirror: Mirror) -> dict[str, str]:
    found: dict[str, str] = plan.read_json(directory_of(mirror).state_path).get("unneeded", {})
    return found


def wait(mirror: Mirror, **span: int) -> None:
    """Let that much time have passed since the clocks of the wheels began."""
    directory = directory_of(mirror)
    moved = {
        name: (datetime.fromisoformat(when.replace("Z", "+00:00")) - timedelta(**span)).isoformat()
        for name, when in unneeded(mirror).items()
    }
    plan.remember(directory, unneeded=moved)


def snapshot(mirror: Mirror) -> dict[str, tuple[int, int]]:
    ours = ("verdict.cache", "lists.cache", "scan.cache")
    paths = (path for path in mirror.target.rglob("*") if path.is_file() and path.name not in ours)
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


# -- the clock -----------------------------------------------------------------------------------------------


def test_a_sync_notes_what_the_pillar_needs_no_more(mirror: Mirror, server: LocalIndex) -> None:
    """Without engine and index, and without touching the manifest; then there is nothing to do."""
    planned = made(mirror)
    assert planned.satisfied
    assert planned.due == (plan.PUBLISH, f"{plan.UNNEEDED}: 1 wheel")
    manifest = plan.manifest_stamp(directory_of(mirror))
    server.log.clear()
    result = synced(mirror)
    assert result["unneeded"] == {"noted": [OLD], "dropped": []}
    assert list(unneeded(mirror)) == [OLD]
    assert age(unneeded(mirror)[OLD]) < 60
    assert plan.manifest_stamp(directory_of(mirror)) == manifest
    assert server.log == []
    assert "engine" not in result["comment"]
    assert made(mirror).nothing_to_do
    assert "unneeded" not in synced(mirror)


def test_a_prune_notes_it_too(mirror: Mirror) -> None:
    assert pruned(mirror, test=True)["unneeded"] == {"noted": [OLD], "dropped": []}
    assert unneeded(mirror) == {}
    assert pruned(mirror)["unneeded"] == {"noted": [OLD], "dropped": []}
    assert list(unneeded(mirror)) == [OLD]
    assert pruned(mirror)["unneeded"] == {"noted": [], "dropped": []}


def test_the_clock_goes_on(mirror: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    synced(mirror)
    wait(mirror, days=5)
    before = unneeded(mirror)
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    synced(mirror, upgrade=True)
    assert set(unneeded(mirror)) == {OLD, DEP}
    assert unneeded(mirror)[OLD] == before[OLD]
    assert age(unneeded(mirror)[DEP]) < 60


def test_what_is_needed_again_begins_anew(mirror: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    synced(mirror)
    wait(mirror, days=40)
    wanting = declare(tmp_path, server.url, packages=["demo", "old"])
    assert not made(wanting).nothing_to_do
    assert synced(wanting)["unneeded"] == {"noted": [], "dropped": [OLD]}
    assert unneeded(mirror) == {}
    synced(mirror)
    assert age(unneeded(mirror)[OLD]) < 60


def test_what_is_gone_is_forgotten(mirror: Mirror) -> None:
    synced(mirror)
    (directory_of(mirror).public / OLD).unlink()
    synced(mirror)
    assert unneeded(mirror) == {}
    assert made(mirror).nothing_to_do


def test_while_something_is_missing_no_clock_runs(mirror: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    """A set that is not satisfied may need the wheel, and once more when the rest of it can be had."""
    for act in (sync.sync, sync.prune):
        synced(mirror)
        wait(mirror, days=31)
        wanting = declare(tmp_path, server.url, sets={"more": ["old", "nosuchproject"]}, prune=True)
        assert not any(line.startswith(plan.UNNEEDED) for line in made(wanting).due)
        result = act(wanting)["platforms"]["bookworm"]
        assert result["unneeded"] == {"noted": [], "dropped": [OLD]}
        assert unneeded(mirror) == {}
        assert OLD not in synced(declare(tmp_path, server.url, prune=True))["removed"]
        assert age(unneeded(mirror)[OLD]) < 60


@pytest.mark.parametrize("memory", [None, [], "text", {OLD: None}, {OLD: "yesterday"}, {OLD: "2999-01-01T00:00:00Z"}])
def test_a_damaged_memory_begins_anew(mirror: Mirror, memory: object) -> None:
    plan.remember(directory_of(mirror), unneeded=memory)
    assert not made(mirror).nothing_to_do
    synced(mirror)
    assert age(unneeded(mirror)[OLD]) < 60
    assert made(mirror).nothing_to_do


# -- what goes -----------------------------------------------------------------------------------------------


def test_a_wheel_goes_when_its_days_are_over(mirror: Mirror) -> None:
    assert pruned(mirror)["removed"] == {}, "its clock began just now"
    wait(mirror, days=29)
    assert pruned(mirror)["removed"] == {}
    wait(mirror, days=2)
    since, size = unneeded(mirror)[OLD], (directory_of(mirror).public / OLD).stat().st_size
    result = pruned(mirror)
    assert result["removed"] == {
        OLD: {
            "project": "old",
            "version": "1.0",
            "reason": f"no set has needed it since {since}",
            "size": size,
            "since": since,
        }
    }
    assert "removed 1 wheel" in result["comment"]
    assert wheels(mirror) == {DEMO, DEP}
    assert not (directory_of(mirror).public / f"{OLD}.metadata").exists()
    assert not (directory_of(mirror).public / "simple" / "old").exists()
    consistent(mirror)
    assert unneeded(mirror) == {}
    assert made(mirror).nothing_to_do
    assert pruned(mirror)["removed"] == {}


def test_a_test_tells_and_changes_nothing(mirror: Mirror, tmp_path: Path, server: LocalIndex) -> None:
    synced(mirror)
    wait(mirror, days=31)
    before = snapshot(mirror)
    result = pruned(mirror, test=True)
    assert snapshot(mirror) == before
    assert "would remove 1 wheel" in result["comment"]
    assert result["removed"] == pruned(mirror)["removed"]
    assert list(result["removed"]) == [OLD]


def test_keep_days_of_none(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    at_once = declare(tmp_path, server.url, keep_days=0)
    assert list(pruned(at_once, test=True)["removed"]) == [OLD], "although no clock has begun"
    assert list(pruned(at_once)["removed"]) == [OLD]
    consistent(mirror)


def test_what_was_put_there_by_hand_is_kept_until_its_days_are_over(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    by_hand = make_wheel(directory.public, "byhand", "3.0").name
    assert pruned(mirror)["removed"] == {}
    assert directory.manifest()["wheels"][by_hand]["origin"] == "adopted"
    wait(mirror, days=31)
    assert set(pruned(mirror, force=True)["removed"]) == {OLD, by_hand}
    consistent(mirror)


def test_what_is_no_wheel_stays(mirror: Mirror, tmp_path: Path) -> None:
    public = directory_of(mirror).public
    others = [
        "README",
        "old-1.0.tar.gz",
        "notes.whl",
        "old-1.0-py3-none-any.whl.asc",
        "gone-1.0-py3-none-any.whl.metadata",
    ]
    for name in others:
        (public / name).write_text("somebody's")
    (public / "sub").mkdir()
    make_wheel(public / "sub", "deep", "1.0")
    synced(mirror)
    wait(mirror, days=31)
    assert list(pruned(mirror)["removed"]) == [OLD]
    assert {path.name for path in public.iterdir()} >= {*others, "sub"}
    assert (public / "sub" / "deep-1.0-py3-none-any.whl").exists()


def test_a_link_goes_and_what_it_leads_to_stays(mirror: Mirror, tmp_path: Path) -> None:
    elsewhere = make_wheel(tmp_path / "elsewhere", "linked", "1.0")
    link = directory_of(mirror).public / elsewhere.name
    link.symlink_to(elsewhere)
    synced(mirror)
    wait(mirror, days=31)
    result = pruned(mirror, force=True)
    assert set(result["removed"]) == {OLD, link.name}
    assert result["removed"][link.name]["size"] < 1000, "a link frees no more than itself"
    assert not link.is_symlink()
    assert elsewhere.exists()
    consistent(mirror)


def test_a_platform_that_cannot_be_pruned_stops_no_other(tmp_path: Path, server: LocalIndex) -> None:
    both = [{"image": "a"}, {"image": "b"}]
    before = declare(tmp_path, server.url, packages=["demo", "old"], platforms=both)
    equip(before)
    assert sync.sync(before)["result"]
    after = declare(tmp_path, server.url, platforms=both, keep_days=0)
    directory_of(after, "a").manifest_path.write_text("damaged")
    answer = sync.prune(after)
    assert answer["comment"] == "1 of 2 platforms are pruned; failed: a"
    assert "remove it and the wheels are recorded anew" in answer["platforms"]["a"]["comment"]
    assert OLD in wheels(after, "a")
    assert list(answer["platforms"]["b"]["removed"]) == [OLD]
    assert set(sync.prune(after, "b")["platforms"]) == {"b"}


# -- by the sync itself --------------------------------------------------------------------------------------


def test_a_sync_that_prunes(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    pruning = declare(tmp_path, server.url, prune=True)
    assert synced(pruning)["removed"] == {}
    assert made(pruning).nothing_to_do
    wait(mirror, days=31)
    assert made(pruning).due == (f"{plan.PRUNE}: {OLD}",)
    assert made(mirror).nothing_to_do, "only where the pillar says so"
    assert list(synced(pruning)["removed"]) == [OLD]
    consistent(pruning)
    assert made(pruning).nothing_to_do
    assert synced(pruning)["removed"] == {}


def test_an_upgrade_may_take_the_place_of_the_old_at_once(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    pruning = declare(tmp_path, server.url, packages=["demo", "old"], prune=True, keep_days=0)
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    result = synced(pruning, upgrade=True)
    assert list(result["removed"]) == [DEP]
    consistent(pruning)
    settle(directory_of(mirror))
    assert made(pruning).nothing_to_do


def test_a_guard_that_holds_is_told_and_leaves_nothing_to_do(
    tmp_path: Path, mirror: Mirror, server: LocalIndex
) -> None:
    mistaken = declare(tmp_path, server.url, packages=["old"], prune=True, keep_days=0)
    result = synced(mistaken)
    assert "2 of 3 wheels would go, more than half" in result["held"]
    assert result["held"] in result["comment"]
    assert len(wheels(mirror)) == 3
    assert made(mistaken).nothing_to_do
    assert made(mistaken).warnings == (f"{prune.WOULD_HOLD}: {result['held']}",)


def test_a_sync_that_fails_prunes_nothing(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    failing = declare(tmp_path, server.url, packages=["demo"], sets={"more": ["gone"]}, prune=True, keep_days=0)
    assert not sync.sync(failing)["result"]
    assert OLD in wheels(mirror)


# -- by arguments that require something else ----------------------------------------------------------------


def test_a_trial_neither_removes_nor_notes(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    before = wheels(mirror)
    for prunes in (True, False):
        trial = replace(declare(tmp_path, server.url, prune=prunes, keep_days=0), trial=True)
        planned, result = made(trial), synced(trial)
        assert planned.nothing_to_do
        assert bool(planned.warnings) is prunes
        assert ("held" in result) is prunes
        assert (prune.TRIAL in result["comment"]) is prunes
        assert "unneeded" not in result
        for options in ({}, {"force": True}, {"test": True}):
            with pytest.raises(SettingsError, match="nothing can be pruned: the arguments require something else"):
                sync.prune(trial, **options)
    assert wheels(mirror) == before
    assert unneeded(mirror) == {}


def test_a_trial_that_fails_leaves_the_clocks_alone(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    synced(mirror)
    before = unneeded(mirror)
    failing = replace(declare(tmp_path, server.url, packages=["nosuchproject"]), trial=True)
    assert not sync.sync(failing)["result"]
    assert list(unneeded(mirror)) == [OLD]
    assert unneeded(mirror) == before


# -- guards --------------------------------------------------------------------------------------------------


def held(mirror: Mirror, *, force: bool) -> str:
    """Which guard kept everything where it is; nothing fails by it."""
    before = wheels(mirror)
    for test in (True, False):
        result = pruned(mirror, force=force, test=test)
        assert result["removed"] == {}
        told = prune.WOULD_HOLD if test or not directory_of(mirror).private.is_dir() else prune.HELD
        assert f"{told}: {result['held']}" in result["comment"]
    assert wheels(mirror) == before
    return str(result["held"])


def test_unsatisfied(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    sets = {"more": ["nosuchproject", "old"]}
    wanting = declare(tmp_path, server.url, sets=sets, keep_days=0)
    assert held(wanting, force=False) == prune.UNSATISFIED
    assert list(pruned(wanting, force=True)["removed"]) == [OLD], "nothing that a satisfied set needs"
    consistent(mirror)


def test_unsatisfied_and_forced_still_keeps_the_days(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    wanting = declare(tmp_path, server.url, packages=["nosuchproject"])
    synced(mirror)
    wait(mirror, days=31)
    for test in (True, False, False):
        assert pruned(wanting, force=True, test=test)["removed"] == {}, "nobody knows since when"
    assert unneeded(mirror) == {}


def test_nothing_declared(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    empty = declare(tmp_path, server.url, packages=[], keep_days=0)
    assert held(empty, force=False) == prune.UNDECLARED
    assert set(pruned(empty, force=True)["removed"]) == {DEMO, DEP, OLD}
    consistent(mirror)


def test_more_than_half(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    mistaken = declare(tmp_path, server.url, packages=["old"], keep_days=0)
    assert "2 of 3 wheels would go, more than half" in held(mistaken, force=False)
    assert set(pruned(mistaken, force=True)["removed"]) == {DEMO, DEP}
    consistent(mirror)


@pytest.mark.parametrize("force", [False, True])
def test_a_platform_never_profiled(tmp_path: Path, mirror: Mirror, server: LocalIndex, force: bool) -> None:
    for packages in ([], ["demo"]):
        unknown = declare(tmp_path, server.url, packages=packages, keep_days=0)
        directory_of(mirror).profile_path.unlink(missing_ok=True)
        assert held(unknown, force=force) == prune.NOT_PROFILED


@pytest.mark.parametrize("force", [False, True])
def test_a_platform_of_another_image_than_was_profiled(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, force: bool
) -> None:
    platforms = [{"image": "debian:trixie", "name": "bookworm"}]
    changed = declare(tmp_path, server.url, platforms=platforms, keep_days=0)
    assert held(changed, force=force) == prune.NOT_PROFILED
    assert unneeded(mirror) == {}, "nor does a clock begin"
    pruning = declare(tmp_path, server.url, platforms=platforms, keep_days=0, prune=True)
    assert made(pruning).due == (plan.ENGINE_NEEDED, plan.PUBLISH)


def test_a_mirror_that_is_not_there_is_not_made(tmp_path: Path, server: LocalIndex) -> None:
    nothing = declare(tmp_path / "nowhere", server.url)
    assert held(nothing, force=True) == prune.NOT_PROFILED
    assert not nothing.target.exists()


# -- what is verified ----------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What pip says that it has installed, in a container that nobody starts; empty it, and the install fails."""
    pairs = [("demo", "1.0"), ("dep", "1.0")]

    def install(self: Verification, requirements: list[str]) -> VerifyOutcome:
        if not pairs:
            raise proof.VerifyError("pip will not")
        return VerifyOutcome(tuple(pairs), {}, "pip", 0.1, Path("verify.log"))

    monkeypatch.setattr(Verification, "_install", install)
    return pairs


@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_verified_stays_and_stays_unpublished(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, installed: list[tuple[str, str]], force: bool
) -> None:
    verified = declare(tmp_path, server.url, verify=True, keep_days=0)
    before = snapshot(verified)
    assert held(verified, force=force) == prune.UNVERIFIED
    changed = {path for path, stamp in snapshot(verified).items() if before.get(path) != stamp}
    assert {Path(path).name for path in changed} <= {"state.json", "lock"}
    installed.clear()
    pruning = declare(tmp_path, server.url, verify=True, keep_days=0, prune=True)
    assert "pip will not" in sync.sync(pruning)["platforms"]["bookworm"]["comment"]
    assert OLD in wheels(mirror)


def test_what_was_proved_stays_proved(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, installed: list[tuple[str, str]]
) -> None:
    pruning = declare(tmp_path, server.url, verify=True, keep_days=0, prune=True)
    assert list(synced(pruning)["removed"]) == [OLD]
    installed.clear()  # whoever verified again would fail
    assert made(pruning).nothing_to_do
    assert "verified" not in synced(pruning)
    consistent(pruning)


def test_what_pip_has_installed_for_the_proof_is_needed(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, installed: list[tuple[str, str]]
) -> None:
    """An old pip may choose otherwise than our decision; without that wheel its choice would be unproved."""
    installed.append(("Old", "1.0.0"))
    pruning = declare(tmp_path, server.url, verify=True, keep_days=0, prune=True)
    assert synced(pruning)["removed"] == {}
    assert made(pruning).nothing_to_do
    plan.remember(directory_of(mirror), verified={})
    assert list(pruned(declare(tmp_path, server.url, keep_days=0))["removed"]) == [OLD], (
        "a proof of nothing holds nothing"
    )


# -- killed --------------------------------------------------------------------------------------------------


def readers_are_served(directory: PlatformDirectory) -> None:
    """Whatever a page names is there, as the page says it."""
    for page in (directory.public / "simple").glob("*/index.json"):
        for file in json.loads(page.read_text())["files"]:
            assert (directory.public / file["filename"]).is_file()
            assert (directory.public / f"{file['filename']}.metadata").is_file()
    for path in directory.public.glob("*.whl.metadata"):
        assert path.with_suffix("").is_file(), "metadata without its wheel"


def test_a_kill_at_any_step(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    """Killed before each step in turn: readers are served, a sync makes the mirror whole, a prune finishes."""
    directory_of(mirror).public.joinpath("README").write_text("somebody's")
    synced(mirror)
    before, left = directory_of(mirror).manifest()["wheels"][OLD], set()
    for number in range(1000):
        target = tmp_path / str(number) / "target"
        shutil.copytree(mirror.target, target)
        copy = declare(target.parent, server.url, keep_days=0)
        with pytest.MonkeyPatch.context() as patched:
            taken = kill_before(number, patched)
            try:
                sync.prune(copy)
            except Killed:
                pass
            else:
                break
        directory = directory_of(copy)
        readers_are_served(directory)
        manifest = directory.manifest()["wheels"]
        if publish.drift(directory, manifest) != ({}, []):
            assert plan.PUBLISH in made(copy).due, "pages of another manifest are known to be that"
        left.add((OLD in wheels(copy), (directory.public / f"{OLD}.metadata").exists()))
        synced(copy)
        consistent(copy)
        settle(directory)
        assert made(copy).nothing_to_do
        assert directory.manifest()["wheels"].get(OLD) in (before, None), "what has not gone is what it was"
        pruned(copy)
        assert wheels(copy) == {DEMO, DEP}
        consistent(copy)
        assert (directory.public / "README").exists()
        shutil.rmtree(target)
    assert number == len(taken) > 15
    assert left == {(True, True), (True, False), (False, False)}, "every way in which a wheel can be half gone"


def test_a_wheel_that_cannot_be_removed_is_told_and_goes_the_next_time(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = make_wheel(directory_of(mirror).public, "extra", "1.0").name
    many = declare(tmp_path, server.url, keep_days=0, prune=True)
    replace = os.replace

    def refuse(path: Any, *more: Any, **named: Any) -> None:
        if str(path).endswith(OLD):
            raise PermissionError(1, "Operation not permitted", str(path))
        replace(path, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        answer = sync.prune(many, force=True)
    assert not answer["result"]
    result = answer["platforms"]["bookworm"]
    assert f"cannot remove {directory_of(mirror).public / OLD}: Operation not permitted" in result["comment"]
    assert list(result["removed"]) == [extra], "what is gone is told all the same"
    readers_are_served(directory_of(mirror))
    assert list(synced(many)["removed"]) == [OLD]
    consistent(many)
