"""Moments as our private files keep them: ISO 8601 in UTC, to the second, so that their order is that of their text."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

# Seconds by which clocks of machines that share a mirror may differ.
SKEW = 86400

# PEP 700; as most indexes write it.
_IN_UTC = re.compile(
    r"(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z", re.ASCII
)


def now() -> str:
    return _text(datetime.now(timezone.utc))


def age(moment: str) -> float:
    """Seconds since a moment; for ever, where the text is none."""
    try:
        return (datetime.now(timezone.utc) - _read(moment)).total_seconds()
    except (ValueError, TypeError, AttributeError):  # TypeError: a moment without its time zone
        return float("inf")


def later(moment: str, seconds: float) -> str:
    """That moment so many seconds on; itself, where the text is none or there is no such moment."""
    try:
        return _text(_read(moment) + timedelta(seconds=seconds))
    except (ValueError, TypeError, AttributeError, OverflowError):
        return moment


def older(moment: str, seconds: float) -> bool:
    """Whether it is that long ago; of a moment to come nobody knows, for the clock was or is wrong."""
    return not -SKEW <= age(moment) <= seconds


def in_utc(text: str) -> str:
    """A moment that a stranger wrote, as the Simple Repository API wants it; '' where it is none."""
    if _IN_UTC.fullmatch(text):
        return text
    try:
        moment = _read(text)
        moment = moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return ""
    return moment.isoformat().replace("+00:00", "Z")


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
