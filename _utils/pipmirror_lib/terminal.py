"""One line of a terminal that is written over, shared by all of our processes that write there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from pipmirror_lib import locks, processes
from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError

_CLEAR = "\r\x1b[K"
_BETWEEN, _OR = " | ", "\t"
# What is said of a platform, and the same in fewer words.
Part = tuple[str, str]
# Characters of a platform with which it still says something.
_LEAST = 12


class Line:
    """What this process says there, beside what the others do: a highstate works in several at once.

    Each writes the whole line, so that they take turns and never mix.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._own = self._others = None
        with suppress(OSError, ValueError, MirrorError):  # no name, no neighbours
            name = os.ttyname(terminal.fileno()).replace("/", "-")
            self._own = locks.of_machine(f"line{name}-{os.getpid()}")
            self._others = f"line{name}-*.lock"

    def show(self, parts: Sequence[Part]) -> None:
        said = {**self._neighbours(), self._own: parts}
        together = [part for path in sorted(said, key=str) for part in said[path]]
        width = self._columns - 1
        fits = len(_BETWEEN.join(full for full, _ in together)) <= width
        self._write(f"{_CLEAR}{fitted([full if fits else brief for full, brief in together], width)}")
        if self._own:
            with suppress(OSError):  # then nobody else shows it
                write_atomically(self._own, "\n".join([processes.owner(), *map(_OR.join, parts)]).encode())

    def clear(self) -> None:
        self._write(_CLEAR)

    def end(self) -> None:
        self.clear()
        if self._own:
            with suppress(OSError):
                self._own.unlink(missing_ok=True)

    def _neighbours(self) -> dict[Path | None, Sequence[Part]]:
        found: dict[Path | None, Sequence[Part]] = {}
        for path in self._own.parent.glob(self._others) if self._own and self._others else ():
            with suppress(OSError, ValueError):  # it has come to its end just now
                owner, *parts = path.read_text().split("\n")
                if processes.is_gone(owner):
                    path.unlink(missing_ok=True)
                else:
                    found[path] = [(full, brief or full) for full, _, brief in (part.partition(_OR) for part in parts)]
        return found

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that is gone is no reason to stop
            self._terminal.write(text)
            self._terminal.flush()

    @property
    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._terminal.fileno()).columns or 80
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns


def fitted(parts: Sequence[str], width: int) -> str:
    """Side by side in one line: what is too long gives way, and nobody is pushed out by another."""
    most = max(2, (width + len(_BETWEEN)) // (_LEAST + len(_BETWEEN)))
    if len(parts) > most and len(_BETWEEN.join(parts)) > width:
        parts = [*parts[: most - 1], f"{len(parts) - most + 1} more"]
    room = width - len(_BETWEEN) * (len(parts) - 1)
    shares = {}
    for left, number in enumerate(sorted(range(len(parts)), key=lambda one: len(parts[one]))):
        shares[number] = min(len(parts[number]), max(0, room // (len(parts) - left)))
        room -= shares[number]
    return _BETWEEN.join(part[: shares[number]] for number, part in enumerate(parts))[:width]
