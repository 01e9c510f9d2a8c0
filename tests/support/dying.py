"""Syncs that are killed, or whose disk is full, from a given step on; without the half second that each start takes.

One process imports everything and then forks for each run; it has no other thread, so that is safe.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.salt import REPOSITORY

# What changes a disk, asks another machine, or decides who may do so.
STEPS = frozenset(
    f"os.{name}" for name in ("rename", "remove", "mkdir", "rmdir", "chmod", "chown", "link", "truncate", "utime")
) | {"socket.connect", "fcntl.flock", "shutil.copyfile", "open"}


class End(NamedTuple):
    """How a run ended: killed, or well or not; what it says, and how many steps it took."""

    killed: bool
    good: bool = False
    said: str = ""
    steps: int = 0


class Runs:
    """Give each run a declaration (`declare`'s arguments), and when it dies: before a step, or after seconds.

    With `full`, it lives on, but from that step on nothing more can be written. `apart` has downloads in a process of
    their own, however little there is to fetch.
    """

    def __enter__(self) -> Runs:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "_utils")))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dying"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def run(
        self,
        place: Path,
        declared: dict[str, Any],
        *,
        step: int = 0,
        seconds: float = 0,
        full: bool = False,
        apart: bool = False,
    ) -> End:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        when = {"step": step, "seconds": seconds, "full": full, "apart": apart}
        order = {"place": str(place), "declared": declared, **when}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return End(**json.loads(self.process.stdout.readline()))


def _serve() -> None:
    import pipmirror_lib.sync  # noqa: F401  # what every run needs
    import requests  # noqa: F401
    import resolvelib  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _one(order, writer)
        os.close(writer)
        with os.fdopen(reader) as said:
            _, status = os.waitpid(pid, 0)
            end = End(killed=True) if os.WIFSIGNALED(status) else End(False, **json.loads(said.read()))
        print(json.dumps(end._asdict()), flush=True)


def _one(order: dict[str, Any], writer: int) -> None:
    from pipmirror_lib import courier, sync

    from tests.support.mirrors import declare

    if order["apart"]:
        courier.MANY = courier.LARGE = 0

    place = Path(order["place"])
    mirror = declare(place, **order["declared"])
    steps = 0

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event not in STEPS or (event == "open" and not str(arguments[0]).startswith(str(place))):
            return
        steps += 1
        if order["full"] and steps >= order["step"] > 0:
            _refuse(event, arguments)
        elif steps == order["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    if order["seconds"]:
        signal.setitimer(signal.ITIMER_REAL, order["seconds"])  # nobody handles it: it kills as SIGKILL does
    answer = sync.sync(mirror)
    signal.setitimer(signal.ITIMER_REAL, 0)
    (one,) = answer["platforms"].values()
    end = {"good": answer["result"], "said": one["comment"], "steps": steps}
    os.write(writer, json.dumps(end).encode())
    os._exit(0)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """A full disk makes no new file or name; what exists can still be read, renamed over and removed."""
    written = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if written or event in ("os.mkdir", "os.link"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))


if __name__ == "__main__":
    _serve()
