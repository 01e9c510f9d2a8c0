"""Which process a container, or a lock, belongs to, and whether it has ended since."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner() -> str:
    """HOST/PID/BEGAN of this process."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_began(pid)}"


def is_gone(text: str) -> bool:
    """Whether that process of this machine has ended; of others we cannot know."""
    host, _, rest = text.partition("/")
    pid, _, began = rest.partition("/")
    # On Windows, signal 0 would end it.
    if os.name != "posix" or host != socket.gethostname() or not (pid.isascii() and pid.isdecimal()):
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        """It is another user's, as we were told."""
    # Numbers come again, after a restart of the machine the low ones at once.
    return bool(began) and began != _began(int(pid))


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine did; '' where the system does not tell."""
    try:
        # The name, in parentheses, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
