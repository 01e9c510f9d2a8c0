"""Programs that must not outlive us: whoever kills this process alone ends them with it, and what they mounted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache

_DYING = ("setpriv", "--pdeathsig", "KILL", "--")
# The first process of such a namespace takes all others along, and the mounts go with the last one.
_CONTAINED = (*_DYING, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--")


def dying(command: Sequence[str]) -> list[str]:
    """The command, to be killed when the thread that starts it is no more; as it is where the system cannot."""
    return [*_usable(_DYING), *command]


def contained(command: Sequence[str]) -> list[str]:
    """The same for a program that starts others and mounts things, where we have the right to."""
    return [*(_usable(_CONTAINED) or _usable(_DYING)), *command]


def _usable(wrapper: tuple[str, ...]) -> tuple[str, ...]:
    program = shutil.which(wrapper[0])
    return wrapper if program and _works(program, wrapper) else ()


@lru_cache
def _works(program: str, wrapper: tuple[str, ...]) -> bool:
    command = [program, *wrapper[1:], "true"]
    return not subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
