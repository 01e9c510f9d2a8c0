"""What is said of a run: counted, throttled, and never two texts in one line."""

from __future__ import annotations

import io
import logging
import re
import threading
import time
from collections.abc import Mapping

import pytest
from pipmirror_lib import progress
from pipmirror_lib.progress import Board, Latest, Step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("files", "builds", "text"),
    [
        ([(True, 33_000_000, 33_000_000), (False, 0, 87_000_000)], (0, 0), "fetched 1 of 2 files, 33 of 120 MB"),
        ([(True, 1_500_000, 1_500_000), (False, 7, 7)], (1, 3), "fetched 1 of 2 files, 1.5 of 1.5 MB; built 1 of 3"),
        ([], (0, 0), "fetched 0 of 0 files, 0 of 0 MB"),
        ([(True, 1_500_000, 1_500_000), (False, 500_000, 0)], (0, 0), "fetched 1 of 2 files, 2.0 MB"),
    ],
)
def test_what_has_come(files: list[tuple[bool, int, int]], builds: tuple[int, int], text: str) -> None:
    step = progress.fetching("bookworm", files, builds)
    assert str(step) == f"bookworm: {text}"
    assert (step.files, step.of_files, step.builds, step.of_builds) == (sum(f[0] for f in files), len(files), *builds)


@pytest.mark.parametrize(
    ("step", "brief"),
    [
        (
            progress.fetching("debian-bookworm", [(True, 33_000_000, 33_000_000)] * 2, (1, 3)),
            "2/2 files 66/66 MB 1/3 built",
        ),
        (progress.fetching("debian-bookworm", [(False, 33_000_000, 0)], (0, 0)), "0/1 files 33 MB"),
        (Step("debian-bookworm", "preparing the builder image"), "preparing the builder image"),
    ],
)
def test_in_fewer_words(step: Step, brief: str) -> None:
    assert step.brief == f"debian-bookworm: {brief}"


def test_a_board_is_read_in_one_thread() -> None:
    said: list[Step] = []
    board = Board(said.append)
    threads = [threading.Thread(target=board.tell, args=("p", str(number))) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == []
    board.report()
    assert {step.text for step in said} == {str(number) for number in range(20)}
    board.report()
    assert len(said) == 20


def test_numbers_are_asked_for_and_told_when_they_change() -> None:
    said: list[Step] = []
    board = Board(said.append)
    here = [0]
    with board.counting("p", lambda: Step("p", f"{here[0]} of 3", here[0], 3)):
        for number in (0, 0, 1, 1):
            here[0] = number
            board.report()
        here[0] = 3
    board.report()
    assert [step.text for step in said] == ["0 of 3", "1 of 3", "3 of 3"]


def test_what_lasts_tells_for_how_long(clock: list[float]) -> None:
    """On the line, not in the log; numbers tell by themselves that something moves, and at the end nothing does."""
    said: list[str] = []
    logged: list[str] = []
    log = progress.lines(logged.append)

    def listen(step: Step) -> None:
        said.append(str(step))
        log(step)

    board = Board(listen)
    board.tell("p", "preparing the builder image")
    for _ in range(14):
        board.report()
        clock[0] += 0.5
    assert said == ["p: preparing the builder image"] + [f"p: preparing the builder image ({n} s)" for n in (5, 6)]
    board.end("p")
    clock[0] += 5
    board.report()
    assert len(said) == 3
    board.tell("q", "asking")
    with board.counting("q", lambda: Step("q", "fetched 1", 1, 2)):
        board.report()
        clock[0] += 9
        board.report()
    assert said[3:] == ["q: asking", "q: fetched 1"]
    assert [line for line in logged if " s)" in line] == []


def test_the_log_has_every_step_and_some_numbers(clock: list[float]) -> None:
    said: list[str] = []
    listen = progress.lines(said.append, 5)
    for number in range(4):
        clock[0] += 2
        listen(Step("p", f"{number} of 9", number, 9))
        listen(Step("q", f"work {number}"))
    listen(Step("p", "9 of 9", 9, 9))
    assert [text for text in said if text.startswith("q")] == [f"q: work {number}" for number in range(4)]
    assert [text for text in said if text.startswith("p")] == ["p: 0 of 9", "p: 3 of 9", "p: 9 of 9"]


def test_the_latest_of_all_now_and_then(clock: list[float]) -> None:
    shown: list[dict[str, str]] = []

    def show(steps: Mapping[str, Step]) -> None:
        shown.append({name: step.text for name, step in steps.items()})

    latest = Latest(5, show)
    for seconds, platform in enumerate("aabababa"):
        latest(Step(platform, str(seconds)))
        clock[0] += 1
    assert shown == [{"a": "0"}, {"a": "5", "b": "4"}]


def test_one_line_of_a_terminal(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Platforms side by side, never longer than the line; what is logged meanwhile has a line of its own."""
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    handler = logging.StreamHandler(terminal)
    logging.root.addHandler(handler)
    try:
        with progress.status_line(terminal) as listen:
            listen(Step("a", "first"))
            clock[0] += 1
            listen(Step("b", "work\nwith \x1b[31ma trap and a very long name"))
            logging.getLogger().warning("something")
        logging.getLogger().warning("afterwards")
    finally:
        logging.root.removeHandler(handler)
    assert terminal.getvalue().split("\r\x1b[K") == [
        "",
        "a: first",
        "a: first | b: work with a trap and a ve"[:39],
        "something\n",
        "afterwards\n",
    ]
    assert not re.search(r"[^\n]something", terminal.getvalue().replace("\r\x1b[K", "\n"))
