"""The engine of pipmirror: plain typed Python that knows nothing of Salt."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable

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


def renew() -> None:
    """Have this library imported anew where its files are others by now.

    The loader re-executes our modules after a sync, but Python would keep the library of before.
    """
    if stamp() != STAMP:
        for name in [name for name in sys.modules if name.split(".")[0] == __name__]:
            del sys.modules[name]
        importlib.import_module(__name__)


def lacking(packages: Iterable[str]) -> str:
    """Which of these Python packages are missing, and what to do; '' where all are there."""
    importlib.invalidate_caches()  # some may have come since this process began
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"Python packages are missing: {', '.join(missing)}; apply the state pipmirror.python" if missing else ""
