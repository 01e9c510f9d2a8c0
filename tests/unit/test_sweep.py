"""What goes beside the wheels: caches, logs, files that were set aside, builder images."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import builder, clean, plan, sweep, sync
from pipmirror_lib.engine import LABEL, Engine, ImageInfo
from pipmirror_lib.errors import EngineError
from pipmirror_lib.mirror import PRIVATE, PlatformDirectory
from pipmirror_lib.settings import Mirror
from pipmirror_lib.shared import downloads, metadata_cache, using_downloads

from tests.support.dists import make_wheel
from tests.support.mirrors import declare, directory_of, equip, nested

DAY = 86400


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = declare(tmp_path)
    equip(made)
    return made


def aged(path: Path, days: float, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def names(leftovers: sweep.Leftovers) -> dict[str, list[str]]:
    return {folder: [path.name for path in paths] for folder, paths in leftovers.items() if paths}


# -- of one platform -----------------------------------------------------------------------------------------


def test_old_logs_go_but_for_those_that_a_wheel_names(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    manifest = directory.manifest()
    names_of = [make_wheel(directory.public, project).name for project in ("a", "b")]
    directory.record(manifest, names_of)
    manifest["wheels"][names_of[0]]["log"] = "kept.log"
    directory.save_manifest(manifest)
    for name, days in (("kept.log", 99), ("old.log", 31), ("young.log", 29)):
        aged(directory.logs / name, days)
    assert names(sweep.of_platform(directory, 30)) == {"logs": ["old.log"]}
    assert names(sweep.of_platform(directory, 0)) == {"logs": ["old.log", "young.log"]}


def test_builds_that_nobody_has_asked_for_go(mirror: Mirror) -> None:
    kept = directory_of(mirror).kept
    for name, days in (("old", 31), ("young", 29)):
        aged(kept / name / "record.json", 99)
        os.utime(kept / name, (time.time() - days * DAY,) * 2)
    assert names(sweep.of_platform(directory_of(mirror), 30)) == {"kept": ["old"]}
    assert [path.name for path in sweep.clear(mirror.target, sweep.of_builds(directory_of(mirror), 30))["kept"]] == [
        "old"
    ]
    assert [path.name for path in kept.iterdir()] == ["young"]


def test_what_was_set_aside_counts_from_then(mirror: Mirror) -> None:
    """Not from the wheel's own time, which may be of years ago."""
    directory = directory_of(mirror)
    for name in ("demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"):
        aged(make_wheel(directory.public, "demo", name.split("-")[1]), 999, "broken")
        directory.set_aside(directory.manifest(), [name])
    older = next((directory.private / "broken").glob("demo-1.0*"))
    long_ago = older.with_suffix(f".{time.time_ns() - 31 * DAY * 10**9}")
    older.rename(long_ago)
    aged(directory.private / "broken" / "by hand", 31)
    assert names(sweep.of_platform(directory, 30)) == {"broken": ["by hand", long_ago.name]}


def test_links_and_trees_go_and_nothing_through_them(mirror: Mirror, tmp_path: Path) -> None:
    directory, then = directory_of(mirror), time.time_ns() - 31 * DAY * 10**9
    outside = aged(tmp_path / "outside" / "file", 99)
    aside = directory.private / "broken"
    aged(aside / f"tree.{then}" / "deep" / "file", 1, "12345")
    (aside / f"link.{then}").symlink_to(outside)
    (aside / f"folder.{then}").symlink_to(outside.parent)
    (aside / f"nowhere.{then}").symlink_to("nowhere")
    found = sweep.of_platform(directory, 30)
    assert len(found["broken"]) == 4
    assert found["broken"][aside / f"tree.{then}"] >= 5
    assert sweep.clear(mirror.target, found) == found
    assert list(aside.iterdir()) == []
    assert outside.exists()


# -- of all platforms ----------------------------------------------------------------------------------------


def test_caches_that_platforms_share(mirror: Mirror) -> None:
    target = mirror.target
    for name, days in (("old", 31), ("young", 29)):
        aged(metadata_cache(target) / name[:2] / f"{name}.json", days, "123")
        aged(downloads(target) / name / "wheel", days)
        os.utime(downloads(target) / name, (time.time() - days * DAY,) * 2)
    aged(downloads(target) / "lock", 99)
    found = sweep.of_mirror(target, 30)
    # What nobody wants for a week would go with the next sync anyway.
    assert names(found) == {"metadata": ["old.json"], "downloads": ["old", "young"]}
    assert sweep.told(found) == {"metadata": {"files": 1, "size": 3}, "downloads": {"files": 2, "size": 2}}
    assert sweep.clear(target, found) == found
    assert names(sweep.of_mirror(target, 0)) == {"metadata": ["young.json"]}
    assert (downloads(target) / "lock").exists()


@pytest.mark.parametrize("depth", [1500, 5000])  # beyond recursion, and beyond the longest path
def test_a_deep_tree_is_measured_and_removed(mirror: Mirror, depth: int) -> None:
    tree = nested(downloads(mirror.target) / "killed.1", depth)
    os.utime(tree, (1, 1))
    found = sweep.of_mirror(mirror.target, 30)
    assert sweep.told(found)["downloads"]["files"] == 1
    assert sweep.clear(mirror.target, found) == found
    assert not tree.exists()


def test_downloads_that_another_run_uses_stay(mirror: Mirror) -> None:
    aged(downloads(mirror.target) / "hash" / "wheel", 31)
    os.utime(downloads(mirror.target) / "hash", (time.time() - 31 * DAY,) * 2)
    found = sweep.of_mirror(mirror.target, 30)
    with using_downloads(mirror.target, tuple):
        assert names(sweep.clear(mirror.target, found)) == {}
    assert names(sweep.clear(mirror.target, found)) == {"downloads": ["hash"]}


def test_where_nothing_is_nothing_is_made(tmp_path: Path) -> None:
    directory = PlatformDirectory(tmp_path / "t", "p")
    for found in (sweep.of_platform(directory, 0), sweep.of_mirror(tmp_path / "t", 0)):
        assert sweep.told(found) == {}
        sweep.clear(tmp_path / "t", found)
    assert not (tmp_path / "t").exists()


def test_a_prune_sweeps_and_a_test_only_tells(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    logs = [aged(directory.logs / name, days, "1234") for name, days in (("old.log", 31), ("young.log", 29))]
    cached = aged(metadata_cache(mirror.target) / "ab" / "abcd.json", 31, "12")
    foreign = aged(mirror.target / PRIVATE / "other" / "logs" / "old.log", 31)
    for test in (True, False):
        assert logs[0].exists()
        answer = sync.prune(mirror, test=test)
        assert answer["platforms"]["bookworm"]["leftovers"] == {"logs": {"files": 1, "size": 4}}
        assert answer["leftovers"] == {"metadata": {"files": 1, "size": 2}}
    assert [path.exists() for path in (*logs, cached, foreign)] == [False, True, False, True]
    assert sync.prune(mirror)["leftovers"] == {}
    assert "leftovers" not in sync.prune(mirror, "bookworm"), "what platforms share is not one platform's"


def test_what_cannot_be_removed_is_told(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    log = aged(directory_of(mirror).logs / "old.log", 31)

    def refuse(path: Any, **_: Any) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "unlink", refuse)
    answer = sync.prune(mirror)
    assert not answer["result"]
    assert f"cannot remove {log}: Operation not permitted" in answer["platforms"]["bookworm"]["comment"]


# -- builder images ------------------------------------------------------------------------------------------


class Images:
    """An engine that has nothing but images."""

    def __init__(self) -> None:
        self.held: dict[str, ImageInfo] = {}
        self.busy: set[str] = set()
        self.left = {"c0": "pipmirror-build-alpha-0"}
        self.closed = False

    def add(self, id: str, days: float, kind: str = "builder", size: int = 1000, base: str = "base") -> str:
        made = datetime.now(timezone.utc) - timedelta(days=days)
        labels = {f"{LABEL}.kind": kind, f"{LABEL}.platform": "bookworm", f"{LABEL}.base": base} if kind else {}
        self.held[id] = ImageInfo(id, labels, made, "amd64", size)
        return id

    def image(self, reference: str) -> ImageInfo | None:
        return self.held.get(reference)

    def find(self, labels: dict[str, str]) -> list[ImageInfo]:
        return [info for info in self.held.values() if labels.items() <= info.labels.items()]

    def remove_image(self, reference: str) -> bool:
        if reference in self.busy:
            raise EngineError("remove image: conflict: a container uses it")
        return self.held.pop(reference, None) is not None

    def abandoned(self) -> dict[str, str]:
        return dict(self.left)

    def remove_abandoned(self) -> dict[str, str]:
        left, self.left = self.left, {}
        return left

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Images:
    images = Images()
    images.add("base", 99, kind="", size=900)
    monkeypatch.setattr(Engine, "connect", staticmethod(lambda url="": images))
    return images


def test_builder_images_that_nobody_uses_go(mirror: Mirror, engine: Images) -> None:
    directory = directory_of(mirror)
    plan.remember(directory, image=engine.add("used", 99), verify_image=engine.add("proof", 99, "verify"))
    old, verify = engine.add("old", 31), engine.add("old-verify", 31, "verify", base="gone")
    engine.add("young", 29)
    for test in (True, False):
        found, notes = sweep.images([mirror], [mirror], test=test)
        assert {id: (one["kind"], one["size"]) for id, one in found.items()} == {
            old: ("builder", 100),
            verify: ("verify", 1000),
        }, "what the base has is not freed"
        assert (found[old]["platform"], notes) == ("bookworm", [])
        assert set(engine.held) >= {"base", "used", "proof", "young"}
        assert (old in engine.held) is test
    assert engine.closed
    assert sweep.images([mirror], [mirror], test=False) == ({}, [])


def test_images_that_somebody_may_have_made_just_now_stay_and_are_told(mirror: Mirror, engine: Images) -> None:
    """Whoever shares the engine has them in no pillar that we know of; what is in use there is as good as new."""
    for id, days in {"theirs": 0.9, "older": 1.1, "in-use": 99}.items():
        engine.add(id, days)
    with builder.using("in-use"):
        pass
    found, (note,) = sweep.images([replace(mirror, keep_days=0)], [mirror], test=False)
    assert list(found) == ["older"]
    assert note.startswith("2 builder images that no platform here uses stayed: made or used within a day")


def test_images_of_every_declared_mirror_stay(mirror: Mirror, tmp_path: Path, engine: Images) -> None:
    other = declare(tmp_path / "other")
    plan.remember(equip(other), image=engine.add("others", 99))
    assert sweep.images([mirror], [mirror, other], test=False) == ({}, [])
    assert list(sweep.images([mirror], [mirror], test=False)[0]) == ["others"]


def test_an_image_in_use_is_left_and_told(mirror: Mirror, engine: Images) -> None:
    engine.busy.add(engine.add("busy", 99))
    old = engine.add("old", 99)
    found, (note,) = sweep.images([mirror], [mirror], test=False)
    assert list(found) == [old]
    assert "a builder image was left alone: remove image: conflict" in note


def test_an_engine_that_is_not_there_is_a_note(mirror: Mirror, tmp_path: Path) -> None:
    nowhere = declare(tmp_path / "other", container={"engine_url": "unix:///nonexistent/other.sock"})
    found, notes = sweep.images([mirror, nowhere], [mirror, nowhere], test=False)
    assert found == {}
    assert len(notes) == 2
    assert all(note.startswith("builder images were left alone: ") for note in notes)


def test_the_longest_time_of_those_who_share_an_engine_counts(mirror: Mirror, tmp_path: Path, engine: Images) -> None:
    engine.add("old", 31)
    patient = declare(tmp_path / "other", keep_days=90)
    assert sweep.images([mirror, patient], [], test=True) == ({}, [])
    assert list(sweep.images([mirror], [], test=True)[0]) == ["old"]


# -- clean ---------------------------------------------------------------------------------------------------


def test_clean_takes_the_images_of_the_platforms_however_young(mirror: Mirror, engine: Images) -> None:
    plan.remember(directory_of(mirror), image=engine.add("mine", 0), verify_image=engine.add("proof", 0, "verify"))
    engine.add("old", 99)
    for test in (True, False):
        images, containers, notes = clean.engines([mirror], None, [mirror], test=test)
        assert (set(images), containers, notes) == ({"mine", "proof"}, {"c0": "pipmirror-build-alpha-0"}, [])
        assert (set(engine.held) >= {"mine", "proof"}) is test
    assert "old" in engine.held, "is for prune"
    assert clean.engines([mirror], None, [mirror], test=False) == ({}, {}, [])


def test_where_no_platform_has_an_image_clean_speaks_of_no_engine(tmp_path: Path) -> None:
    here = declare(tmp_path, platforms=[{"name": "here"}])
    assert clean.engines([here], None, [here], test=False) == ({}, {}, [])


def test_clean_leaves_what_others_need(mirror: Mirror, tmp_path: Path, engine: Images) -> None:
    """Another platform of the declaration, a container, a platform that uses its base image as it is."""
    other = declare(tmp_path / "other")
    shared, busy = engine.add("shared", 0), engine.add("busy", 0, "verify")
    plan.remember(equip(other), image=shared, verify_image="base")
    plan.remember(directory_of(mirror), image=shared, verify_image=busy)
    engine.busy.add(busy)
    images, _, (note,) = clean.engines([mirror], None, [mirror, other], test=False)
    assert images == {}
    assert "a builder image was left alone" in note
    assert set(clean.engines([other], None, [other], test=False)[0]) == {shared}
    assert "base" in engine.held
