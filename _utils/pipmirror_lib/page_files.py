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
# After so many pages the disk begins, while more are made.
MANY = 2000


class PageFiles:
    """What is written and removed below one directory of a platform by one publication."""

    def __init__(self, directory: PlatformDirectory, base: Path) -> None:
        self._directory = directory
        self._base = str(base)
        # Directories that are there, and whether they are new.
        self._folders: dict[str, bool] = {}
        self._altered: list[str] = []
        self._early = durable.EarlySync()
        # {path: the page that was written there}
        self.written: dict[str, Look] = {}

    def write(self, path: str, content: bytes) -> None:
        """Replace a page, or begin it; `path` is relative."""
        page = f"{self._base}/{path}"
        new = self._folder(page.rpartition("/")[0])

        def finish(descriptor: int) -> None:
            about = os.stat(descriptor)
            self._directory.own(descriptor, self._directory.files.file_mode, about)
            if not new and _tell_apart(descriptor, about, page):
                about = os.stat(descriptor)
            self.written[path] = look_of(about)

        durable.write_atomically(page, content, mode=self._directory.files.file_mode, finish=finish)
        self._altered.append(page)
        if len(self._altered) % MANY == 0:
            self._early.begin(self._base)

    def _folder(self, path: str) -> bool:
        """Have a directory; whether it was made just now."""
        if path not in self._folders:
            self._folders[path] = self._made(path)
        return self._folders[path]

    def _made(self, path: str) -> bool:
        try:
            os.mkdir(path)
        except FileExistsError:
            if os.path.isdir(path):
                return False
            raise
        except FileNotFoundError:
            self._folder(path.rpartition("/")[0])
            os.mkdir(path)
        self._directory.own(path, self._directory.files.dir_mode)
        return True

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
        above = {folder.rpartition("/")[0] for folder in self._folders}
        durable.sync_all([*self._altered, *self._folders, *above], together=self._early.end())


def _tell_apart(new: int, about: os.stat_result, old: str) -> bool:
    """Let a page be younger than the one it replaces by a second at least; whether that had to be done.

    Web servers and clients tell versions of a file apart by size and whole seconds: who had seen another page of the
    same length in the same second would be told for ever that nothing had changed.
    """
    try:
        before = int(os.stat(old).st_mtime)
    except FileNotFoundError:
        return False
    if about.st_mtime >= before + 1:
        return False
    os.utime(new, (before + 1, before + 1))
    return True
