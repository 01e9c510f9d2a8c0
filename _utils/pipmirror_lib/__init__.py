"""The engine of pipmirror: plain typed Python that knows nothing of Salt."""

from __future__ import annotations

import os

__version__ = "0.1.0"


def stamp() -> str:
    """Changes with any edit of this library's files.

    Salt's loader does not reload a library when it is synced anew, and a decision that other code has made
    must not be believed; both are told by this.
    """
    files = []
    for entry in os.scandir(os.path.dirname(__file__)):
        if entry.name.endswith(".py"):
            stat = entry.stat()
            files.append(f"{entry.name}:{stat.st_mtime_ns}:{stat.st_size}")
    return f"{__version__} {' '.join(sorted(files))}"


STAMP = stamp()
