"""Locks hold between threads and processes, and end with their holders."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from pipmirror_lib import locks
from pipmirror_lib.errors import MirrorError


def test_whoever_comes_second_waits_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL", 0.01)
    said: list[str] = []
    with locks.one_of([tmp_path / "a"]) as first:
        assert first == tmp_path / "a"
        with locks.one_of([tmp_path / "a"], lambda: said.append("waiting"), timeout=0.1) as second:
            assert second is None
    assert said == ["waiting"]
    with locks.one_of([tmp_path / "a"], timeout=0) as third:
        assert third is not None


def test_the_first_that_is_free(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    with locks.one_of(places) as first, locks.one_of(places) as second, locks.one_of(places, timeout=0) as third:
        assert [first, second, third] == [*places, None]


def test_shared_by_many_or_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with locks.one_of([path], shared=True), locks.one_of([path], shared=True), locks.one_of([path], timeout=0) as alone:
        assert alone is None
    with locks.one_of([path], timeout=0) as alone, locks.one_of([path], shared=True, timeout=0) as another:
        assert (alone, another) == (path, None)


def test_one_that_its_holder_removes_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with locks.one_of([path]):
        path.unlink()
        with locks.one_of([path], timeout=0) as new, locks.one_of([path], timeout=0) as third:
            assert (new, third) == (path, None)


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with locks.one_of([tmp_path / "a"]):
            os.write(write, b".")
            signal.pause()
    assert os.read(read, 1) == b"."
    with locks.one_of([tmp_path / "a"], timeout=0) as held:
        assert held is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locks.one_of([tmp_path / "a"], timeout=0) as held:
        assert held


def test_locks_of_the_machine_lie_where_nobody_else_could_hold_them() -> None:
    place = locks.of_machine("a").parent
    assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_uid) == (0o700, os.geteuid())


@pytest.mark.parametrize("fault", ["open", "link", "another's"])
def test_a_place_that_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(locks, "_RUN", tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = tmp_path / "pipmirror"
    if fault == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir(mode=0o700)
        if fault == "open":
            place.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(place, 65534, 65534)
        else:
            pytest.skip("gives a directory to another user")
    with pytest.raises(MirrorError, match="must be a directory of our own"):
        locks.of_machine("a")


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), locks.one_of([tmp_path / "a"]):
        pass
    assert not (tmp_path / "elsewhere").exists()
