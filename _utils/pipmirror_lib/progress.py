"""How far a run is: steps that it tells, numbers that it is asked for, and how a person or a program gets to see them.

Whatever thread says something, it is told in the thread that has asked for the run: who listens need not be safe
against threads, and is never in the way of the work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TextIO

from pipmirror_lib.logs import harmless
from pipmirror_lib.terminal import Line

# Seconds between two looks at what has happened.
TICK = 0.2
# Seconds after which a step that has no numbers tells how long it has lasted.
LONG = 5


@dataclass(frozen=True)
class Step:
    """What is done for a platform, as people read it; a `counted` one has numbers, which change all the time."""

    platform: str
    text: str
    files: int = 0
    of_files: int = 0
    bytes: int = 0
    of_bytes: int = 0
    builds: int = 0
    of_builds: int = 0

    @property
    def counted(self) -> bool:
        return bool(self.files or self.of_files)

    @property
    def brief(self) -> str:
        """The same in fewer words, as far as numbers tell it."""
        if not self.of_files:
            return str(self)
        of_total = f"/{_megabytes(self.of_bytes)}" if self.of_bytes else ""
        built = f" {self.builds}/{self.of_builds} built" if self.of_builds else ""
        return f"{self.platform}: {self.files}/{self.of_files} files {_megabytes(self.bytes)}{of_total} MB{built}"

    def __str__(self) -> str:
        return f"{self.platform}: {self.text}"


class Lasting(Step):
    """A step that was told before and still goes on; its text says for how long."""


Listener = Callable[[Step], object]


def fetching(platform: str, files: Collection[tuple[bool, int, int]], builds: tuple[int, int]) -> Step:
    """`fetched 12 of 40 files, 33 of 120 MB; built 1 of 3`, as far as the index says how large files are.

    Of each file: whether it is here, how many bytes of it are, and of how many (0: nobody knows).
    """
    here = sum(1 for whole, _, _ in files if whole)
    received, total = sum(received for _, received, _ in files), sum(size for _, _, size in files)
    if not all(whole or size for whole, _, size in files):
        total = 0
    of_total = f" of {_megabytes(total)}" if total or not files else ""
    text = f"fetched {here} of {len(files)} files, {_megabytes(received)}{of_total} MB"
    if builds[1]:
        text += f"; built {builds[0]} of {builds[1]}"
    return Step(platform, text, here, len(files), received, total, *builds)


def _megabytes(number: int) -> str:
    return f"{number / 1e6:.0f}" if number >= 1e7 or not number else f"{number / 1e6:.1f}"


class Board:
    """Where the threads of a run leave what they have to say."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._steps: SimpleQueue[Step] = SimpleQueue()
        self._counters: dict[str, Callable[[], Step]] = {}
        self._counted: dict[str, Step] = {}
        self._lasting: dict[str, tuple[Step, float]] = {}
        self._told: dict[str, int] = {}
        self._ended: set[str] = set()

    def tell(self, platform: str, text: str) -> None:
        self._steps.put(Step(platform, text))

    def end(self, platform: str) -> None:
        """Nothing is done for it any more."""
        self._ended.add(platform)

    @contextmanager
    def counting(self, platform: str, count: Callable[[], Step]) -> Iterator[None]:
        """While it lasts, ask for the numbers now and then; the last ones are told as well."""
        self._counters[platform] = count
        try:
            yield
        finally:
            del self._counters[platform]
            self._steps.put(count())

    def report(self) -> None:
        """Pass on what has come since; only from the thread that listens."""
        with suppress(Empty):
            while True:
                step = self._steps.get_nowait()
                self._lasting[step.platform] = step, time.monotonic()
                self._listener(step)
        for platform, count in list(self._counters.items()):
            step = count()
            if self._counted.get(platform) != step:
                self._counted[platform] = step
                self._lasting.pop(platform, None)
                self._listener(step)
        self._report_lasting()

    def _report_lasting(self) -> None:
        """A base image may take minutes to come, and nothing moves meanwhile."""
        for platform, (step, since) in self._lasting.items():
            seconds = int(time.monotonic() - since)
            if seconds >= LONG and platform not in self._ended and self._told.get(platform) != seconds:
                self._told[platform] = seconds
                self._listener(Lasting(platform, f"{step.text} ({seconds} s)"))


class Latest:
    """The last step of each platform, shown by `show` at most every `seconds`, however much happens."""

    def __init__(self, seconds: float, show: Callable[[Mapping[str, Step]], object]) -> None:
        self._seconds, self._show = seconds, show
        self._steps: dict[str, Step] = {}
        self._shown = float("-inf")

    def __call__(self, step: Step) -> None:
        self._steps[step.platform] = step
        if time.monotonic() - self._shown >= self._seconds:
            self._shown = time.monotonic()
            self._show(dict(self._steps))


def lines(log: Callable[[str], object], seconds: float = 5) -> Listener:
    """A line for each step; of numbers, those of a platform only so often."""
    said: dict[str, float] = {}

    def listen(step: Step) -> None:
        if isinstance(step, Lasting):
            return
        now = time.monotonic()
        whole = step.files == step.of_files and step.builds == step.of_builds
        if not step.counted or whole or now - said.get(step.platform, float("-inf")) >= seconds:
            said[step.platform] = now
            log(str(step))

    return listen


@contextmanager
def shown(terminal: TextIO, log: Callable[[str], object]) -> Iterator[Listener]:
    """To whoever sits there, a line that is written over; to everybody else, lines in a log."""
    if not terminal.isatty():
        yield lines(log)
        return
    with status_line(terminal) as listener:
        yield listener


@contextmanager
def status_line(terminal: TextIO) -> Iterator[Listener]:
    """One line that is written over: what is done for each platform. What is logged has a line of its own."""
    line = Line(terminal)

    def show(steps: Mapping[str, Step]) -> None:
        line.show([(_plain(str(step)), _plain(step.brief)) for step in steps.values()])

    def make_room(record: logging.LogRecord) -> bool:
        line.clear()
        return True

    ours = [one for one in logging.root.handlers if _is_terminal(getattr(one, "stream", None))]
    for handler in ours:
        handler.addFilter(make_room)
    try:
        yield Latest(TICK, show)
    finally:
        for handler in ours:
            handler.removeFilter(make_room)
        line.end()


def _plain(text: str) -> str:
    return " ".join(harmless(text).split())


def _is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())
