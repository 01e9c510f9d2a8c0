"""A Gentoo mirror's directory: what lies there, what is known of it, and how a file gets in as a whole.

    TARGET/distfiles/XX/NAME, TARGET/distfiles/layout.conf     as GLEP 75 has it
    TARGET/snapshots/gentoo-YYYYMMDD.tar.xz, .gpgsig, .md5sum  as emerge-webrsync asks for them
    TARGET/.gentoo-mirror/                                     records, the tree, logs, staging; not for readers

Every file is copied out of the reach of containers, checked in that copy and renamed. A file that a killed run has
renamed and not recorded is recorded by the next one, which looks at what it holds.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipmirror_lib import locks
from pipmirror_lib.durable import sync, write_atomically
from pipmirror_lib.errors import MirrorError, PortageError, why
from pipmirror_lib.gentoo_settings import GentooMirror
from pipmirror_lib.gentoo_tree import LAYOUT, SNAPSHOT_PARTS, Digest, measured, place
from pipmirror_lib.mirror import discard
from pipmirror_lib.owners import give, numbers, own
from pipmirror_lib.workplace import open_untrusted, read_untrusted

PRIVATE = ".gentoo-mirror"
State = dict[str, Any]
_FORMAT = 1
_ANEW = "remove it, and the next sync looks at everything anew"
_EMPTY: State = {
    "format": _FORMAT,
    "key": "",  # the declaration that the rest answers
    "image": "",
    "snapshot": "",  # the archive whose tree is unpacked
    "looked": "",  # when a newer one was last looked for
    "asked": "",  # the snapshot that Portage was asked about
    "sets": {},  # the distfiles of each
    "failed": {},  # why nothing new can be said of a set
    "digests": {},  # what Manifests say of them
    "files": {},  # what lies there, by its path below the target
    "unneeded": {},  # since when
    "seen": "",  # when that was last looked at
}


def distfile(name: str) -> str:
    return f"distfiles/{place(name)}"


class Store:
    """One mirror's directory."""

    def __init__(self, mirror: GentooMirror) -> None:
        self._files, self._timeout = mirror.files, mirror.lock_timeout
        self.target = mirror.target
        self.private = mirror.target / PRIVATE
        self.logs = self.private / "logs"
        self.work = self.private / "work"
        self._state_path = self.private / "state.json"
        self._incoming = self.private / "incoming"
        self._saved = b""

    # -- reading -------------------------------------------------------------------------------------------

    def load(self) -> State:
        """What is known; MirrorError if it is there and cannot be understood."""
        try:
            self._saved = self._state_path.read_bytes()
            state = json.loads(self._saved)
        except FileNotFoundError:
            return copy.deepcopy(_EMPTY)
        except OSError as error:
            raise MirrorError(f"cannot read {self._state_path}: {why(error)}") from error
        except (ValueError, RecursionError) as error:
            raise MirrorError(f"{self._state_path} is damaged ({error}); {_ANEW}") from error
        same = isinstance(state, dict) and state.get("format") == _FORMAT
        if not same or any(type(state.get(key)) is not type(value) for key, value in _EMPTY.items()):
            raise MirrorError(f"{self._state_path} is of another format; {_ANEW}")
        return dict(state)

    def tree(self, snapshot: str) -> Path:
        return self.private / f"tree-{snapshot}"

    def has(self, state: State, path: str, digests: Sequence[Digest] | None = None) -> bool:
        """Whether the recorded file lies there untouched and, of a distfile, still is what is wanted."""
        record = state["files"].get(path)
        try:
            found = os.lstat(self.target / path)
        except OSError:
            return False
        same = record and stat.S_ISREG(found.st_mode) and [found.st_size, found.st_mtime_ns] == record["stat"]
        return bool(same) and (digests is None or record["digest"] in [digest.best for digest in digests])

    def has_snapshot(self, state: State) -> bool:
        """Whether the last one is there for readers, and its tree for us."""
        name = state["snapshot"]
        return bool(name) and self.tree(name).is_dir() and all(self.has(state, path) for path in snapshot_parts(name))

    # -- writing -------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the directories: ours closed to others, the public ones as the settings say."""
        try:
            for folder in (self.target, self.target / "distfiles", self.target / "snapshots"):
                self._make(folder)
            for folder in (self.private, self.logs, self.work, self._incoming):
                folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise MirrorError(
                f"{error.filename} is there and is no directory; move it away, or name another target"
            ) from error
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> MirrorError:
        return MirrorError(f"cannot write below {self.target}: {why(error)} ({error.filename})")

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            owner = numbers(self._files)  # before anything is there that would never be given away any more
            folder.mkdir(parents=True, exist_ok=True)  # another run may have been quicker
            give(folder, self._files.dir_mode, owner)

    @contextmanager
    def locked(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Be the only one who writes; MirrorError when another one does for `lock_timeout` seconds."""
        text = "waiting for another sync to finish"
        with ExitStack() as stack:
            try:
                lock = [self.private / "lock"]
                held = stack.enter_context(locks.one_of(lock, lambda: waiting(text), timeout=self._timeout))
                if held is None:
                    raise MirrorError(f"{self.target}: another sync has held it for {self._timeout} s (lock_timeout)")
                discard(self._incoming)
                self._incoming.mkdir(mode=0o700, exist_ok=True)  # another run makes it before it waits
            except OSError as error:
                raise self._not_writable(error) from error
            yield

    def save(self, state: State) -> None:
        content = json.dumps(state, indent=1, sort_keys=True).encode()
        if content != self._saved:
            write_atomically(self._state_path, content, durable=True)
            self._saved = content

    def write_layout(self) -> None:
        """Tell readers how distfiles are laid out; MirrorError where they lie otherwise already."""
        path = self.target / "distfiles" / "layout.conf"
        try:
            if path.read_text("utf-8", "replace") != LAYOUT:
                raise MirrorError(f"{path} says something else than {LAYOUT.splitlines()[1]!r}; move it away")
        except FileNotFoundError:
            mode, owner = self._files.file_mode, numbers(self._files)
            write_atomically(path, LAYOUT.encode(), mode=mode, finish=lambda new: give(new, mode, owner))
        except OSError as error:
            raise MirrorError(f"cannot read {path}: {why(error)}; move it away") from error

    def admit(self, state: State, source: Path, path: str, digests: Collection[Digest] = ()) -> int:
        """Bring in a file that anybody may have put there, if it is what one of the digests says; its size.

        Without digests it is recorded by its own. FileNotFoundError where there is none, PortageError where it is
        not what it should be.
        """
        try:
            reader = open_untrusted(source)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PortageError(f"{source.name} cannot be taken: {error.strerror}") from error
        with reader:
            size, best = self._enter(reader, path, digests)
        self._record(state, path, best)
        with suppress(OSError):  # it takes room until its directory goes
            source.unlink()
        return size

    def _enter(self, reader: BinaryIO, path: str, digests: Collection[Digest]) -> tuple[int, str]:
        """Copied, checked, on the disk, and only then under its name."""
        incoming, target = self._incoming / "file", self.target / path
        names = {name for digest in digests for name, _ in digest.hashes} or {"SHA512"}
        try:
            with open(incoming, "wb") as writer:
                size, hashes = measured(reader, names, writer)
                writer.flush()
                os.fsync(writer.fileno())
            best = _agreeing(digests, size, hashes) if digests else f"SHA512={hashes['SHA512']}"
            own(incoming, self._files.file_mode, self._files)
            self._make(target.parent)
            os.replace(incoming, target)
            sync(target.parent)
        except OSError as error:
            raise MirrorError(f"cannot write {target}: {why(error)}") from error
        finally:
            incoming.unlink(missing_ok=True)
        return size, best

    def adopt(self, state: State, path: str, digests: Collection[Digest]) -> bool:
        """Record a file that lies in its place already, and is what it should be."""
        try:
            with open_untrusted(self.target / path) as reader:
                size, hashes = measured(reader, {name for digest in digests for name, _ in digest.hashes})
            self._record(state, path, _agreeing(digests, size, hashes))
        except (OSError, PortageError):
            return False
        return True

    def _record(self, state: State, path: str, best: str) -> None:
        found = os.lstat(self.target / path)
        state["files"][path] = {"stat": [found.st_size, found.st_mtime_ns], "digest": best}

    def remove(self, state: State, path: str) -> int:
        """Take a file of ours away; its size. One that somebody has altered since is not ours any more."""
        size = int(state["files"][path]["stat"][0]) if self.has(state, path) else 0
        try:
            if self.has(state, path):
                (self.target / path).unlink()
        except OSError as error:
            raise MirrorError(f"cannot remove {self.target / path}: {why(error)}") from error
        del state["files"][path]
        return size

    def admit_snapshot(self, state: State, folder: Path, name: str) -> None:
        """Bring in a snapshot: what readers ask for first comes last. PortageError where it is not whole."""
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with open_untrusted(folder / name) as reader:
                while chunk := reader.read(1 << 20):
                    digest.update(chunk)
            said = read_untrusted(folder / f"{name}.md5sum", 4096).decode("utf-8", "replace").split()
        except (OSError, ValueError) as error:
            raise PortageError(f"the snapshot {name} cannot be taken: {error}") from error
        if not said or said[0].lower() != digest.hexdigest():
            raise PortageError(f"the snapshot {name} is not what its md5sum says")
        for path, part in zip(snapshot_parts(name), SNAPSHOT_PARTS, strict=True):
            self.admit(state, folder / f"{name}{part}", path)

    def forget_trees(self, snapshot: str) -> None:
        """Remove what was unpacked, but for the tree of that snapshot."""
        for folder in self.private.glob("tree-*"):
            if folder != self.tree(snapshot):
                discard(folder)


def snapshot_parts(name: str) -> list[str]:
    return [f"snapshots/{name}{part}" for part in SNAPSHOT_PARTS]


def _agreeing(digests: Collection[Digest], size: int, hashes: dict[str, str]) -> str:
    differences = [(digest, digest.difference(size, hashes)) for digest in digests]
    for digest, difference in differences:
        if not difference:
            return digest.best
    raise PortageError(f"it is not what its Manifest says: {differences[0][1]}")
