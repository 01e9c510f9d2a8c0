"""How strangers' code is kept apart where there is no engine: by whatever this machine offers.

On Linux, util-linux starts it in namespaces of its own: no network, no sight of other processes, and nothing goes on
when the first of them ends. Root makes it an unprivileged user everywhere. Elsewhere it is a process like any other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipmirror_lib import children
from pipmirror_lib.engine import NOBODY
from pipmirror_lib.interpreter import is_root

# (what is seen, where, how mount is told so); one after the other.
Bind = tuple[Path, Path, str]
# Where everybody may write.
OPEN = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")  # noqa: S108
_APART = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL", "--mount-proc")
_OWN_USER = ("--user", "--map-current-user")
# The kernel forgets with whom it was to end as soon as a process becomes somebody else: once more, after that.
_LAST = ("--no-new-privs", "--pdeathsig=KILL")
# The directory that it is in may lie below what is bound: it goes there once more.
_BIND = 'while [ "$1" != -- ]; do mount -o "$3" "$1" "$2" || exit 126; shift 3; done; shift; cd "$PWD" && exec "$@"'


@dataclass(frozen=True)
class Isolation:
    """`user` and `group` are whom root becomes; `namespaces` whether there are any."""

    user: int | None
    group: int | None
    namespaces: bool

    @property
    def can_bind(self) -> bool:
        """Whether a run can be shown what its user has no way to."""
        return self.namespaces and self.user is not None

    def command(
        self, command: Sequence[str], *, network: bool = False, groups: Sequence[int] = (), binds: Sequence[Bind] = ()
    ) -> list[str]:
        """What starts a command apart."""
        if not self.namespaces:
            return children.dying(command)
        apart = children.dying(["unshare", *_APART, *(() if network else ("--net",))])
        if self.user is None:
            return [*apart, *_OWN_USER, "--", "setpriv", *_LAST, "--", *command]
        members = ("--groups", ",".join(map(str, groups))) if groups else ("--clear-groups",)
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.group}", *members]
        become += [*_LAST, "--inh-caps=-all", "--bounding-set=-all", "--"]
        shown = [str(path) for bind in binds for path in bind]
        return [*apart, "--", "/bin/sh", "-c", _BIND, "sh", *shown, "--", *become, *command]

    def options(self, groups: Sequence[int] = ()) -> dict[str, Any]:
        """How subprocess starts it."""
        if os.name != "posix":
            return {}
        options: dict[str, Any] = {"start_new_session": True, "umask": 0o022}
        if not self.namespaces and self.user is not None:
            options.update(user=self.user, group=self.group, extra_groups=list(groups))
        return options

    def __str__(self) -> str:
        who = "as an unprivileged user" if self.user is not None else "as the user that runs Salt"
        network = "without network" if self.namespaces else "with this machine's network"
        return f"{who}, {network}"


def available() -> Isolation:
    """The best that works here, tried out."""
    user, group = _nobody() if is_root() else (None, None)
    best = Isolation(user, group, namespaces=sys.platform == "linux")
    return best if best.namespaces and _works(best) else Isolation(user, group, namespaces=False)


def _works(isolation: Isolation) -> bool:
    """Containers, and kernels that are told so, allow no namespaces; small systems have lesser programs so named."""
    command = isolation.command(["true"])
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20).returncode == 0  # noqa: PLW1510
    except (OSError, subprocess.TimeoutExpired):
        return False


def _nobody() -> tuple[int, int]:
    import pwd

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return NOBODY, NOBODY
    return entry.pw_uid, entry.pw_gid
