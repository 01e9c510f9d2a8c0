"""This machine's own Python, for platforms that have no image; found and recognised without running it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

DEFAULT = "python3"


def find(python: str) -> str:
    """Its path, '' where there is none.

    A path is taken as it is. A name is looked up on PATH, past Salt's own environment (its packages are Salt's) and,
    for root, past what unprivileged users cannot run: they will have to.
    """
    if os.path.dirname(python):
        return shutil.which(python) or ""
    # Python's installer for Windows makes no python3.
    for name in (python, "python") if python == DEFAULT else (python,):
        for folder in os.get_exec_path():
            path = shutil.which(name, path=folder)
            if path and not _is_salts(path) and (not is_root() or open_to_others(Path(path))):
                return path
    return ""


def stamp(python: str) -> str:
    """Changes when another interpreter would be found, or this one is replaced."""
    path = find(python)
    if not path:
        return ""
    found = os.stat(path)
    return f"{path}:{os.path.realpath(path)}:{found.st_mtime_ns}:{found.st_size}"


def is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


def open_to_others(path: Path) -> bool:
    """Whether everybody may enter the directory, or run the file, under this name and its real one."""
    places = {place for one in (path.absolute(), path.resolve()) for place in (one, *one.parents)}
    return all(place.stat().st_mode & stat.S_IXOTH for place in places)


def _is_salts(path: str) -> bool:
    """A virtual environment, or the bundle of Salt's own packages; the system's Python is nobody's own."""
    apart = sys.prefix != sys.base_prefix or hasattr(sys, "RELENV")
    return apart and Path(path).absolute().is_relative_to(sys.prefix)
