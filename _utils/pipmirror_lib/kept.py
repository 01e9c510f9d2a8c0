"""Wheels built by a run that then failed, kept until one succeeds: nothing is built twice for another's fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import UNWANTED, Record, discard
from pipmirror_lib.wheels import sha256_of


class KeptBuilds:
    """A directory of ours with a folder for each wheel: the wheel, and last the record that vouches for it."""

    def __init__(self, directory: Path, *circumstances: Any) -> None:
        """`circumstances` are what a build depends on beside its sources."""
        self._directory, self._circumstances = directory, circumstances

    def find(self, origin: Record) -> tuple[Path, Record] | None:
        """The wheel that was built of these very sources, and its record."""
        place = self._place(origin)
        try:
            record: Record = json.loads((place / "record.json").read_bytes())
            wheel = next(place.glob("*.whl"))
            return (wheel, record) if sha256_of(wheel) == record["sha256"] else None
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            return None  # it is only an economy

    def keep(self, wheel: Path, record: Record) -> None:
        place = self._place(record["source"])
        try:
            discard(place)
            place.mkdir(mode=0o700, parents=True)
            try:
                os.link(wheel, place / wheel.name)
            except OSError:
                shutil.copyfile(wheel, place / wheel.name)
        except OSError as error:
            raise MirrorError(f"cannot write {place}: {why(error)}") from error
        write_atomically(place / "record.json", json.dumps(record).encode())
        self._forget_old()

    def _forget_old(self) -> None:
        for place in self._directory.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - place.stat().st_mtime > UNWANTED:
                    discard(place)

    def _place(self, origin: Record) -> Path:
        key = json.dumps([origin, *self._circumstances], sort_keys=True)
        return self._directory / hashlib.sha256(key.encode()).hexdigest()
