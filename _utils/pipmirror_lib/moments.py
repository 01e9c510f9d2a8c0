"""Moments as our private files keep them: ISO 8601 in UTC, to the second, so that their order is that of their text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

# Seconds by which clocks of machines that share a mirror may differ.
SKEW = 86400


def now() -> str:
    return _told(datetime.now(timezone.utc))


def days_after(moment: str, days: int) -> str:
    """The moment so many days later."""
    return _told(datetime.fromisoformat(moment.replace("Z", "+00:00")) + timedelta(days=days))


def _told(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def age(moment: str) -> float:
    """Seconds since a moment; for ever, where the text is none."""
    try:
        then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        return (datetime.now(timezone.utc) - then).total_seconds()
    except (ValueError, TypeError, AttributeError):  # TypeError: a moment without its time zone
        return float("inf")


def older(moment: str, seconds: float) -> bool:
    """Whether it is that long ago; of a moment to come nobody knows, for the clock was or is wrong."""
    return not -SKEW <= age(moment) <= seconds
