"""Locks hold between threads and processes, and end with their holders."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipmirror_lib import locks


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
    with locks.shared(path), locks.shared(path), locks.one_of([path], timeout=0) as alone:
        assert alone is None
    with locks.one_of([path], timeout=0) as alone:
        assert alone == path


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


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory as /run/lock is; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o1777)
        yield Path(directory)


def as_another(path: Path) -> bool:
    """Whether another user can take it now."""
    child = os.fork()
    if not child:
        os.umask(0o077)
        os.setuid(65534)
        with locks.one_of([path], timeout=0) as held:
            os._exit(0 if held else 1)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_lock_of_the_machine_is_everybodys(open_to_all: Path) -> None:
    """Also root's: in a sticky directory the kernel refuses to create what is another's already."""
    assert as_another(open_to_all / "theirs")
    assert (open_to_all / "theirs").stat().st_uid == 65534
    with locks.one_of([open_to_all / "theirs"], timeout=0) as held:
        assert held
        assert not as_another(open_to_all / "theirs")
    with locks.one_of([open_to_all / "ours"], timeout=0):
        assert not as_another(open_to_all / "ours")
    assert as_another(open_to_all / "ours")


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), locks.one_of([tmp_path / "a"]):
        pass
    assert not (tmp_path / "elsewhere").exists()
