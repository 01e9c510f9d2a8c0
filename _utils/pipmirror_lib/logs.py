"""What strangers' code prints: bounded, harmless to a terminal, and searched for the line that tells the reason."""

from __future__ import annotations

import codecs
import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import final

_HEAD_BYTES = 5 << 20
_TAIL_BYTES = 64 << 10


@final
class Log:
    """Output of strangers' code, made harmless and bounded: its beginning, and its last lines."""

    def __init__(self, path: Path | None) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._file = open(path, "w", encoding="utf-8") if path else None  # noqa: SIM115
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._room, self._tail_size, self._dropped = _HEAD_BYTES, 0, 0
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            if self._tail:
                self._put(f"\n[pipmirror: {self._dropped} characters left out]\n" + "".join(self._tail))
            self._close()

    @property
    def text(self) -> str:
        return "".join(self._head)

    def write(self, data: bytes) -> None:
        text = harmless(self._decode(data))
        with self._lock:
            if self._closed:
                return
            kept, rest = text[: self._room], text[self._room :]
            self._room -= len(kept)
            if kept:
                self._put(kept)
            if rest:
                self._keep_last(rest)

    def _put(self, text: str) -> None:
        self._head.append(text)
        try:
            if self._file:
                self._file.write(text)
                self._file.flush()
        except OSError:
            # A full disk must not end the reading: what was printed may be the answer, or tell the reason.
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        with suppress(OSError):  # closing flushes once more
            if file:
                file.close()

    def _keep_last(self, text: str) -> None:
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) > _TAIL_BYTES:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self._dropped += gone


_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# All of C0 but tab and newline, DEL and C1, and what reorders or breaks lines in a viewer of Unicode text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def harmless(text: str) -> str:
    """Text without what could steer a terminal or forge a line."""
    text = _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub("", text)


def short(text: str) -> str:
    words = " ".join(harmless(text).split())
    return words if len(words) <= 300 else words[:299] + "…"


def reason(log: str) -> str:
    """The line of a log that says best what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("pipmirror: ")]
    telling = (
        line for line in reversed(lines) if re.search(r"\bE: |[Ee]rror\b|ERROR|Error:|No such|not found|^no pip", line)
    )
    return short(next(telling, "") or (lines[-1] if lines else "no output"))
