"""Files that lie on this machine already, put among the downloads without fetching them again."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

from pipmirror_lib.wheels import sha256_of


def own_part(target: Path) -> Path:
    """Beside it, where only this thread writes."""
    return target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")


def under(target: Path, known: Path, sha256: str) -> Path | None:
    """A file that lies elsewhere, under a name of ours; None where it is gone by now, or not whole.

    At once, because whoever keeps it there may prune it before it is wanted here. Disks and people damage files: what
    is linked to another platform, or replaces the damage, must be whole.
    """
    link = own_part(target)
    try:
        try:
            os.link(known, link)
        except OSError as error:
            if error.errno == errno.EXDEV:  # a plan that may not write beside it, and will not want it for long
                return known if sha256_of(known) == sha256 else None
            shutil.copyfile(known, link)
        if sha256_of(link) != sha256:
            return None
        os.replace(link, target)
    except OSError:
        return None  # the index has it as well
    finally:
        link.unlink(missing_ok=True)
    return target
