"""Where strangers' code runs: the directories of one run, and the suspicious reading of what it leaves there."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pipmirror_lib import settings
from pipmirror_lib.engine import Engine, Mount, RunResult, RunSpec, give_away
from pipmirror_lib.engine_faults import lacks_program
from pipmirror_lib.errors import BuilderError, BuildError, EngineError
from pipmirror_lib.mirror import discard
from pipmirror_lib.trees import walk

# Where containers see the directories of a workplace.
INSIDE = "/pipmirror"
_DEEPEST = 200


class Workplace:
    """The directories of one hardened run, removed at its end, but for what came out where that is kept."""

    def __init__(self, root: Path, *, keep_out: bool = True) -> None:
        self.root = root.resolve()
        self._keep_out = keep_out
        self.environment, self.inputs, self.out, self.scratch = (
            self.root / name for name in ("env", "in", "out", "scratch")
        )

    @property
    def seen_as(self) -> str:
        """Where the directories are for what runs there."""
        return INSIDE

    def __enter__(self) -> Workplace:
        for path in (self.environment, self.inputs, self.out, self.scratch):
            discard(path)
        # Outsiders have no business here: what lies below is written by strangers.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.inputs.mkdir()
        self.inputs.chmod(0o755)
        give_away(self.out)
        return self

    def __exit__(self, *_: object) -> None:
        for path in (self.environment, self.inputs, self.scratch):
            discard(path)
        if not self._keep_out:
            discard(self.root)

    def put(self, name: str, text: str) -> None:
        (self.inputs / name).write_text(text, encoding="utf-8")
        (self.inputs / name).chmod(0o644)

    def spec(
        self, image: str, python: str, script: str, limits: settings.Container, *, log_path: Path, name: str
    ) -> RunSpec:
        return RunSpec(
            image=image,
            # Isolated: neither the image's PYTHON… variables nor the script's own directory.
            command=(python, "-I", f"{INSIDE}/in/confine.py", f"{INSIDE}/in/{script}"),
            mounts=(Mount(self.inputs, f"{INSIDE}/in"), Mount(self.out, f"{INSIDE}/out", read_only=False)),
            limits=limits,
            scratch=self.scratch,
            log_path=log_path,
            name=name,
        )


@dataclass(frozen=True)
class Task:
    """One of our scripts, to be run by the platform's Python in a workplace; strangers' code stands behind it.

    `wheels` is a directory of the mirror that it may read. Where Python is missing, `setting` is to be corrected.
    """

    script: str
    python: str
    limits: settings.Container
    log_path: Path
    name: str
    network: bool = False
    wheels: Path | None = None
    setting: str = "pre_command"


class Quarters(Protocol):
    """What is prepared for strangers' code of one platform."""

    @property
    def id(self) -> str:
        """Changes when what runs there may do so differently."""

    @property
    def source(self) -> str:
        """Where they come from, for people."""

    @property
    def how(self) -> str:
        """In which way what is missing there can be installed, for people."""

    def workplace(self, root: Path, *, keep_out: bool = True) -> Workplace:
        """Directories for one run; `root` is removed at its end, but for its `out` where that is kept."""

    def run(self, place: Workplace, task: Task) -> RunResult:
        """Run to the end, or to a limit; EngineError or BuilderError where it cannot begin."""


def open_untrusted(path: Path | str) -> BinaryIO:
    """A regular file that strangers may have put there; OSError where it is anything else."""
    # A link could lead to a secret, and opening a pipe would wait for a writer that never comes.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return open(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def read_untrusted(path: Path, limit: int) -> bytes:
    with open_untrusted(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return content


def copy_checked(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while chunk := reader.read(1 << 20):
            digest.update(chunk)
            writer.write(chunk)
    target.chmod(0o644)
    if digest.hexdigest() != sha256:
        raise BuildError(f"{source.name}: its sha256 is {digest.hexdigest()}, not {sha256}; fetch it again")


def groups_of(wheels: Path) -> tuple[int, ...]:
    """Whom strangers' code must belong to, to read them; nobody where everybody may, and never root's own group."""
    found = [(path, path.stat()) for path in (*wheels.glob("*.whl"), wheels)]  # the directory is told rather
    closed = {about.st_gid: path for path, about in found if not _open_to_all(about.st_mode)}
    if path := closed.get(0):
        raise BuilderError(
            f"{path} can be read by root and its group alone, which a verification must not become: let others read "
            "it, or give it to another group, and say so by files:dir_mode, files:file_mode or files:group"
        )
    return tuple(sorted(closed))


def _open_to_all(mode: int) -> bool:
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & needed == needed


def make_readable(directory: Path) -> None:
    """Let an unprivileged user read it, whatever our own umask is; TooDeep where nobody would look for anything."""
    directory.chmod(0o755)
    for entry in walk(directory, _DEEPEST):
        kind, mode = stat.S_IFMT(entry.about.st_mode), entry.about.st_mode
        if kind in (stat.S_IFDIR, stat.S_IFREG):
            (directory / entry.path).chmod(0o755 if kind == stat.S_IFDIR or mode & 0o100 else 0o644)


def run_python(engine: Engine, spec: RunSpec, platform: settings.Platform, setting: str) -> RunResult:
    try:
        return engine.run(spec)
    except EngineError as error:
        if not lacks_program(error):
            raise
        raise BuilderError(
            f"{platform.name}: the image has no {platform.python}; install it in {setting}, or set python"
        ) from error
