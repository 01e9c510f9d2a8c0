"""Wheels built here, kept for whoever needs them again: nothing is built twice.

The wheels of a set that is complete lie in the mirror; but those that only builds need do not, nor do those of a set
that failed for another's fault.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError, why
from pipmirror_lib.mirror import Record, discard
from pipmirror_lib.wheels import sha256_of

# Raised whenever the same build would give another wheel: other variables, another way to call the backend.
FORMAT = 2
_CONTENT = ("sha256", "commit", "subdirectory")
_keeping = threading.Lock()


class KeptBuilds:
    """A directory of ours with a folder for each wheel: the wheel, and last the record that vouches for it.

    The folder's name is the digest of what the wheel depends on; when it was last of use is its time.
    """

    def __init__(self, directory: Path, inputs: Mapping[str, Any]) -> None:
        """`inputs` are what a build depends on beside its sources."""
        self._directory, self._inputs = directory, {"format": FORMAT, **inputs}

    def find(self, origin: Record, network: bool) -> tuple[Path, Record] | None:
        """The wheel that was built of these very sources, wherever they came from, and its record."""
        if not any(key in origin for key in _CONTENT):
            return None
        place = self._place(origin, network)
        try:
            record: Record = json.loads((place / "record.json").read_bytes())
            wheel = next(place.glob("*.whl"))
            if sha256_of(wheel) != record["sha256"]:
                return None
            with suppress(PermissionError):
                os.utime(place)
            return wheel, {**record, "source": origin}
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            return None  # it is only an economy

    def keep(self, wheel: Path, record: Record, network: bool) -> None:
        """Where two builds have come from the same sources at once, one is kept, and stays for whoever has found it."""
        with _keeping:
            if not self.find(record["source"], network):
                self._write(self._place(record["source"], network), wheel, record)

    @staticmethod
    def _write(place: Path, wheel: Path, record: Record) -> None:
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

    def _place(self, origin: Record, network: bool) -> Path:
        """What the sources hold counts, not their address: a new mirror of the same index builds nothing anew."""
        sources = {key: origin[key] for key in _CONTENT if key in origin}
        key = json.dumps({**self._inputs, "sources": sources, "network": network}, sort_keys=True)
        return self._directory / hashlib.sha256(key.encode()).hexdigest()
