"""Who owns what readers see, and what they may do with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipmirror_lib.declared import Files
from pipmirror_lib.errors import MirrorError


def own(path: Path, mode: int, files: Files) -> None:
    """Give it that mode, and the owner that the settings name; MirrorError where there is no such owner."""
    try:
        os.chmod(path, mode)
        if files.user or files.group:
            user, group = (int(n) if n.isdecimal() else n or None for n in (files.user, files.group))
            shutil.chown(path, user, group)  # type: ignore[arg-type]
    except LookupError as error:
        raise MirrorError(f"files: {error}") from error
