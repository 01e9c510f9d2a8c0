"""How much of this machine's disk a run of strangers' code takes, and when that is too much.

What is measured here is hostile and changes meanwhile: never through a link, never longer than a bounded time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from pipmirror_lib.trees import TooDeep, walk

# Of each file system; a small one keeps a part of it.
_FREE, _FREE_PART = 512 << 20, 50
# Real trees have a few kilobytes a file; one with millions of empty files takes inodes and hours instead of bytes.
_BYTES_A_FILE = 16 << 10
_DEPTH = 128
_OPEN = 1_000_000
_SETTING = "container:disk"


class TooMuch(Exception):
    """In words that follow `the build`."""


class _Tally:
    """What was found until now; TooMuch as soon as it is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._files = max(limit // _BYTES_A_FILE, 10_000)
        self._bytes = self._entries = 0
        self._seen: set[tuple[int, int]] = set()

    def entry(self, found: os.stat_result) -> None:
        self._entries += 1
        if self._entries > self._files:
            raise TooMuch(f"made more than {self._files} files ({_SETTING})")
        self.add(found)

    def add(self, found: os.stat_result) -> None:
        """Count the blocks of a file, once for all of its names: a sparse file takes no more than it holds."""
        if found.st_nlink != 1 and not stat.S_ISDIR(found.st_mode):
            key = (found.st_dev, found.st_ino)
            if key in self._seen:
                return
            self._seen.add(key)
        self._bytes += getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
        if self._bytes > self._limit:
            raise TooMuch(f"wrote more than {self._limit >> 20} MiB ({_SETTING})")


def check(directories: Iterable[Path], limit: int, pid: int = 0) -> None:
    """Measure what lies in the directories, and what the container of that process (0: none) holds without a name."""
    tally = _Tally(limit)
    devices = set()
    for directory in directories:
        with suppress(FileNotFoundError):
            devices.add(directory.stat().st_dev)
            _measure(directory, tally)
    if pid:
        _held(pid, devices, tally)


def _measure(directory: Path, tally: _Tally) -> None:
    try:
        with closing(walk(directory, _DEPTH)) as entries:
            for entry in entries:
                tally.entry(entry.about)
    except TooDeep:
        raise TooMuch(f"nested directories more than {_DEPTH} deep ({_SETTING})") from None


def check_free(directories: Iterable[Path]) -> None:
    """TooMuch where a file system is so full that the machine itself may soon fail; it costs next to nothing."""
    for directory in directories:
        free = os.statvfs(directory)
        size, left = free.f_blocks * free.f_frsize, free.f_bavail * free.f_frsize
        if left < min(_FREE, size // _FREE_PART) or 0 < free.f_favail < free.f_files // 1000:
            raise TooMuch(
                f"was stopped, because the file system of {directory} has only {left >> 20} MiB "
                f"and {free.f_favail} inodes left; make room there"
            )


def _held(pid: int, devices: set[int], tally: _Tally) -> None:
    """Files that were removed while they are open or mapped: no directory shows them."""
    looked = 0
    for process in _processes(pid):
        for kind in ("fd", "map_files"):
            with suppress(OSError), os.scandir(f"/proc/{process}/{kind}") as entries:
                for entry in entries:
                    looked += 1
                    if looked > _OPEN:
                        raise TooMuch(f"held more than {_OPEN} files open ({_SETTING})")
                    with suppress(OSError):
                        found = os.stat(entry.path)
                        if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev in devices:
                            tally.add(found)


def _processes(pid: int) -> list[str]:
    """All processes of the container whose first one is `pid`, or that this one has made a namespace for."""
    try:
        space = os.readlink(f"/proc/{pid}/ns/pid_for_children")
        if space == os.readlink("/proc/self/ns/pid"):
            return []  # it has not made it yet
    except OSError:
        return []  # it has ended
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdecimal() and os.readlink(f"/proc/{name}/ns/pid") == space:
                found.append(name)
    return found
