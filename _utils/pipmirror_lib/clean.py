"""What pipmirror has on this machine beside wheels, records and pages: it can all be made or fetched again.

`prune` takes what has outlived its use; this takes everything, whatever its age, and nothing that a reader sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

from pipmirror_lib import builder, latecomers, sweep
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.plan import read_json
from pipmirror_lib.settings import Mirror

Report = dict[str, Any]


def of_platform(directory: PlatformDirectory) -> sweep.Leftovers:
    """Staging, kept builds, logs (but those that the record of a wheel names), caches, and what has left the pages."""
    of_decisions = (directory.scan_cache, directory.verdict_path, directory.lists_path, directory.lock_path)
    caches = (*of_decisions, directory.publication_path, directory.page_cache)
    return {
        "staging": sweep.older(sweep.entries(directory.staging), 0),
        **sweep.of_builds(directory, 0),
        "work": sweep.older(sweep.entries(directory.work), 0),
        "logs": sweep.older(sweep.unnamed_logs(directory), 0),
        "caches": sweep.older(caches, 0),
        "gone": sweep.older(sweep.entries(directory.public / latecomers.HIDDEN), 0),
    }


def rest(directory: PlatformDirectory, found: sweep.Leftovers, recovered: Iterable[str]) -> sweep.Leftovers:
    """Remove what a recovery has left of it; all that is gone, but for the wheels that have come in."""
    sweep.clear(directory.target, of_platform(directory))
    with suppress(OSError):  # none, or not empty
        (directory.public / latecomers.HIDDEN).rmdir()
    came_in = [directory.staging / name for name in recovered]
    cleared = dict(sweep.freed(found))
    return {**cleared, "staging": {path: size for path, size in cleared["staging"].items() if path not in came_in}}


def engines(
    mirrors: Iterable[Mirror], platform: str | None, declared: Iterable[Mirror], *, test: bool
) -> tuple[Report, Report, list[str]]:
    """What the engines hold of ours: ({image: about it}, {container: its name}, what is to be said).

    Images of these platforms, unless another declared platform uses one as well; containers of runs that were killed.
    Where no platform has an image, no engine is asked, or spoken of.
    """
    mirrors = [one for one in mirrors if any(platform.image for platform in one.platforms)]
    mine = {(one.target, name): one for one in mirrors for name in _names(one) if platform in (None, name)}
    others = [(one, name) for one in declared for name in _names(one) if (one.target, name) not in mine]
    needed = {image for one, name in others for image in _images(one, name)}
    by_engine: dict[str, dict[str, None]] = {one.container.engine_url: {} for one in mirrors}
    for (_, name), one in mine.items():
        by_engine[one.container.engine_url].update(dict.fromkeys(_images(one, name)))
    images: Report = {}
    containers: Report = {}
    notes: list[str] = []
    for url, found in by_engine.items():
        try:
            with closing(Engine.connect(url)) as engine:
                containers.update(engine.abandoned())
                if not test:
                    engine.remove_abandoned()
                images.update(_removed(engine, found.keys() - needed, notes, test))
        except EngineError as error:
            notes.append(f"images and containers were left alone: {error}")
    return images, containers, notes


def _removed(engine: Engine, ids: Iterable[str], notes: list[str], test: bool) -> Iterator[tuple[str, Report]]:
    for id in sorted(ids):
        info = engine.image(id)
        if info is None or not builder.is_ours(info):  # a platform without pre_command uses the base image itself
            continue
        about = builder.described(engine, info)
        if test or sweep.gone(engine, info, notes):
            yield id, about


def _names(mirror: Mirror) -> list[str]:
    return [platform.name for platform in mirror.platforms]


def _images(mirror: Mirror, name: str) -> list[str]:
    if not mirror.platform(name).image:
        return []  # what it has been prepared with is the machine's own Python
    state = read_json(PlatformDirectory.of(mirror, name).state_path)
    return [str(state[key]) for key in ("image", "verify_image") if state.get(key)]
