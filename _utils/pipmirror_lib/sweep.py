"""What has outlived its use beside the wheels: caches, logs, files that were set aside, builder images."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pipmirror_lib import builder
from pipmirror_lib.engine import Engine, ImageInfo
from pipmirror_lib.errors import EngineError, MirrorError, why
from pipmirror_lib.explain import count
from pipmirror_lib.mirror import PlatformDirectory, discard
from pipmirror_lib.plan import read_json
from pipmirror_lib.prune import DAY
from pipmirror_lib.settings import Mirror
from pipmirror_lib.shared import UNWANTED, downloads, metadata_cache, using_downloads
from pipmirror_lib.trees import TooDeep, walk

Report = dict[str, Any]
# {folder: {what lies there and is too old: its bytes}}
Leftovers = Mapping[str, Mapping[Path, int]]
_DEEPEST, _MOST = 200, 1_000_000
# Whoever shares the engine may be about to use a builder image that nobody here knows of.
STRANGERS = DAY


def of_platform(directory: PlatformDirectory, keep_days: int) -> Leftovers:
    """Logs, but those that the record of a wheel names, files that were set aside, and builds that nobody wanted."""
    return {
        "logs": older(unnamed_logs(directory), keep_days * DAY),
        "broken": older(entries(directory.private / "broken"), keep_days * DAY, _set_aside),
        **of_builds(directory, keep_days),
    }


def of_builds(directory: PlatformDirectory, keep_days: int) -> Leftovers:
    """Wheels built here that no run has asked for since."""
    return {"kept": older(entries(directory.kept), keep_days * DAY)}


def unnamed_logs(directory: PlatformDirectory) -> list[Path]:
    named = {record.get("log") for record in directory.manifest()["wheels"].values()}
    return [path for path in entries(directory.logs) if path.name not in named]


def of_mirror(target: Path, keep_days: int) -> Leftovers:
    """The caches that platforms share; whatever goes can be fetched again."""
    cached = (path for folder in entries(metadata_cache(target)) for path in entries(folder))
    fetched = (path for path in entries(downloads(target)) if path.is_dir())
    return {
        "metadata": older(cached, keep_days * DAY),
        # Those that nobody wants go with the next sync, however long the rest is kept.
        "downloads": older(fetched, min(keep_days * DAY, UNWANTED)),
    }


def told(leftovers: Leftovers) -> Report:
    """{folder: {files, size}}, where there are any."""
    return {folder: {"files": len(paths), "size": sum(paths.values())} for folder, paths in leftovers.items() if paths}


def clear(target: Path, leftovers: Leftovers) -> Leftovers:
    """Remove them, but for downloads that another run is using; what is gone."""
    try:
        for path in (path for folder, paths in leftovers.items() if folder != "downloads" for path in paths):
            _remove(path)
        if leftovers.get("downloads"):
            with using_downloads(target, lambda: leftovers["downloads"]):
                """Its end removes them."""
    except OSError as error:
        raise MirrorError(f"cannot remove {error.filename}: {why(error)}") from error
    return freed(leftovers)


def freed(leftovers: Leftovers) -> Leftovers:
    """What of it lies there no more."""
    return {
        folder: {path: size for path, size in paths.items() if not os.path.lexists(path)}
        for folder, paths in leftovers.items()
    }


def images(mirrors: Iterable[Mirror], declared: Iterable[Mirror], *, test: bool) -> tuple[Report, list[str]]:
    """({builder image: {platform, kind, made, size}} that no declared platform uses any more, what is to be said).

    With `test` they stay. An engine that does not answer is no fault of the mirrors.
    """
    used = {image for mirror in declared for image in _used(mirror)}
    kept: dict[str, int] = {}  # days, by engine
    for mirror in mirrors:
        if not any(platform.image for platform in mirror.platforms):
            continue
        url = mirror.container.engine_url
        kept[url] = max(kept.get(url, 0), mirror.keep_days)
    found: Report = {}
    notes: list[str] = []
    for url, days in kept.items():
        try:
            with closing(Engine.connect(url)) as engine:
                for info in _idle(engine, used, days * DAY, notes):
                    about = builder.described(engine, info)
                    if test or gone(engine, info, notes):
                        found[info.id] = about
        except EngineError as error:
            notes.append(f"builder images were left alone: {error}")
    return found, notes


def _idle(engine: Engine, used: Collection[str], seconds: int, notes: list[str]) -> list[ImageInfo]:
    """Those that are older, but for what somebody else may have made just now, which is to be said."""
    old = [(info, age) for info, age in builder.unused(engine, used) if age >= seconds]
    young = [info for info, age in old if age < STRANGERS]
    if young:
        notes.append(
            f"{count(len(young), 'builder image')} that no platform here uses stayed: made or used within a day, "
            "which somebody else may have done who shares the engine"
        )
    return [info for info, age in old if age >= STRANGERS]


def gone(engine: Engine, info: ImageInfo, notes: list[str]) -> bool:
    """Remove an image of ours; where something needs it, that is to be said."""
    try:
        return builder.remove(engine, info)
    except EngineError as error:  # a container uses it, or an image that somebody made of it
        notes.append(f"a builder image was left alone: {error}")
        return False


def _used(mirror: Mirror) -> Iterator[str]:
    for platform in mirror.platforms:
        state = read_json(PlatformDirectory.of(mirror, platform.name).state_path)
        yield from (str(state[key]) for key in ("image", "verify_image") if state.get(key))


def entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def _changed(path: Path) -> float:
    return path.lstat().st_mtime


def _set_aside(path: Path) -> float:
    """The file has kept its own time; the moment when it came there is the end of its name."""
    suffix = path.suffix[1:]
    return int(suffix) / 1e9 if suffix.isdecimal() else _changed(path)


def older(paths: Iterable[Path], seconds: int, moment: Callable[[Path], float] = _changed) -> dict[Path, int]:
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):  # another run was quicker
            if time.time() - moment(path) >= seconds:
                found[path] = _size(path)
    return found


def _size(path: Path) -> int:
    """What goes with it, for people to read: of what strangers have nested or strewn beyond sense, a part."""
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode):
        return about.st_size
    total = 0
    with suppress(OSError, TooDeep):  # whoever removes it will say what is wrong with it
        for entry in islice(walk(path, _DEEPEST), _MOST):
            total += entry.about.st_size
    return total


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        discard(path)
    else:
        path.unlink(missing_ok=True)
