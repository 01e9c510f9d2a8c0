"""Files that have left the mirror, kept for an hour for clients that had read a page before and ask for what it named.

They lie in a hidden directory beside the wheels, where no page, no listing and no client that looks into the directory
finds them; the web server of `pipmirror.server` looks there for what is not in its place any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from pipmirror_lib.errors import MirrorError, why

# nginx.conf.jinja knows the name as well.
HIDDEN = ".gone"
# Seconds from what a client reads first to what it fetches last: downloads come after all pages.
GRACE = 3600


def retire(public: Path, filenames: Iterable[str], own: Callable[[Path], None]) -> None:
    """Take files out of the directory, each in one step; `own` lets readers into ours."""
    hidden = public / HIDDEN
    with suppress(OSError):  # a disk that is too full for a directory is what files are removed for
        hidden.mkdir(exist_ok=True)
        own(hidden)
    for name in filenames:
        path = public / name
        with suppress(FileNotFoundError):  # another one took it away
            if hidden.is_dir() and not path.is_symlink():  # which could lead elsewhere from there
                os.replace(path, hidden / name)
            else:
                path.unlink()


def due(public: Path) -> bool:
    """Whether everything that is kept there has been kept long enough."""
    try:
        return _is_over(os.stat(public / HIDDEN).st_mtime)
    except OSError:
        return False  # mostly there is none


def free(public: Path) -> None:
    """Remove what nobody can be about to fetch any more."""
    hidden = public / HIDDEN
    try:
        for entry in os.scandir(hidden):
            # A rename leaves the file's own time alone.
            if _is_over(entry.stat(follow_symlinks=False).st_ctime):
                os.unlink(entry.path)
        with suppress(OSError):  # not empty
            hidden.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise MirrorError(f"cannot remove {error.filename}: {why(error)}") from error


def _is_over(moment: float) -> bool:
    """Of a moment to come nobody knows when it is over."""
    return not 0 <= time.time() - moment < GRACE
