"""What has left the mirror is there for an hour for those who had read a page before, and for nobody else."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from pipmirror_lib import clean, latecomers, local, plan
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.settings import Files, Mirror

from tests.support.dists import make_wheel
from tests.support.mirrors import declare, directory_of, equip


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = declare(tmp_path)
    equip(made)
    return made


@pytest.fixture
def directory(mirror: Mirror) -> PlatformDirectory:
    return directory_of(mirror)


def leave(directory: PlatformDirectory) -> tuple[str, str]:
    """A wheel comes and goes; the names of its files."""
    wheel = make_wheel(directory.public, "demo", "1.0")
    manifest = directory.manifest()
    directory.record(manifest, [wheel.name])
    directory.remove(manifest, [wheel.name], lambda staying: None)
    return wheel.name, f"{wheel.name}.metadata"


def wait(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    moment = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: moment)


def test_both_files_are_kept_out_of_sight(directory: PlatformDirectory) -> None:
    names = leave(directory)
    assert [path.name for path in directory.public.iterdir()] == [latecomers.HIDDEN]
    hidden = directory.public / latecomers.HIDDEN
    assert {path.name for path in hidden.iterdir()} == set(names)
    assert not local.scan(directory.public).sizes


def test_readers_are_let_in_as_the_settings_say(directory: PlatformDirectory) -> None:
    leave(PlatformDirectory(directory.target, directory.name, Files(dir_mode=0o751)))
    assert (directory.public / latecomers.HIDDEN).stat().st_mode & 0o777 == 0o751


def test_they_go_after_an_hour(mirror: Mirror, directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def due() -> bool:
        return plan.FREE in plan.make(mirror, mirror.platforms[0], directory).due

    assert not due()
    leave(directory)
    wait(monkeypatch, latecomers.GRACE - 60)
    directory.recover(directory.manifest())
    assert not due()
    assert len(list((directory.public / latecomers.HIDDEN).iterdir())) == 2
    wait(monkeypatch, 120)
    assert due()
    directory.recover(directory.manifest())
    assert list(directory.public.iterdir()) == []
    assert not due()


def test_those_of_a_clock_that_was_ahead_go_too(directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(directory)
    wait(monkeypatch, -600)
    latecomers.free(directory.public)
    assert list(directory.public.iterdir()) == []


def test_one_that_left_twice_is_kept_once(directory: PlatformDirectory) -> None:
    leave(directory)
    assert set(leave(directory)) == {path.name for path in (directory.public / latecomers.HIDDEN).iterdir()}


def test_a_link_goes_at_once(directory: PlatformDirectory, tmp_path: Path) -> None:
    own = make_wheel(tmp_path / "own", "demo", "1.0")
    (directory.public / own.name).symlink_to(own)
    latecomers.retire(directory.public, [own.name], lambda folder: None)
    assert own.is_file()
    assert list((directory.public / latecomers.HIDDEN).iterdir()) == []


def test_a_full_disk_keeps_nothing_from_going(directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    wheel = make_wheel(directory.public, "demo", "1.0")
    monkeypatch.setattr(Path, "mkdir", full)
    latecomers.retire(directory.public, [wheel.name], lambda folder: None)
    assert list(directory.public.iterdir()) == []


def test_what_cannot_be_removed_is_told(directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory.public / latecomers.HIDDEN / "folder").mkdir(parents=True)
    wait(monkeypatch, 2 * latecomers.GRACE)
    with pytest.raises(MirrorError, match=r"cannot remove .*/\.gone/folder: "):
        latecomers.free(directory.public)


def test_clean_takes_them_at_once(directory: PlatformDirectory) -> None:
    leave(directory)
    found = clean.of_platform(directory)["gone"]
    assert list(found) == sorted((directory.public / latecomers.HIDDEN).iterdir())
    assert sum(found.values()) > 800
    clean.rest(directory, {"gone": found, "staging": {}}, [])
    assert list(directory.public.iterdir()) == []


def test_a_wheel_that_comes_back_is_the_one_that_counts(directory: PlatformDirectory) -> None:
    name, _ = leave(directory)
    shutil.copy(directory.public / latecomers.HIDDEN / name, directory.public)
    directory.record(directory.manifest(), [name])
    assert list(local.scan(directory.public).sizes) == [name]
