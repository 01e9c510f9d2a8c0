"""
What the outputter ``pipmirror`` writes on: lines, tables, and words for numbers and times. It is none itself.
"""

import re
import textwrap
from datetime import datetime, timezone

# Longer lists are for programs.
SHOWN = 10
LONG = 200
MORE = "(--out=json has all)"
# What could steer a terminal or forge a line; file names and reasons may be strangers' words.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Page:
    """Lines in the making: colours where the terminal has them, wrapped to its width (0: not at all)."""

    def __init__(self, colors, width):
        self.lines = []
        self._colors = colors
        self._width = width

    def paint(self, color, text):
        return f"{self._colors[color]}{text}{self._colors['ENDC']}" if self._colors.get(color) else text

    def title(self, name, text, color):
        self.lines.append(self.paint(color, clean(f"{name}: {text}")))

    def say(self, text, indent=2, color=""):
        """A paragraph; what does not fit into a line goes on a little further in."""
        for line in clean(text).splitlines() or [""]:
            wrapped = [line]
            if self._width > 2 * indent + 20:
                wrapped = textwrap.wrap(
                    line,
                    self._width - indent,
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            self.lines += [" " * indent + self.paint(color, part) for part in wrapped]

    def items(self, label, lines, indent=2, color="", shown=SHOWN):
        """A heading and what stands under it, shortened; nothing where there is nothing."""
        lines = list(lines)
        if not lines:
            return
        self.say(f"{label}:", indent, color)
        for line in lines[:shown]:
            self.say(line, indent + 2)
        if len(lines) > shown:
            self.say(f"... and {len(lines) - shown} more {MORE}", indent + 2)

    def facts(self, told):
        """Labels in one column, what is to say of them in the next."""
        wide = max(map(len, told), default=0)
        for label, text in told.items():
            self.say(f"{label:<{wide}}  {text}")

    def table(self, rows, shown=LONG, indent=4):
        """Columns as wide as their widest cell, the first to the right: a size; the last is as long as it is."""
        rows = [[clean(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows[:shown], strict=True)]
        for first, *middle, last in rows[:shown]:
            cells = [cell.ljust(wide) for cell, wide in zip(middle, widths[1:], strict=False)]
            self.lines.append(" " * indent + "  ".join([first.rjust(widths[0]), *cells, last]))
        if len(rows) > shown:
            self.say(f"... and {len(rows) - shown} more {MORE}", indent)


def clean(text):
    return _CONTROL.sub("", str(text))


def count(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number):
    """``13.8 kB``; decimal, as package indexes and disks have it."""
    if number is None:
        return "unknown"
    if number < 1000:
        return f"{number} B"
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 999.95 or unit == "TB":
            return f"{number:.1f} {unit}"
    return ""


def span(seconds):
    """``3 days``: the largest unit of which there are at least two."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return count(int(seconds // length), unit)
    return count(max(int(seconds), 0), "second")


def when(stamp):
    """``2026-11-22 17:53 UTC (3 hours ago)``, of a time stamp in ISO 8601."""
    try:
        then = datetime.fromisoformat(stamp.replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return stamp or "never"
    seconds = (datetime.now(timezone.utc) - then).total_seconds()
    return f"{then:%Y-%m-%d %H:%M} UTC ({span(seconds)} ago)"


def some(names, shown=2):
    names = list(names)
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
