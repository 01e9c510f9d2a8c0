"""What a publication remembers: what need not be made, read or written again, and what is noticed all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import durable, projects, publish, published
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.plan import read_json
from pipmirror_lib.withdrawal import withdraw

from tests.support.dists import make_wheel

STAMP = "stamp"
DEMO, NEWER = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"
Wheels = dict[str, dict[str, Any]]


@pytest.fixture
def directory(tmp_path: Path) -> PlatformDirectory:
    made = PlatformDirectory(tmp_path / "target", "p")
    made.create()
    names = [make_wheel(made.public, name).name for name in ("demo", "dep", "other")]
    made.record(made.manifest(), [*names, make_wheel(made.public, "dep", "2.0").name])
    go(made)
    return made


def wheels(directory: PlatformDirectory) -> Wheels:
    return dict(directory.manifest()["wheels"])


def go(directory: PlatformDirectory, known: Wheels | None = None, stamp: str = STAMP) -> dict[str, list[str]]:
    return publish.publish(directory, wheels(directory) if known is None else known, stamp)


def is_unaltered(directory: PlatformDirectory, stamp: str = STAMP) -> bool:
    return publish.unaltered(directory, read_json(directory.published_path), stamp)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Projects (and "" for the root) whose pages are made."""
    happened: list[str] = []
    project, root = publish.project_pages, publish.root_pages

    def making(name: str, files: Any) -> dict[str, str]:
        happened.append(name)
        return project(name, files)

    def making_root(names: Any) -> dict[str, str]:
        happened.append("")
        return root(names)

    monkeypatch.setattr(publish, "project_pages", making)
    monkeypatch.setattr(publish, "root_pages", making_root)
    return happened


def more(directory: PlatformDirectory, filename: str) -> Wheels:
    known = wheels(directory)
    return {**known, filename: {**known[DEMO], "sha256": "ab" * 32}}


def another_release(known: Wheels) -> None:
    known[NEWER] = {**known[DEMO], "sha256": "ab" * 32}


def another_project(known: Wheels) -> None:
    known["new_one-1.0-py3-none-any.whl"] = known[DEMO]


def one_that_went(known: Wheels) -> None:
    del known[DEMO]


def one_of_two_that_went(known: Wheels) -> None:
    del known["dep-2.0-py3-none-any.whl"]


def yanked(known: Wheels) -> None:
    known[DEMO]["yanked"] = ""


def nothing(known: Wheels) -> None: ...


@pytest.mark.parametrize(
    ("change", "wanted", "written", "removed"),
    [
        (nothing, [], 0, 0),
        (another_release, ["demo"], 2, 0),
        (another_project, ["new-one", ""], 4, 0),
        (one_that_went, [""], 2, 2),
        (one_of_two_that_went, ["dep"], 2, 0),
        (yanked, ["demo"], 2, 0),
    ],
)
def test_only_what_changed_is_made(
    directory: PlatformDirectory,
    made: list[str],
    change: Callable[[Wheels], None],
    wanted: list[str],
    written: int,
    removed: int,
) -> None:
    known = wheels(directory)
    change(known)
    expected = publish.pages(known)
    made.clear()
    done = go(directory, known, "next")
    assert made == wanted
    assert (len(done["written"]), len(done["removed"])) == (written, removed)
    simple = directory.public / "simple"
    found = {str(page.relative_to(simple)): page.read_text() for page in simple.rglob("index.*")}
    assert found == expected
    assert is_unaltered(directory, "next")
    assert go(directory, known, "next") == {"written": [], "removed": []}


def test_no_page_is_read_that_is_as_it_was(directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(path: Path) -> bytes:
        assert path.parent.name == "demo", path
        return b""

    monkeypatch.setattr(publish, "_read", reading)
    assert len(go(directory, more(directory, NEWER))["written"]) == 2


@pytest.mark.parametrize(
    "record",
    [
        {"sha256": "ab" * 32},
        {"metadata_sha256": "ab" * 32},
        {"size": 1},
        {"admitted": "2020-01-01T00:00:00Z"},
        {"upload_time": "2020-01-01T00:00:00Z"},
        {"requires_python": ">=3.6"},
        {"requires_python": "None"},
        {"yanked": ""},
        {"yanked": "None"},
        {"yanked": "broken"},
        {"withdrawn": True},
    ],
)
def test_whatever_a_page_says_is_told_apart(directory: PlatformDirectory, record: dict[str, Any]) -> None:
    before = wheels(directory)[DEMO]
    after = {**before, **record}
    assert publish.project_pages("demo", {DEMO: before}) != publish.project_pages("demo", {DEMO: after})
    (one,), (other,) = (projects.of({DEMO: about}).values() for about in (before, after))
    assert one.fingerprint != other.fingerprint


def lost(directory: PlatformDirectory) -> None:
    directory.publication_path.unlink()


def damaged(directory: PlatformDirectory) -> None:
    content = directory.publication_path.read_bytes()
    directory.publication_path.write_bytes(content[:-5] + b"xxxxx")


def of_another_publication(directory: PlatformDirectory) -> None:
    remembered = read_json(directory.published_path)
    directory.published_path.write_text(json.dumps({**remembered, "pages": "0" * 32}))


def of_another_release(directory: PlatformDirectory) -> None:
    remembered = read_json(directory.published_path)
    directory.published_path.write_text(json.dumps({**remembered, "code": "older"}))


def without_either(directory: PlatformDirectory) -> None:
    directory.published_path.unlink()
    directory.publication_path.unlink()


@pytest.mark.parametrize("harm", [lost, damaged, of_another_publication, of_another_release, without_either])
def test_without_it_every_page_is_compared(
    directory: PlatformDirectory, made: list[str], harm: Callable[[PlatformDirectory], None]
) -> None:
    harm(directory)
    (directory.public / "simple" / "dep" / "index.html").write_text("drift")
    assert not is_unaltered(directory)
    assert set(publish.drift(directory, wheels(directory))[0]) == {"dep/index.html"}
    made.clear()
    assert go(directory)["written"] == ["dep/index.html"]
    assert made == ["demo", "dep", "other", ""]
    assert is_unaltered(directory)


@pytest.mark.parametrize("page", ["index.html", "index.json", "dep/index.html", "dep/index.json"])
def test_a_page_that_is_gone_comes_back_alone(directory: PlatformDirectory, page: str) -> None:
    path = directory.public / "simple" / page
    content = path.read_bytes()
    path.unlink()
    assert not is_unaltered(directory)
    assert go(directory) == {"written": [page], "removed": []}
    assert path.read_bytes() == content
    assert is_unaltered(directory)


def test_a_page_that_is_put_there_again_by_hand_is_no_drift(directory: PlatformDirectory) -> None:
    page = directory.public / "simple" / "dep" / "index.json"
    content = page.read_bytes()
    page.unlink()
    page.write_bytes(content)
    assert not is_unaltered(directory), "it may say something else"
    assert publish.drift(directory, wheels(directory)) == ({}, [])
    assert go(directory)["written"] == []
    assert is_unaltered(directory)


def test_what_others_put_there_is_no_drift(directory: PlatformDirectory) -> None:
    simple = directory.public / "simple"
    (simple / "robots.txt").write_text("mine")
    (simple / "dep" / "README").write_text("mine")
    (simple / "notes").mkdir()
    assert is_unaltered(directory)


def test_a_page_of_no_project_is_drift(directory: PlatformDirectory) -> None:
    page = directory.public / "simple" / "gone" / "index.html"
    page.parent.mkdir()
    page.write_text("old")
    assert not is_unaltered(directory)
    assert publish.drift(directory, wheels(directory)) == ({}, [page])
    assert go(directory)["removed"] == ["simple/gone/index.html"]
    assert is_unaltered(directory)


def test_a_withdrawal_forgets_the_manifest_and_nothing_else(directory: PlatformDirectory, made: list[str]) -> None:
    known = wheels(directory)
    withdraw(directory, known, [DEMO])
    assert not is_unaltered(directory)
    del known[DEMO]
    made.clear()
    assert go(directory, known, "next") == {"written": [], "removed": []}
    assert made == [""], "which the withdrawal has written, and nobody has remembered"
    assert is_unaltered(directory, "next")


def test_a_publication_is_noted_when_the_disk_has_it(
    directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        fsync(descriptor)
        happened.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    def renaming(source: Any, target: Any) -> None:
        replace(source, target)
        happened.append(f"to {Path(target).name}")

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", renaming)
    go(directory, more(directory, "new-1.0-py3-none-any.whl"), "next")
    noted = happened.index("to published.json")
    for wanted in ("sync index.html", "sync index.json", "sync new", "sync simple"):
        assert wanted in happened[:noted], happened


def test_many_pages_are_synced_at_once(directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), one_by_one.append(os.readlink(f"/proc/self/fd/{fd}"))))
    known = wheels(directory)
    go(directory, {f"{name}-1.0-py3-none-any.whl": known[DEMO] for name in map("p{}".format, range(durable.FEW))})
    assert not [path for path in one_by_one if "/simple" in path], "the whole file system was, once"
    monkeypatch.setattr(durable, "_sync_file_system", lambda path: False)
    go(directory, {f"{name}-1.0-py3-none-any.whl": known[DEMO] for name in map("q{}".format, range(durable.FEW))})
    found = {path.partition("/simple")[2] for path in one_by_one if "/simple" in path}
    pages = {f"/q{number}/{page}" for number in range(durable.FEW) for page in published.PAGES}
    assert found >= {*pages, *(f"/q{number}" for number in range(durable.FEW)), "", "/index.html", "/index.json"}
