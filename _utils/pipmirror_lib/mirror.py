"""The mirror's directory: what lies there, who may write, and how a wheel gets in without being seen half-done.

Stage, check, journal, rename, record: killed anywhere in between, the next run rolls forward what the journal
promises and deletes nothing but staging.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipmirror_lib import latecomers, locks, mounts, owners, processes, records
from pipmirror_lib.durable import TEMPORARY, move, sync, sync_all, write_atomically
from pipmirror_lib.errors import MirrorError, WheelError, why
from pipmirror_lib.logs import short
from pipmirror_lib.moments import now
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Files, Mirror
from pipmirror_lib.wheels import check_promised, checked_metadata, parse_name, sha256_of

PRIVATE = ".pipmirror"
Record = records.Record


@dataclass(frozen=True)
class Admission:
    """A staged wheel that has passed every check, and what the manifest shall say of it."""

    staged: Path
    filename: str
    record: Record
    # What the index says its METADATA is, which the decision was made from.
    metadata_sha256: str = ""


class PlatformDirectory:
    """One platform's part of a mirror: the public directory and the private one beside it."""

    def __init__(self, target: Path, name: str, files: Files | None = None) -> None:
        self.name = name
        self.target = target
        self.files = files or Files()
        self.public = target / name
        self.private = target / PRIVATE / name
        self.manifest_path = self.private / "manifest.json"
        self.journal_path = self.private / "journal.jsonl"
        self.profile_path = self.private / "profile.json"
        self.state_path = self.private / "state.json"
        self.holder_path = self.private / "holder"
        self.scan_cache = self.private / "scan.cache"
        self.verdict_path = self.private / "verdict.cache"
        self.lists_path = self.private / "lists.cache"
        self.lock_path = self.private / "lock.cache"
        self.published_path = self.private / "published.json"
        self.publication_path = self.private / "published.cache"
        self.shown_path = self.private / "shown.json"
        self.page_cache = self.private / "page.cache"
        self.logs = self.private / "logs"
        self.staging = self.private / "staging"
        self.kept = self.private / "kept"
        self.work = self.private / "work"

    @classmethod
    def of(cls, mirror: Mirror, name: str) -> PlatformDirectory:
        return cls(mirror.target, name, mirror.files)

    # -- reading -------------------------------------------------------------------------------------------

    def manifest(self) -> Record:
        """What is known of the wheels; MirrorError if it is there and cannot be understood."""
        return records.manifest(self.manifest_path)

    def profile(self) -> TargetProfile | None:
        """The target profile of the last time, or None where the platform was never profiled."""
        try:
            return TargetProfile.from_data(json.loads(self.profile_path.read_bytes()))
        except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
            return None

    # -- writing -------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the directories; ours are closed to others, the public one is as the settings say."""
        try:
            for directory in (self.target, self.public):
                if not directory.is_dir():
                    directory.mkdir(parents=True, exist_ok=True)  # platforms of one run begin at the same time
                    self.own(directory, self.files.dir_mode)
            (self.target / PRIVATE).mkdir(mode=0o700, exist_ok=True)
            for directory in (self.private, self.logs, self.staging, self.work):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MirrorError(f"cannot write below {self.target}: {why(error)} ({error.filename})") from error

    def own(self, path: Path | str | int, mode: int, about: os.stat_result | None = None) -> None:
        """Give it that mode, and the owner that the settings name; MirrorError where there is no such owner.

        `about` is what is known of it, by whoever writes thousands.
        """
        if about is None or not owners.has(about, mode, self._owner):
            owners.give(path, mode, self._owner)

    @cached_property
    def _owner(self) -> tuple[int, int]:
        return owners.numbers(self.files)

    def _let_in(self, folder: Path) -> None:
        self.own(folder, self.files.dir_mode)

    @contextmanager
    def locked(
        self,
        timeout: int,
        waiting: Callable[[str], None] = lambda text: None,
        stopped: threading.Event | None = None,
    ) -> Iterator[bool]:
        """Hold the platform for one writer; True where the last one was killed and may have left something.

        MirrorError when another one keeps it for `timeout` seconds.
        """
        lock = self.private / "lock"
        text = "waiting for another sync of it to finish"
        with locks.one_of([lock], lambda: waiting(text), timeout=timeout, stopped=stopped) as held:
            if held is None:
                raise MirrorError(f"{self.name}: another sync has held the platform for {timeout} s (lock_timeout)")
            killed = self.holder_path.exists()
            with suppress(OSError):  # a disk without room for that keeps nobody from working
                self.holder_path.write_text(processes.owner())
            try:
                yield killed
            finally:
                with suppress(OSError):  # read-only since; the next holder only looks around
                    self.holder_path.unlink(missing_ok=True)

    def interrupted(self) -> bool:
        """Whether a run has ended here without having said so."""
        try:
            return self.journal_path.exists() or processes.is_gone(self.holder_path.read_text())
        except (OSError, ValueError):
            return False  # mostly there is none

    def save(self, path: Path, content: str) -> None:
        """Replace a private file in one step, durably."""
        write_atomically(path, content.encode(), durable=True)

    def save_manifest(self, manifest: Record) -> None:
        """A wheel is a line; its keys stay in their order, so that it is the same record when it is read again."""
        wheels = sorted(manifest["wheels"].items())
        lines = ",\n".join([f"{json.dumps(filename)}: {json.dumps(record)}" for filename, record in wheels])
        rest = {key: value for key, value in manifest.items() if key != "wheels"}
        head = json.dumps({**rest, "wheels": {}}).removesuffix("}}")
        self.save(self.manifest_path, f"{head}\n{lines}\n}}}}\n")

    def record(self, manifest: Record, filenames: Iterable[str]) -> None:
        """Adopt wheels that lie there without a record: they are hashed, never moved or altered."""
        names = sorted(filenames)
        with ThreadPoolExecutor(4) as pool:
            hashes = list(pool.map(lambda name: sha256_of(self.public / name), names))
        for name, sha256 in zip(names, hashes, strict=True):
            metadata, record = _describe(self.public / name, name)
            self._side_file(name, metadata)
            manifest["wheels"][name] = {"sha256": sha256, "origin": "adopted", **record}
        self._sync_side_files(names)
        self.save_manifest(manifest)

    def forget(self, manifest: Record, filenames: Iterable[str]) -> None:
        """Drop the records of wheels that somebody has taken away, so that no page names them."""
        for name in filenames:
            del manifest["wheels"][name]
        self.save_manifest(manifest)

    def damaged(self, manifest: Record) -> list[str]:
        """Recorded wheels whose bytes are no longer those of the record."""
        names = sorted(name for name in manifest["wheels"] if (self.public / name).is_file())
        with ThreadPoolExecutor(4) as pool:
            hashes = list(pool.map(lambda name: sha256_of(self.public / name), names))
        return [n for n, sha256 in zip(names, hashes, strict=True) if sha256 != manifest["wheels"][n]["sha256"]]

    def misdescribed(self, manifest: Record) -> list[str]:
        """Recorded wheels that lie there, but whose METADATA beside them is not there or is not what was recorded."""
        found = []
        for name, record in manifest["wheels"].items():
            try:
                same = sha256_of(_side(self.public / name)) == record["metadata_sha256"]
            except FileNotFoundError:
                same = False
            if not same and (self.public / name).is_file():
                found.append(name)
        return found

    def describe(self, manifest: Record, filenames: Iterable[str]) -> list[str]:
        """Write METADATA beside recorded wheels again; those whose own is no longer what was recorded are told."""
        others, mended = [], []
        for name in filenames:
            content = checked_metadata(self.public / name, name)[0]
            if hashlib.sha256(content).hexdigest() == manifest["wheels"][name]["metadata_sha256"]:
                self._side_file(name, content)
                mended.append(name)
            else:
                others.append(name)
        if mended:
            self._sync_side_files(mended)
        return others

    def set_aside(self, manifest: Record, filenames: Iterable[str]) -> None:
        """Take what pip could not use out of the readers' sight; nothing is lost, it lies in the private directory."""
        aside = self.private / "broken"
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            for name in filenames:
                place = aside / f"{name}.{time.time_ns()}"
                move(self.public / name, place)
                _side(self.public / name).unlink(missing_ok=True)
                manifest["wheels"].pop(name, None)
        except OSError as error:
            raise MirrorError(f"cannot move {error.filename} into {aside}: {why(error)}") from error
        self.save_manifest(manifest)

    def admit(self, manifest: Record, admissions: Iterable[Admission]) -> None:
        """Bring checked wheels in: durable in staging, promised in the journal, then renamed and recorded."""
        batch = list(admissions)
        if not batch:
            return
        try:
            with ThreadPoolExecutor(8) as pool:
                described = list(pool.map(self._prepare, batch))
            sync_all(path for admission in batch for path in (admission.staged, _side(admission.staged)))
            promised = {a.filename: {**a.record, **more} for a, more in zip(batch, described, strict=True)}
            self._promise(promised)
            for admission in batch:
                self._enter(admission.staged, admission.filename)
            self._settle(manifest, promised)
        except OSError as error:
            raise MirrorError(f"cannot write below {self.target}: {why(error)}") from error

    def _prepare(self, admission: Admission) -> Record:
        # A download was hashed while it came, and a run brings thousands of them.
        if admission.record["origin"] != "index" and sha256_of(admission.staged) != admission.record["sha256"]:
            raise WheelError(f"{admission.filename} is not the file that was checked and recorded; sync again")
        check_promised(admission.staged, admission.filename, admission.metadata_sha256)
        metadata, record = _describe(admission.staged, admission.filename)
        advertised = _side(admission.staged)
        advertised.write_bytes(metadata)
        for path in (admission.staged, advertised):
            self.own(path, self.files.file_mode)
        return record

    def remove(self, manifest: Record, filenames: Iterable[str], hide: Callable[[Record], object]) -> None:
        """Take wheels away: from the pages first (`hide`, by what stays), then from the directory.

        Until all are gone the journal promises them, so that recovery makes whole what a kill has half removed.
        """
        going = {name: manifest["wheels"][name] for name in filenames}
        staying = {name: record for name, record in manifest["wheels"].items() if name not in going}
        self._promise(going)
        hide(staying)
        try:
            files = (file for name in going for file in (_side(self.public / name).name, name))
            latecomers.retire(self.public, files, self._let_in)
            sync(self.public)
        except OSError as error:
            raise MirrorError(f"cannot remove {error.filename}: {why(error)}") from error
        manifest["wheels"] = staying
        self.save_manifest(manifest)
        self.journal_path.unlink(missing_ok=True)

    def _promise(self, promised: Mapping[str, Record]) -> None:
        lines = [json.dumps({"filename": name, "record": record}) + "\n" for name, record in promised.items()]
        write_atomically(self.journal_path, "".join(lines).encode(), durable=True)

    def _enter(self, staged: Path, filename: str) -> None:
        """The wheel first, then what advertises it."""
        move(staged, self.public / filename)
        side, known = _side(staged), _side(self.public / filename)
        if side.is_file() and known.is_file() and known.read_bytes() == side.read_bytes():
            side.unlink()  # the wheel alone was lost
        elif side.is_file():
            move(side, known)

    def _side_file(self, filename: str, metadata: bytes) -> None:
        """METADATA beside its wheel (PEP 658), so that clients need not fetch the wheel to decide."""
        path = _side(self.public / filename)
        if not (path.is_file() and path.read_bytes() == metadata):
            mode = self.files.file_mode
            write_atomically(path, metadata, mode=mode, finish=lambda new: self.own(new, mode))

    def _sync_side_files(self, filenames: Iterable[str]) -> None:
        """Have METADATA, and all names in the directory, on the disk before a record says that they are there."""
        sync_all([*(_side(self.public / name) for name in filenames), self.public])

    def _settle(self, manifest: Record, entered: Mapping[str, Record]) -> None:
        self._sync_side_files(entered)
        manifest["wheels"].update(entered)
        self.save_manifest(manifest)
        self.journal_path.unlink(missing_ok=True)

    def recover(self, manifest: Record) -> list[str]:
        """Finish what a killed run had promised; returns the wheels that came in. The lock must be held."""
        promised: dict[str, Record] = {}
        for filename, record in records.journal(self.journal_path).items():
            staged, final = self.staging / filename, self.public / filename
            if staged.is_file() and sha256_of(staged) == record["sha256"]:
                self._enter(staged, filename)
            # What is neither here nor there any more was not lost by us; it will be fetched again.
            if final.is_file() and sha256_of(final) == record["sha256"]:
                self._side_file(filename, checked_metadata(final, filename)[0])
                promised[filename] = record
        if self.journal_path.exists():
            self._settle(manifest, promised)
        self.clear()
        latecomers.free(self.public)
        for folder in (self.public, self.private):
            for path in folder.rglob(TEMPORARY.format("*", "*")):
                path.unlink(missing_ok=True)
        return sorted(promised)

    def clear(self) -> None:
        """Empty what only a run needs, unless the journal promises what lies there."""
        if self.journal_path.exists():
            return
        discard(self.staging)
        self.staging.mkdir(mode=0o700, exist_ok=True)  # whoever waits for the lock makes the directories meanwhile
        # Logs of the last run stay; what its containers left beside them goes.
        for path in self.work.iterdir() if self.work.is_dir() else ():
            if path.is_dir():
                discard(path)

    def stage(self, source: Path, filename: str) -> Path:
        """A private name for a verified download: a hard link where the file system can, else a copy."""
        parse_name(filename)
        staged = self.staging / filename
        staged.unlink(missing_ok=True)
        try:
            try:
                os.link(source, staged, follow_symlinks=False)
            except OSError:
                shutil.copyfile(source, staged)
        except OSError as error:
            raise MirrorError(f"cannot write {staged.parent}: {why(error)}") from error
        return staged


def _side(wheel: Path) -> Path:
    return wheel.with_name(f"{wheel.name}.metadata")


def _describe(path: Path, filename: str) -> tuple[bytes, Record]:
    """(METADATA, what a page says of the wheel), from the wheel itself."""
    content, metadata = checked_metadata(path, filename)
    return content, {
        "size": path.stat().st_size,
        "requires_python": metadata.requires_python,
        "summary": short(metadata.summary),
        "metadata_sha256": hashlib.sha256(content).hexdigest(),
        "admitted": now(),
    }


def discard(path: Path) -> None:
    """Remove a tree that strangers may have built, however deep."""
    try:
        mounts.remove(path)
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except (RecursionError, OSError) as error:
        # Python's own removal recurses, or holds a descriptor a level; hostile builds nest directories by the thousand.
        if isinstance(error, OSError) and error.errno != errno.EMFILE:
            raise
        subprocess.run(["rm", "-rf", "--", str(path)], check=True, stdin=subprocess.DEVNULL)
