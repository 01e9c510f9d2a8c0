"""Directory trees that strangers have made, or in which somebody is at work meanwhile: there is one way through them.

Never through a link, whatever is put in a directory's place meanwhile; with an end; and what is gone is gone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_Level = tuple[int, str, list[str]]
# Gone, no directory any more, or closed to us where we are not root.
_PASSED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ESTALE)


class TooDeep(Exception):
    """Directories are nested deeper than anybody has a use for."""


class Entry(NamedTuple):
    """One name in a tree: the directory that it is in, as seen from the top, and what it stands for itself."""

    folder: str
    name: str
    about: os.stat_result

    @property
    def path(self) -> str:
        return f"{self.folder}{self.name}"


def walk(top: Path, deepest: int) -> Generator[Entry]:
    """Everything below a directory that is there and can be read; OSError where that is none, or a link to one.

    TooDeep beyond so many levels, each of which costs a descriptor meanwhile. How many entries there are the caller
    counts: nothing is kept of them but the names of the directories of a level.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    levels: list[_Level] = [(os.open(top, flags), "", [])]
    try:
        yield from _entries(levels[-1])
        while levels:
            descriptor, folder, names = levels[-1]
            if not names:
                os.close(descriptor)
                levels.pop()
                continue
            if len(levels) >= deepest:
                raise TooDeep
            name = names.pop()
            try:
                levels.append((os.open(name, flags, dir_fd=descriptor), f"{folder}{name}/", []))
            except OSError as error:
                if error.errno not in _PASSED:
                    raise
            else:
                yield from _entries(levels[-1])
    finally:
        for descriptor, _, _ in levels:
            os.close(descriptor)


def _entries(level: _Level) -> Generator[Entry]:
    """Those of one directory, whose own directories' names are left in the level."""
    descriptor, folder, names = level
    with os.scandir(descriptor) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    names.append(entry.name)
                yield Entry(folder, entry.name, about)
