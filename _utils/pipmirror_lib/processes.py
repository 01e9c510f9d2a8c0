"""Which process a container, or a lock, belongs to, and whether it has ended since."""

from __future__ import annotations

import os
import socket
from pathlib import Path

# A zombie, which its parent has not asked about, and what the kernel is about to remove.
_DEAD = ("Z", "X")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def owner() -> str:
    """HOST@BOOT/PID/BEGAN of this process; to an older release, that is another machine's."""
    pid, boot = os.getpid(), _boot()
    return f"{socket.gethostname()}{boot and '@'}{boot}/{pid}/{_began(pid)}"


def is_gone(text: str, *, shared: bool = False) -> bool:
    """Whether that process of this machine has ended; of others we cannot know.

    `shared`: machines of one name may both have written such texts there. Then those of another start of the machine,
    or of none (an older release), are another's.
    """
    machine, pid, began = (text.split("/") + [""] * 2)[:3]
    host, _, boot = machine.partition("@")
    # On Windows, signal 0 would end it.
    if os.name != "posix" or host != socket.gethostname() or not (pid.isascii() and pid.isdecimal()):
        return False
    here = _boot()
    if boot != here and (shared or (boot and here)):
        return not shared
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        """It is another user's, as we were told."""
    # Numbers come again, after a restart of the machine the low ones at once; and nobody may have buried a dead one.
    return bool(began) and began != _began(int(pid))


def _boot() -> str:
    """What the kernel calls this start of the machine; '' where the system does not tell."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine did, or that it is dead; '' where the system does not tell."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "dead" if fields[0] in _DEAD else fields[19]
    except (OSError, IndexError):
        return ""
