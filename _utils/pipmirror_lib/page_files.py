"""Pages as files: each replaced in one step and readable from the first moment on, all of them synced together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

from pipmirror_lib import durable
from pipmirror_lib.mirror import PlatformDirectory

# Size, time and inode: what tells a page from others without reading it; nothing where there is none.
Look = tuple[int, ...]
look_of = attrgetter("st_size", "st_mtime_ns", "st_ino")


class PageFiles:
    """What is written and removed below one directory of a platform by one publication."""

    def __init__(self, directory: PlatformDirectory, base: Path) -> None:
        self._directory = directory
        self._base = str(base)
        # Directories that are there, and whether they are new.
        self._folders: dict[str, bool] = {}
        self._altered: list[str] = []
        # {path: the page that was written there}
        self.written: dict[str, Look] = {}

    def write(self, path: str, content: bytes) -> None:
        """Replace a page, or begin it; `path` is relative."""
        page = f"{self._base}/{path}"
        new = self._folder(page.rpartition("/")[0])

        def finish(descriptor: int) -> None:
            self._directory.own(descriptor, self._directory.files.file_mode)
            if not new:
                _tell_apart(descriptor, page)
            self.written[path] = look_of(os.stat(descriptor))

        durable.write_atomically(page, content, mode=self._directory.files.file_mode, finish=finish)
        self._altered.append(page)

    def _folder(self, path: str) -> bool:
        """Have a directory; whether it was made just now."""
        new = self._folders.get(path)
        if new is None:
            self._folders[path] = new = not os.path.isdir(path)
            if new:
                self._folder(path.rpartition("/")[0])
                os.mkdir(path, self._directory.files.dir_mode)
                self._directory.own(path, self._directory.files.dir_mode)
        return new

    def remove(self, pages: Iterable[Path]) -> None:
        """Take pages away, and the directories in which nothing else lies."""
        folders = set()
        for page in pages:
            page.unlink(missing_ok=True)
            folders.add(page.parent)
        for folder in sorted(folders):
            if os.listdir(folder):
                self._folders[str(folder)] = False
            else:
                folder.rmdir()
                self._folders[str(folder.parent)] = False

    def flush(self) -> None:
        """Wait until the disk has all of it."""
        durable.sync_all([*self._altered, *self._folders, *map(os.path.dirname, self._folders)])


def _tell_apart(new: int, old: str) -> None:
    """Let a page be younger than the one it replaces by a second at least.

    Web servers and clients tell versions of a file apart by size and whole seconds: who had seen another page of the
    same length in the same second would be told for ever that nothing had changed.
    """
    try:
        before = int(os.stat(old).st_mtime)
    except FileNotFoundError:
        return
    if os.stat(new).st_mtime < before + 1:
        os.utime(new, (before + 1, before + 1))
