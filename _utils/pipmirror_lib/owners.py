"""Who owns what readers see, and what they may do with it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipmirror_lib.declared import Files
from pipmirror_lib.errors import MirrorError

# For chown: leave it as it is.
SAME = -1


def numbers(files: Files) -> tuple[int, int]:
    """Of the user and the group that the settings name; MirrorError where there is no such one."""
    import grp
    import pwd

    user, group = files.user, files.group
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid if user else SAME
    except KeyError as error:
        raise MirrorError(f"files: no such user: {user!r}") from error
    try:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid if group else SAME
    except KeyError as error:
        raise MirrorError(f"files: no such group: {group!r}") from error
    return uid, gid


def own(path: Path, mode: int, files: Files) -> None:
    """Give it that mode, and the owner that the settings name; MirrorError where there is no such owner."""
    give(path, mode, numbers(files))


def give(path: Path | str | int, mode: int, owner: tuple[int, int]) -> None:
    """The same for one file of many, or an open one: names are not asked for again and again."""
    os.chmod(path, mode)
    if owner != (SAME, SAME):
        os.chown(path, *owner)


def has(about: os.stat_result, mode: int, owner: tuple[int, int]) -> bool:
    """Whether it is so already; to set what is set costs the disk a transaction."""
    return stat.S_IMODE(about.st_mode) == mode and owner in ((SAME, SAME), (about.st_uid, about.st_gid))
