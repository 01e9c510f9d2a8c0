"""How much a run of strangers' code takes: counted once, never through a link, and within bounds of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pipmirror_lib import disk
from pipmirror_lib.disk import TooMuch, check

from tests.support.mirrors import nested

MIB = 1 << 20


def write(path: Path, size: int = MIB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(1024) * (size // 1024))
    os.sync()
    return path


def test_the_sum_of_all_directories_counts(tmp_path: Path) -> None:
    for name in ("a/one", "a/deep/er/two", "b/three"):
        write(tmp_path / name)
    check([tmp_path / "a", tmp_path / "b", tmp_path / "never made"], 4 * MIB)
    with pytest.raises(TooMuch, match=r"^wrote more than 2 MiB \(container:disk\)$"):
        check([tmp_path / "a", tmp_path / "b"], 2 * MIB)


def test_links_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside/large", 4 * MIB)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/directory").symlink_to(tmp_path / "outside")
    (tmp_path / "inside/file").symlink_to(tmp_path / "outside/large")
    (tmp_path / "inside/circle").symlink_to(".")
    check([tmp_path / "inside"], MIB)
    (tmp_path / "top").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        check([tmp_path / "top"], MIB)


def test_several_names_are_one_file(tmp_path: Path) -> None:
    write(tmp_path / "file")
    for number in range(10):
        (tmp_path / f"other{number}").hardlink_to(tmp_path / "file")
    check([tmp_path], 2 * MIB)


def test_holes_take_no_room(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    check([tmp_path], MIB)


def test_what_is_no_file_is_only_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("/nonexistent")
    check([tmp_path], MIB)


def test_empty_files_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_BYTES_A_FILE", 100)
    for number in range(10_001):
        (tmp_path / str(number)).touch()
    check([tmp_path], 2 * MIB)
    with pytest.raises(TooMuch, match=r"made more than 10000 files \(container:disk\)"):
        check([tmp_path], MIB // 2)


def test_a_deep_tree_costs_no_more_descriptors_than_a_process_has(tmp_path: Path) -> None:
    nested(tmp_path / "deep", 120)
    before = len(os.listdir("/proc/self/fd"))
    check([tmp_path / "deep"], 100 * MIB)
    nested(tmp_path / "deeper", 300)
    with pytest.raises(TooMuch, match="nested directories more than 128 deep"):
        check([tmp_path / "deeper"], 1000 * MIB)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_without_a_name_counts_while_somebody_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_processes", lambda pid: [str(pid)])  # nobody else of this machine
    with write(tmp_path / "file", 4 * MIB).open("rb"):
        (tmp_path / "file").unlink()
        check([tmp_path], MIB)
        with pytest.raises(TooMuch, match="wrote more than 1 MiB"):
            check([tmp_path], MIB, os.getpid())
    check([tmp_path], MIB, os.getpid())


def test_a_file_system_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.check_free([tmp_path])
    monkeypatch.setattr(disk, "_FREE", 1 << 62)
    monkeypatch.setattr(disk, "_FREE_PART", 1)
    with pytest.raises(TooMuch, match=f"the file system of {tmp_path} has only .* make room there"):
        disk.check_free([tmp_path])
