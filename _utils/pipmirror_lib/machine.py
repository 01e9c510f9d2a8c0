"""Quarters without an engine: strangers' code runs on this very machine, kept apart as well as the system can."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipmirror_lib import inside, interpreter, isolation, settings
from pipmirror_lib.declared import THIS_MACHINE
from pipmirror_lib.engine import HARDENED_ENVIRONMENT, RunResult, give_away
from pipmirror_lib.errors import BuilderError
from pipmirror_lib.isolation import OPEN, Bind, Isolation
from pipmirror_lib.logs import Log
from pipmirror_lib.mirror import discard
from pipmirror_lib.watch import Watch
from pipmirror_lib.workplace import Task, Workplace, groups_of, open_untrusted

_under_way: set[subprocess.Popen[bytes]] = set()


def end_all() -> None:
    """End what this process has under way, so that the threads that wait for it end as well."""
    for process in list(_under_way):
        _end(process)


@dataclass(frozen=True)
class ThisMachine:
    """The minion itself, by its own interpreter."""

    platform: settings.Platform
    python: str
    isolation: Isolation
    shelter: Path
    how = "on this machine"
    source = THIS_MACHINE
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @classmethod
    def prepare(cls, platform: settings.Platform, private: Path) -> ThisMachine:
        """`private` is the platform's private directory; its lock must be held."""
        python = interpreter.find(platform.python)
        if not python:
            whom = " that an unprivileged user could run" if interpreter.is_root() else ""
            raise BuilderError(
                f"{platform.name}: this machine has no {platform.python}{whom}; install it, or set python"
            )
        if interpreter.is_root() and not interpreter.open_to_others(Path(python)):
            raise BuilderError(
                f"{platform.name}: {python} lies where an unprivileged user cannot run it; set python to another one"
            )
        discard_leftovers(private)
        return cls(platform, python, isolation.available(), shelter_of(private))

    @property
    def id(self) -> str:
        parts = [interpreter.stamp(self.platform.python), str(self.isolation)]
        return f"{THIS_MACHINE}:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

    def workplace(self, root: Path, *, keep_out: bool = True) -> Workplace:
        if self.isolation.user is None:
            return _Place(root, keep_out=keep_out)
        return _Shelter(root, self, keep_out=keep_out)

    def run(self, place: Workplace, task: Task) -> RunResult:
        for name in ("launch", "confine"):
            place.put(f"{name}.py", inside.source(name))
        for directory in (place.scratch, place.scratch / "home", place.scratch / "tmp"):
            give_away(directory, self.isolation.user, self.isolation.group)
        groups = groups_of(task.wheels) if task.wheels and self.isolation.user is not None else ()
        binds: list[Bind] = []
        if task.wheels and self._show(task.wheels, place):
            binds.append((task.wheels, place.root / "wheels", "bind,ro"))
        if isinstance(place, _Shelter):
            place.limit = task.limits.disk
        written = [place.out, place.scratch]
        if self.isolation.can_bind:
            written.append(place.root / "open")
            binds += covering(place.root, place.root / "open", self.python)
        python = self.python if task.python == self.platform.python else task.python
        command = [python, "-I", str(place.inputs / "launch.py"), json.dumps(self._limits(task.limits))]
        command += [str(place.inputs / name) for name in ("confine.py", task.script)]
        with Log(task.log_path) as log:
            try:
                process = subprocess.Popen(
                    self.isolation.command(command, network=task.network, groups=groups, binds=binds),
                    cwd=place.scratch,
                    env=_environment(place),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    **self.isolation.options(groups),
                )
            except OSError as error:
                raise BuilderError(f"{self.platform.name}: cannot start {python}: {error.strerror}") from error
            pid = process.pid if self.isolation.namespaces else 0
            watch = Watch(written, task.limits.disk, pid, lambda: _end(process), container=False)
            with watch:
                timed_out = _finish(process, task.limits.timeout, log)
        code = process.returncode
        code = 128 - code if code < 0 else code
        return RunResult(code, log.text, timed_out, oom_killed=False, excess=watch.excess)

    def _show(self, wheels: Path, place: Workplace) -> bool:
        """Give the directory its place; whether it must be bound there."""
        shown = place.root / "wheels"
        if self.isolation.can_bind:
            shown.mkdir()
            return True
        if self.isolation.user is not None and not interpreter.open_to_others(wheels):
            raise BuilderError(f"{self.platform.name}: {wheels} lies where an unprivileged user cannot read; open it")
        shown.symlink_to(wheels)
        return False

    def _limits(self, limits: settings.Container) -> dict[str, int]:
        found = {"RLIMIT_CORE": 0, "RLIMIT_DATA": limits.memory, "RLIMIT_FSIZE": limits.disk}
        # They are counted by user: whoever runs Salt may have many of his own.
        return {**found, "RLIMIT_NPROC": limits.pids} if self.isolation.user is not None else found


class _Place(Workplace):
    """Seen from inside where it is."""

    @property
    def seen_as(self) -> str:
        return str(self.root)


class _Shelter(_Place):
    """Outside the private directory, which an unprivileged user cannot enter; what comes out is brought home."""

    def __init__(self, home: Path, machine: ThisMachine, *, keep_out: bool) -> None:
        self._home, self._machine, self._keep = home, machine, keep_out
        self.limit = 0
        with machine._lock:
            machine.shelter.mkdir(mode=0o711, exist_ok=True)
            _check_own(machine.shelter)
            machine.shelter.chmod(0o711)
            root = tempfile.mkdtemp(dir=machine.shelter)
        super().__init__(Path(root), keep_out=False)

    def __enter__(self) -> Workplace:
        super().__enter__()
        # Everybody may pass, and nobody but us knows the name.
        self.root.chmod(0o711)
        give_away(self.out, self._machine.isolation.user, self._machine.isolation.group)
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if self._keep:
                bring(self.out, self._home / "out", self.limit)
                self.out = self._home / "out"
        finally:
            super().__exit__(*exception)
            with self._machine._lock, suppress(OSError):
                self._machine.shelter.rmdir()


def discard_leftovers(private: Path) -> None:
    """Remove what a killed run has left outside the platform's private directory; its lock must be held."""
    shelter = shelter_of(private)
    if os.path.lexists(shelter):
        _check_own(shelter)
        discard(shelter)


def covering(root: Path, cover: Path, python: str) -> list[Bind]:
    """Mounts that put the directory over each one where everybody may write; `root`, which holds it, is still seen."""
    cover.mkdir(exist_ok=True)
    cover.chmod(0o1777)
    needed = (Path(python), Path(python).resolve())
    places = [place for place in dict.fromkeys(Path(name).resolve() for name in OPEN) if place.is_dir()]
    places = [place for place in places if not any(path.is_relative_to(place) for path in needed)]
    above = [place for place in places if root.is_relative_to(place)]
    binds: list[Bind] = [(cover, place, "bind") for place in places if place not in above]
    for place in above[:1]:
        again = cover
        for part in root.relative_to(place).parts:
            again /= part
            again.mkdir(mode=0o711, exist_ok=True)
            again.chmod(0o711)  # passed, and not listed, as the real ones
        # The last one: after it, what lies below the place has no other name.
        binds += [(root, again, "rbind"), (cover, place, "rbind")]
    return binds


def bring(source: Path, target: Path, limit: int) -> None:
    """Copy the regular files; of what is none only the name comes along, as that of a directory, to be refused.

    BuilderError beyond so many bytes: holes take no room where they were made, and would here.
    """
    discard(target)
    target.mkdir(mode=0o700, parents=True)
    left = limit
    for entry in os.scandir(source):
        try:
            reader = open_untrusted(entry.path)
        except OSError:
            (target / entry.name).mkdir()
            continue
        with reader, open(target / entry.name, "wb") as writer:
            left -= os.fstat(reader.fileno()).st_size
            if left < 0:
                raise BuilderError(f"it has left files of more than {limit >> 20} MiB (container:disk)")
            shutil.copyfileobj(reader, writer)


def shelter_of(private: Path) -> Path:
    """The same for every run, so that the next one finds what a killed one has left."""
    # On disk, and not mounted noexec, where the system has such a place.
    usual = os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir())  # noqa: S108
    return Path(usual) / f"pipmirror-{hashlib.sha256(os.fsencode(private)).hexdigest()[:16]}"


def _check_own(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise BuilderError(f"{directory} belongs to somebody else; remove it")


def _environment(place: Workplace) -> dict[str, str]:
    """A clean one: what the minion was started with may hold secrets."""
    kept = ("PATH", "SYSTEMROOT", "COMSPEC", "PATHEXT")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **{name: value for name, value in HARDENED_ENVIRONMENT.items() if value},
        "HOME": str(place.scratch / "home"),
        "TMPDIR": str(place.scratch / "tmp"),
        "TEMP": str(place.scratch / "tmp"),
        "PIPMIRROR_ROOT": str(place.root),
    }


def _finish(process: subprocess.Popen[bytes], timeout: int, log: Log) -> bool:
    """Copy its output into the log and wait for its end; whether that was the time limit's."""
    reader = threading.Thread(target=_copy, args=(process, log), daemon=True)
    reader.start()
    _under_way.add(process)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return True
    else:
        return False
    finally:
        _end(process)
        process.wait()
        _under_way.discard(process)
        reader.join(timeout=30)


def _copy(process: subprocess.Popen[bytes], log: Log) -> None:
    if process.stdout:
        with process.stdout as stream:
            while data := os.read(stream.fileno(), 1 << 16):
                log.write(data)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started, as far as that can be told."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
