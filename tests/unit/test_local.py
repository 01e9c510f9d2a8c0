"""Candidates from a directory, and the cache that saves opening them again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import local
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.local import scan
from pipmirror_lib.wheels import Metadata

from tests.support.dists import make_wheel

DEMO = canonicalize_name("demo")
NAME = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which wheels were opened."""
    names: list[str] = []
    inspect = local._inspect

    def noting(path: Path) -> object:
        names.append(path.name)
        return inspect(path)

    monkeypatch.setattr(local, "_inspect", noting)
    return names


def test_wheels_become_candidates(tmp_path: Path) -> None:
    make_wheel(tmp_path, "Demo", "1.0", requires=["a"], requires_python=">=3.6")
    make_wheel(tmp_path, "demo", "2.0", build="3")
    (tmp_path / "notes.txt").write_text("no wheel")
    (tmp_path / "demo-1.0.tar.gz").write_text("no wheel")
    source = scan(tmp_path)
    found = {str(c.version): c for c in source.files(DEMO)}
    assert set(found) == {"1.0", "2.0"}
    first = found["1.0"]
    # pip reads that from the wheel only when it has chosen it.
    assert (first.path, first.requires_python) == (tmp_path / NAME, None)
    assert source.metadata(first).requires_python == ">=3.6"
    assert first.size == (tmp_path / NAME).stat().st_size
    assert source.metadata(first).requires_dist == ("a",)
    assert source.files(canonicalize_name("other")) == ()
    assert len(source.all_files) == 2


def test_the_manifest_adds_what_a_file_does_not_say(tmp_path: Path) -> None:
    make_wheel(tmp_path)
    record = {"sha256": "00", "origin": "built", "source": {"sha256": "11"}}
    candidate = scan(tmp_path, manifest={NAME: record}).files(DEMO)[0]
    assert (candidate.sha256, candidate.built, candidate.source) == ("00", True, ("11",))


def test_no_directory_is_an_empty_one(tmp_path: Path) -> None:
    assert scan(tmp_path / "none").all_files == []


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MirrorError, match="cannot read"):
        scan(tmp_path / "file")


def test_what_pip_could_not_use_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no zip")
    make_wheel(tmp_path, "other", "1.0", metadata="Name: evil\nVersion: 1.0\n")
    make_wheel(tmp_path, filename="demo-2004d-py3-none-any.whl")
    (tmp_path / "folder-1.0-py3-none-any.whl").mkdir()
    os.mkfifo(tmp_path / "pipe-1.0-py3-none-any.whl")
    (tmp_path / "dangling-1.0-py3-none-any.whl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop-1.0-py3-none-any.whl").symlink_to("loop-1.0-py3-none-any.whl")
    source = scan(tmp_path)
    assert source.all_files == []
    assert set(source.ignored) == {"demo-2004d-py3-none-any.whl"}
    assert set(source.broken) == {path.name for path in tmp_path.iterdir()} - set(source.ignored)
    assert "not a regular file" in source.broken["folder-1.0-py3-none-any.whl"]


def test_what_is_known_is_not_opened_again(tmp_path: Path, opened: list[str]) -> None:
    make_wheel(tmp_path / "w")
    (tmp_path / "w" / "bad-1.0-py3-none-any.whl").write_bytes(b"")
    first = scan(tmp_path / "w", tmp_path / "cache.json")
    assert len(opened) == 2
    again = scan(tmp_path / "w", tmp_path / "cache.json")
    assert len(opened) == 2
    assert (again.by_project, again.broken) == (first.by_project, first.broken)
    assert [again.metadata(c) for c in again.all_files] == [first.metadata(c) for c in first.all_files]


def test_a_cache_that_says_it_all_is_left_alone(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w")
    cache = tmp_path / "cache.json"
    scan(tmp_path / "w", cache)
    written = cache.stat().st_mtime_ns, cache.stat().st_ino
    scan(tmp_path / "w", cache)
    assert (cache.stat().st_mtime_ns, cache.stat().st_ino) == written
    os.utime(wheel, (1, 1))
    scan(tmp_path / "w", cache)
    assert (cache.stat().st_mtime_ns, cache.stat().st_ino) != written


def test_only_what_changed_is_opened(tmp_path: Path, opened: list[str]) -> None:
    make_wheel(tmp_path / "w")
    make_wheel(tmp_path / "w", "other", "1.0")
    scan(tmp_path / "w", tmp_path / "cache.json")
    replacement = make_wheel(tmp_path / "new", requires=["a"])
    os.replace(replacement, tmp_path / "w" / NAME)
    source = scan(tmp_path / "w", tmp_path / "cache.json")
    assert opened[2:] == [NAME]
    assert source.metadata(source.files(DEMO)[0]).requires_dist == ("a",)


def test_an_inode_tells_files_of_one_size_and_time_apart(tmp_path: Path, opened: list[str]) -> None:
    wheel = make_wheel(tmp_path / "w", requires=["a"])
    scan(tmp_path / "w", tmp_path / "cache.json")
    other = make_wheel(tmp_path / "new", requires=["b"])
    shutil.copystat(wheel, other)
    os.replace(other, wheel)
    source = scan(tmp_path / "w", tmp_path / "cache.json")
    assert source.metadata(source.files(DEMO)[0]).requires_dist == ("b",)


def test_a_wheel_that_is_gone_leaves_the_cache(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w")
    scan(tmp_path / "w", tmp_path / "cache.json")
    wheel.unlink()
    assert scan(tmp_path / "w", tmp_path / "cache.json").all_files == []
    assert NAME.encode() not in (tmp_path / "cache.json").read_bytes()


def test_metadata_that_nobody_asks_for_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for project in ("demo", "other"):
        make_wheel(tmp_path / "w", project, "1.0")
    scan(tmp_path / "w", tmp_path / "cache.json")
    read: list[str] = []
    from_data = Metadata.from_data
    monkeypatch.setattr(Metadata, "from_data", lambda data: read.append(data["name"]) or from_data(data))
    source = scan(tmp_path / "w", tmp_path / "cache.json")
    assert (len(source.sizes), len(source.by_project), read) == (2, 2, [])
    assert [str(candidate) for candidate in source.files(DEMO)] == ["demo 1.0"]
    assert source.metadata(source.files(DEMO)[0]) is source.metadata(source.files(DEMO)[0])
    assert read == ["demo"]


def test_a_recorded_wheel_of_another_size_was_replaced(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    for origin, usable in (("index", False), ("built", False), ("adopted", True)):
        source = scan(tmp_path, manifest={NAME: {"origin": origin, "size": 1}})
        assert bool(source.files(DEMO)) is usable
        assert source.broken == (
            {} if usable else {NAME: f"{NAME} was replaced: {wheel.stat().st_size} bytes instead of 1"}
        )


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    make_wheel(tmp_path / "w")
    assert len(scan(tmp_path / "w", tmp_path / "none" / "cache.json").all_files) == 1
    (tmp_path / "cache.json").mkdir()
    assert len(scan(tmp_path / "w", tmp_path / "cache.json").all_files) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.json", "w"], "no litter"
