"""One line of a terminal for all platforms, whichever of our processes work for them."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from pipmirror_lib import locks, processes
from pipmirror_lib.terminal import Line, fitted


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """What our processes write to, and where that can be read; without a size it counts as 80 columns wide."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as there:
        yield there, ours
    os.close(ours)


def neighbour(terminal: TextIO, pid: str, owner: str, *parts: str) -> Path:
    path = locks.of_machine(f"line{os.ttyname(terminal.fileno()).replace('/', '-')}-{pid}")
    path.write_text("\n".join([owner, *parts]))
    return path


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([], ""),
        (["a: short"], "a: short"),
        (["a: " + "x" * 40], "a: " + "x" * 37),
        (["a: short", "b: " + "x" * 40], "a: short | b: " + "x" * 26),
        (["a: " + "x" * 40, "b: short"], "a: " + "x" * 26 + " | b: short"),
        (["a: " + "x" * 40, "b: " + "x" * 40], "a: " + "x" * 15 + " | b: " + "x" * 16),
        (["a: bcd"] * 4, "a: bcd | a: bcd | a: bcd | a: bcd"),
        (["a: bcd"] * 9, "a: bcd | 8 more"),
    ],
)
def test_every_platform_has_its_share_of_the_line(parts: list[str], text: str) -> None:
    assert fitted(parts, 40) == text


def test_processes_on_one_terminal_show_each_others_platforms(terminal: tuple[TextIO, int]) -> None:
    there, ours = terminal
    line = Line(there)
    other = neighbour(there, "1", processes.owner(), "bookworm: builds\tbookworm")
    gone = neighbour(there, "2", processes.owner().rpartition("/")[0] + "/1", "sid: gone")
    line.show([("trixie: fetches", "trixie")])
    assert os.read(ours, 999) == b"\r\x1b[Kbookworm: builds | trixie: fetches"
    assert (other.exists(), gone.exists()) == (True, False), "what a process has left that is no more"
    own = next(path for path in other.parent.glob("line*") if str(os.getpid()) in path.name)
    assert own.read_text() == f"{processes.owner()}\ntrixie: fetches\ttrixie"
    line.show([("trixie: " + "x" * 70, "trixie: x")])
    assert os.read(ours, 999) == b"\r\x1b[Kbookworm | trixie: x", "where it would be too long, all say less"
    line.end()
    assert os.read(ours, 999) == b"\r\x1b[K"
    assert not own.exists()


def test_where_a_terminal_has_no_name_there_are_no_neighbours(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        line = Line(file)
        line.show([("a: b", "a")])
        line.end()
    assert (tmp_path / "file").read_bytes() == b"\r\x1b[Ka: b\r\x1b[K"
