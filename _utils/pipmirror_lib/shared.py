"""What the platforms of a mirror share: downloads, what is cached of the index, and the places to work at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipmirror_lib.durable import TEMPORARY
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import PRIVATE, PlatformDirectory, Record, discard

UNWANTED = 7 * 86400  # seconds


def downloads(target: Path) -> Path:
    """Whole files that a run has fetched and not yet admitted; hidden, so that no platform can have the name."""
    return target / PRIVATE / ".downloads"


def slots(target: Path, number: int) -> list[Path]:
    """So many platforms of a mirror may be worked for at once, by whatever processes: each holds one of these."""
    return [target / PRIVATE / f".slot-{index}" for index in range(number)]


def metadata_cache(target: Path) -> Path:
    return target / PRIVATE / ".metadata"


@contextmanager
def using_downloads(target: Path, done: Callable[[], Iterable[Path]]) -> Iterator[Path]:
    """Share the downloads with other runs; at the end, what is `done` or nobody's goes, and what is a week old.

    A run that fails is done with nothing, and the next one goes on from there.
    """
    import fcntl

    directory = downloads(target)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield directory
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another run uses them, perhaps these very files
        # What only one run uses has a dot in its name; if there still is any, that run was killed.
        left = (p for p in directory.iterdir() if p.is_dir())
        old = (p for p in left if "." in p.name or time.time() - p.stat().st_mtime > UNWANTED)
        for path in {*done(), *old}:
            discard(path)
        for part in metadata_cache(target).glob(f"*/{TEMPORARY.format('*', '*')}"):
            part.unlink(missing_ok=True)


def known_downloads(target: Path, platforms: Iterable[str]) -> dict[str, Path]:
    """{sha256: path} of what any platform has from an index; a wheel built on one platform is wrong on another."""
    known = {}
    for directory, filename, record in _recorded(target, platforms):
        path = directory.public / filename
        usual = path.is_file() and not path.is_symlink()  # where a link leads is not ours to share
        if record["origin"] != "built" and usual and path.stat().st_size == record["size"]:
            known[str(record["sha256"])] = path
    return known


def known_sources(target: Path, platforms: Iterable[str]) -> set[str]:
    """The sha256 of what the wheels of any platform were built from, and with."""
    built = (record for _, _, record in _recorded(target, platforms) if record["origin"] == "built")
    used = (one for record in built for one in (record.get("source", {}), *record.get("build_requires", ())))
    return {one["sha256"] for one in used if "sha256" in one}


def _recorded(target: Path, platforms: Iterable[str]) -> Iterator[tuple[PlatformDirectory, str, Record]]:
    for name in platforms:
        directory = PlatformDirectory(target, name)
        try:
            wheels = directory.manifest()["wheels"]
        except MirrorError:
            continue  # that platform's own sync tells; the others only lose an economy
        yield from ((directory, filename, record) for filename, record in wheels.items())
