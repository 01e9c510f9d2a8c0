"""The one way through trees that strangers have made, or are at work in."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from pipmirror_lib import trees
from pipmirror_lib.trees import TooDeep, walk

from tests.support.mirrors import nested


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("tree/a/b", "tree/c", "outside/secrets"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("tree/a/b/deep", "tree/flat", "outside/secrets/key"):
        (tmp_path / name).write_text(name)
    return tmp_path / "tree"


def names(top: Path, deepest: int = 10) -> list[str]:
    return sorted(entry.path for entry in walk(top, deepest))


def test_everything_once(tree: Path) -> None:
    assert names(tree) == ["a", "a/b", "a/b/deep", "c", "flat"]
    assert {e.path: e.about.st_size for e in walk(tree, 10)}["flat"] == len("tree/flat")


def test_never_through_a_link(tree: Path) -> None:
    (tree / "c/out").symlink_to(tree.parent / "outside")
    (tree / "c/round").symlink_to(tree)
    assert {e.path for e in walk(tree, 10)} >= {"c/out", "c/round"}
    assert not any("secrets" in name or "round/" in name for name in names(tree))
    (tree.parent / "link").symlink_to(tree)
    with pytest.raises(NotADirectoryError):
        names(tree.parent / "link")


@pytest.mark.parametrize("meanwhile", ["a link", "gone", "a file", "moved"])
def test_what_is_put_in_its_place_meanwhile(tree: Path, meanwhile: str) -> None:
    """Between the look at a directory and the step into it, and while somebody is inside."""
    entries = walk(tree, 10)
    while next(entries).path != "a/b":
        """`a` is open by now, `a/b` has been looked at."""
    shutil.move(tree / "a", tree.parent / "moved")
    target = tree.parent / "moved/b"
    if meanwhile != "moved":
        shutil.move(target, tree.parent / "away")
    if meanwhile == "a link":
        target.symlink_to(tree.parent / "outside")
    elif meanwhile == "a file":
        target.write_text("")
    found = [entry.path for entry in entries]
    assert not any("secrets" in path for path in found)
    assert ("a/b/deep" in found) is (meanwhile == "moved"), "where it has gone does not matter"


def test_pipes_and_devices_are_not_opened(tree: Path) -> None:
    os.mkfifo(tree / "a/pipe")
    assert "a/pipe" in names(tree)


def test_it_ends(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    nested(tmp_path / "deep", 300)
    seen: list[str] = []
    with pytest.raises(TooDeep):
        seen.extend(entry.name for entry in walk(tmp_path / "deep", 50))
    assert len(seen) == 50
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_cannot_be_told_is_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody shall measure a part, and take it for the whole."""
    real = os.open

    def full(path: str | Path, flags: int, **more: int) -> int:
        if more:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags)

    monkeypatch.setattr(trees.os, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        names(tree)
