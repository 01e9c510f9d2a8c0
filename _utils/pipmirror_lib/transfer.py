"""A file on its way: begun, broken off, gone on with, and whole only if its bytes are those that were promised.

https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from pipmirror_lib import linked
from pipmirror_lib.answers import CHUNK, Answer
from pipmirror_lib.errors import MirrorError, PackageIndexError, why
from pipmirror_lib.wheels import sha256_of

# Seconds for which another run's download may stand still, and between two looks at it.
PATIENCE = 10.0
_TICK = 0.1


class Transfer:
    """One file while it is written. What an earlier attempt has left of it is gone on with where a sha256 can judge.

    No ETag is compared: whatever the server puts together, the hash is taken over the whole of it. After a connection
    that broke, what came stays; after a fault of the file itself, or of our disk, nothing does.
    """

    def __init__(
        self, url: str, target: Path, sha256: str, size: int | None, most: int, promise: str = "its page"
    ) -> None:
        """`promise` names who says the sha256 and the size."""
        self._promise = promise
        self._url, self._target, self._sha256, self._size, self._most = url, target, sha256, size, most
        self.received = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> Transfer:
        with self._writing():
            begun = bool(self._sha256) and self._target.is_file()
            self._file = self._target.open("r+b" if begun else "w+b")
            while chunk := self._file.read(CHUNK):
                self._count(chunk)
            if self.received > self._most:
                self.restart()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        try:
            with self._writing():  # the last bytes of it
                self._file.close()
        except MirrorError:
            self._target.unlink(missing_ok=True)
            raise
        if kind is MirrorError or (kind and not self._sha256):
            self._target.unlink(missing_ok=True)

    @property
    def headers(self) -> dict[str, str]:
        beginning = {"Range": f"bytes={self.received}-"} if self.received else {}
        return {"Accept-Encoding": "identity", **beginning}

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    @property
    def is_whole(self) -> bool:
        """Whether an earlier attempt has all of it."""
        return bool(self.received and self.digest == self._sha256)

    def restart(self) -> None:
        with self._writing():
            self._file.seek(0)
            self._file.truncate()
        self.received, self._digest = 0, hashlib.sha256()

    def goes_on(self, answer: Answer) -> bool:
        """Whether the answer is the part that was asked for, and of a file that is as large as ours should be."""
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip().lower())
        if answer.status_code != 206 or not given or int(given[1]) != self.received:
            return False
        return self._size is None or given[2] in ("*", str(self._size))

    def take(self, answer: Answer) -> requests.RequestException | None:
        """Write what comes, never more than there should be; what broke the connection, or None at its end."""
        try:
            for chunk in answer.iter_content(CHUNK):
                self._count(chunk)
                if self.received > self._most:
                    return None
                with self._writing():
                    self._file.write(chunk)
        except requests.RequestException as error:
            return error
        return None

    def fault(self) -> str:
        """Why this is not the file that its page speaks of; '' where it is."""
        if self.received > self._most:
            said = f"{self._most >> 20} MB" if self._size is None else f"the {self._size} bytes that its page says"
            return f"{self._url} is longer than {said}"
        if self._sha256 not in ("", self.digest):
            said = f"{self._promise} says {self._sha256[:12]}…; nothing was kept"
            return f"{self._url} has sha256 {self.digest[:12]}…, {said}"
        if self._size not in (None, self.received):
            return f"{self._url} ended after {self.received} of {self._size} bytes"
        return ""

    def check(self) -> None:
        if fault := self.fault():
            self._target.unlink(missing_ok=True)
            raise PackageIndexError(fault)

    def _count(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self._digest.update(chunk)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MirrorError(f"cannot write {self._target.parent}: {why(error)}") from error


@contextmanager
def unfinished(target: Path, sha256: str) -> Iterator[Path | None]:
    """Where to write until it is whole. With a sha256 it is found there again, by whichever run comes first.

    None where another run was fetching the same file, and has brought it: states that run at once lack the same. One
    that does not get on is waited for no longer, and there is a place of our own.
    """
    if sha256:
        part = target.with_name(f"{target.name}.part")
        before = _identity(target)  # damaged, or it would not be fetched
        for _ in _while_it_grows(part):
            if _has_come(target, before, sha256):
                yield None
                return
            with _held(part) as ours:
                if ours:
                    yield None if _has_come(target, before, sha256) else part
                    return
    alone = linked.own_part(target)
    try:
        yield alone
    finally:
        alone.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, ...]:
    """Another one as soon as another file is put there; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _has_come(target: Path, before: tuple[int, ...], sha256: str) -> bool:
    """Whether another file lies there than before, and is the one that was promised."""
    if _identity(target) in ((), before):
        return False
    try:
        return sha256_of(target) == sha256
    except OSError:  # gone again
        return False


def _while_it_grows(part: Path) -> Iterator[None]:
    """Now and then, and first at once, until nothing has come for a while."""
    yield
    size, since = -1, time.monotonic()
    while time.monotonic() - since < PATIENCE:
        time.sleep(_TICK)
        with suppress(OSError):  # it has got its own name
            if (grown := part.stat().st_size) != size:
                size, since = grown, time.monotonic()
        yield


@contextmanager
def _held(part: Path) -> Iterator[bool]:
    """Whether nobody else writes there; then nobody will until this ends."""
    import fcntl  # POSIX only; readers of the library on other systems never come here

    try:
        file = part.open("ab")
    except OSError as error:
        raise MirrorError(f"cannot write {part.parent}: {why(error)}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have brought it to its end: then it is the whole file, under its own name.
            ours = os.path.samestat(os.fstat(file.fileno()), os.stat(part))
        except (BlockingIOError, FileNotFoundError):
            ours = False
        try:
            yield ours
        finally:
            if ours and part.exists() and not part.stat().st_size:
                part.unlink()
