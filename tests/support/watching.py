"""Looks for secrets while a run goes on: in processes, in running containers, and in what is left behind."""

from __future__ import annotations

import base64
import json
import mmap
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipmirror_lib import courier

BEGIN = courier._BEGIN.encode()
Pair = tuple[str, str]


@dataclass
class Secrets:
    """Every pair of credentials, in the forms in which they could lie about."""

    pairs: list[Pair]

    def __post_init__(self) -> None:
        forms = {form for user, password in self.pairs for form in _forms(user, password)}
        self.forms = sorted(form.encode() for form in forms)

    def within(self, content: bytes | mmap.mmap) -> list[str]:
        return [form.decode() for form in self.forms if content.find(form) >= 0]

    def below(self, *places: Path) -> list[str]:
        """Every file that holds one; also what is no regular text."""
        return [f"{path}: {found}" for path in _files(places) for found in self._in_file(path)]

    def _in_file(self, path: Path) -> list[str]:
        with suppress(FileNotFoundError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    return self.within(content)
        return []


def _forms(user: str, password: str) -> Iterator[str]:
    yield from (password, quote(password, safe=""))
    yield base64.b64encode(f"{user}:{password}".encode()).decode()
    yield base64.b64encode(password.encode()).decode()


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        for folder, _, names in os.walk(place):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def docker(*words: str, stdin: int = subprocess.DEVNULL) -> bytes:
    done = subprocess.run(["docker", *words], stdin=stdin, capture_output=True, timeout=120, check=False)
    return done.stdout


@dataclass
class Watcher:
    """From entering to leaving it: looks at every process of the tree below `root`, and at every container of `place`.

    A build that waits for it (see WAITING) goes on once its container has been looked at.
    """

    secrets: Secrets
    place: Path
    root: int = field(default_factory=os.getpid)
    faults: list[str] = field(default_factory=list)
    containers: set[str] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    couriers: set[int] = field(default_factory=set)
    images: set[str] = field(default_factory=set)

    def __enter__(self) -> Watcher:
        self._end = threading.Event()
        self._threads = [threading.Thread(target=look, daemon=True) for look in (self._processes, self._containers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _note(self, where: str, content: bytes) -> None:
        self.faults += [f"{where}: {found}" for found in self.secrets.within(content)]

    def _processes(self) -> None:
        while not self._end.wait(0.01):
            for pid in descendants(self.root):
                with suppress(OSError):
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    self.programs.add(Path(command.split(b"\0")[0].decode() or "?").name)
                    if BEGIN in command:
                        self.couriers.add(pid)
                    self._note(f"command line {command[:80]!r}", command)
                    self._note(f"environment of {command[:80]!r}", Path(f"/proc/{pid}/environ").read_bytes())

    def _containers(self) -> None:
        while not self._end.wait(0.1):
            for name in docker("ps", "-q", "--no-trunc").decode().split():
                if name not in self.containers:
                    self._container(name)

    def _container(self, name: str) -> None:
        described = docker("inspect", name)
        with suppress(ValueError, IndexError):
            inspected: dict[str, Any] = json.loads(described)[0]
            if not any(mount["Source"].startswith(str(self.place)) for mount in inspected["Mounts"]):
                return  # somebody else's
            self.containers.add(name)
            self.images.add(inspected["Image"])
            self._note("docker inspect", described)
            processes = "cat /proc/*/environ /proc/*/cmdline"
            self._note("processes within", docker("exec", "-u", "0", name, "sh", "-c", processes))
            self._note("file system", docker("export", name))
            self._note("its log", docker("logs", name))
            sources = [Path(mount["Source"]) for mount in inspected["Mounts"] if Path(mount["Source"]).exists()]
            self.faults += self.secrets.below(*sources)
            docker("exec", name, "sh", "-c", 'touch "$TMPDIR/looked-at"')

    def history(self) -> bytes:
        """Of the images that the containers were made of."""
        shown = [docker("history", "--no-trunc", image) + docker("inspect", image) for image in self.images]
        return b"".join(shown)


# What a build runs to be looked at.
WAITING = """
import os, time
for _ in range(600):
    if os.path.exists(os.environ["TMPDIR"] + "/looked-at"):
        break
    time.sleep(0.1)
else:
    raise SystemExit("nobody has looked")
"""


def couriers_of(root: int) -> list[int]:
    """The processes that download for it."""
    found = []
    for pid in descendants(root):
        with suppress(OSError):
            if BEGIN in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def descendants(root: int) -> list[int]:
    """Everything that the process has started, however far down."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError, ValueError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, due = [], [root]
    while due:
        children = parents.get(due.pop(), [])
        found += children
        due += children
    return found
