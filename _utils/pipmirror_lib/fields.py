"""Typed reading of a declaration that gathers every fault instead of stopping at the first.

A `Fields` is one mapping of the declaration together with its place (`pipmirror:platforms[0]`); each
reading method returns a usable value even where it records a fault, so that reading can go on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_DURATION = re.compile(r"(\d{1,6})\s*([smhdw])")
# Six digits keep a number of weeks within what a clock can subtract.
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d{1,15})\s*([kmgt]?)i?b?", re.IGNORECASE)
_FACTOR = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# The number above means "leave it as it is".
_LARGEST_ID = (1 << 32) - 2
_MODE = re.compile(r"0?[0-7]{3,4}")


def kind_of(value: object, *, secret: bool = False) -> str:
    """Name a YAML value the way an administrator would; a secret one without what it holds."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean" if secret else f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return "a number" if secret else f"the number {value}"
    if isinstance(value, str):
        return "a string" if secret else f"the string {value!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    return f"a {type(value).__name__}"


class Fields:
    """One mapping of the declaration, read key by key; of a `secret` one no fault tells a value."""

    def __init__(self, values: object, place: str, faults: list[str], *, secret: bool = False) -> None:
        self.place = place
        self.secret = secret
        self.faults = faults
        self.values: Mapping[str, Any] = {}
        if isinstance(values, Mapping):
            self.values = {str(key): value for key, value in values.items()}
        elif values is not None:
            faults.append(f"{place}: must be a mapping, not {self._kind_of(values)}")

    def _kind_of(self, value: object) -> str:
        return kind_of(value, secret=self.secret)

    def _number_of(self, value: object) -> str:
        """For what is to be a number: one that is out of range is no secret."""
        return kind_of(value, secret=self.secret and not isinstance(value, (int, float)))

    def at(self, key: str) -> str:
        return f"{self.place}:{key}"

    def fault(self, key: str, message: str) -> None:
        self.faults.append(f"{self.at(key)}: {message}")

    def refuse_unknown(self, known: Sequence[str], elsewhere: Mapping[str, str] | None = None) -> None:
        """Record every key that nothing reads, with the nearest one that something does, or with where it belongs."""
        for key in self.values:
            if key in known:
                continue
            if elsewhere and key in elsewhere:
                self.fault(key, elsewhere[key])
                continue
            near = difflib.get_close_matches(key, known, n=1)
            self.fault(key, f"unknown key; did you mean {near[0]!r}?" if near else "unknown key; remove it")

    def _read(
        self,
        key: str,
        default: T,
        convert: Callable[[Any], T | None],
        wanted: str,
        told: Callable[[Any], str] | None = None,
    ) -> T:
        value = self.values.get(key)
        if value is None:
            return default
        result = convert(value)
        if result is None:
            self.fault(key, f"must be {wanted}, not {(told or self._kind_of)(value)}")
            return default
        return result

    def text(self, key: str, default: str = "") -> str:
        return self._read(key, default, lambda v: v if isinstance(v, str) else None, "a string")

    def flag(self, key: str, default: bool) -> bool:
        return self._read(key, default, lambda v: v if isinstance(v, bool) else None, "true or false")

    def choice(self, key: str, default: str, among: Sequence[str]) -> str:
        wanted = "one of " + ", ".join(among)
        return self._read(key, default, lambda v: v if v in among else None, wanted)

    def whole(self, key: str, default: int, least: int = 1, most: int = 10_000_000, what: str = "") -> int:
        """`what` is what it counts, where the key alone does not say that."""

        def convert(value: Any) -> int | None:
            fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
            return value if fits else None

        wanted = f"a whole number from {least} to {most}{what and f' ({what})'}"
        return self._read(key, default, convert, wanted, self._number_of)

    def number(self, key: str, default: float, least: float, most: float) -> float:
        def convert(value: Any) -> float | None:
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
            return float(value) if fits else None

        return self._read(key, default, convert, f"a number from {least} to {most}", self._number_of)

    def duration(self, key: str, default: int) -> int:
        """Seconds, from `90s`, `15m`, `12h`, `3d`, `2w` or 0."""
        return self._read(key, default, seconds, "a duration such as 90s, 15m, 12h, 3d, 2w, or 0")

    def size(self, key: str, default: int, least: int) -> int:
        """Bytes, from a whole number or `512m`, `4g`."""

        def convert(value: Any) -> int | None:
            match = _SIZE.fullmatch(str(value).strip()) if isinstance(value, (int, str)) else None
            found = int(match[1]) * _FACTOR[match[2].lower()] if match else 0
            return found if found >= least else None

        return self._read(key, default, convert, f"a size such as 512m or 4g, at least {least >> 20}m")

    def owner(self, key: str) -> str:
        """A user's or group's name, or its number as text."""

        def convert(value: Any) -> str | None:
            text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else " "
            fits = text.strip() == text and text.isprintable() and not (text.isdecimal() and int(text) > _LARGEST_ID)
            return text if fits else None

        return self._read(key, "", convert, "a name or a number")

    def mode(self, key: str, default: int) -> int:
        """Permission bits, from `'0644'`, `'644'` or 644 (Salt's YAML drops the leading zero)."""

        def convert(value: Any) -> int | None:
            fits = not isinstance(value, bool) and _MODE.fullmatch(str(value))
            return int(str(value), 8) if fits else None

        return self._read(key, default, convert, "permission bits such as '0644'")

    def strings(self, key: str) -> list[tuple[str, str]]:
        """(place, string) for each item of a list, or of a mapping of lists by label."""
        found: list[tuple[str, str]] = []
        for place, value in self.items(key, "a list of strings"):
            if isinstance(value, str):
                found.append((place, value))
            else:
                hint = "; quote it" if isinstance(value, (int, float)) else ""
                self.faults.append(f"{place}: must be a string, not {self._kind_of(value)}{hint}")
        return found

    def items(self, key: str, wanted: str) -> Iterator[tuple[str, Any]]:
        """(place, item) for each item of a list, or of a mapping of lists (or mappings) by label.

        Several pillar files can merge a mapping, which they cannot do to a list.
        """
        value = self.values.get(key)
        if isinstance(value, Mapping):
            for label, inner in value.items():
                if isinstance(inner, Mapping):
                    yield f"{self.at(key)}:{label}", inner
                else:
                    yield from self._flat(f"{self.at(key)}:{label}", inner, wanted)
        elif value is not None:
            yield from self._flat(self.at(key), value, wanted)

    def _flat(self, place: str, value: object, wanted: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            for number, item in enumerate(value):
                yield f"{place}[{number}]", item
        else:
            self.faults.append(f"{place}: must be {wanted}, not {self._kind_of(value)}")


def seconds(value: object) -> int | None:
    """Read a duration; None where it is none."""
    if value == 0 and not isinstance(value, bool):
        return 0
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(match[1]) * _SECONDS[match[2]] if match else None
