"""The page of all platforms, put together from what each of them has published, one process at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipmirror_lib import locks, plan, showcase, showcase_files
from pipmirror_lib.durable import TEMPORARY, write_atomically
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import PRIVATE, PlatformDirectory
from pipmirror_lib.settings import Mirror

# Seconds; whoever has the page needs milliseconds.
_PATIENCE = 60


def bring(mirror: Mirror, directory: PlatformDirectory, *, whole: bool) -> list[str]:
    """Bring the page up to date; returns the files that were written.

    `whole`: this mirror's declaration is all that there is, and the rows of other platforms vanish. Who works for one
    platform, or tries something, need not know of the others.
    """
    with _alone(mirror.target):
        names = _names(mirror, whole)
        wanted = showcase_files.root_files(_rows(mirror, names))
        _clear([*(mirror.target / name for name in wanted), _memory(mirror.target)])
        changed = showcase_files.Present(mirror.target).differing(wanted)
        showcase_files.write(directory, mirror.target, {name: wanted[name] for name in changed})
        if names != _remembered(mirror.target):
            write_atomically(_memory(mirror.target), json.dumps(names).encode())
    return changed


def drift(mirror: Mirror, *, whole: bool) -> list[str]:
    """The files that `bring` would write."""
    wanted = showcase_files.root_files(_rows(mirror, _names(mirror, whole)))
    return showcase_files.Present(mirror.target).differing(wanted)


def _clear(files: Iterable[Path]) -> None:
    """Remove what a killed run has written of them and not renamed; nobody else is at it."""
    for file in files:
        for path in file.parent.glob(TEMPORARY.format(file.name, "*")):
            path.unlink(missing_ok=True)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    with locks.one_of([target / PRIVATE / ".front.lock"], timeout=_PATIENCE) as held:
        if held is None:
            raise MirrorError(f"{target}/index.html: another sync has written it for {_PATIENCE} s; run it again")
        yield


def _names(mirror: Mirror, whole: bool) -> list[str]:
    declared = {platform.name for platform in mirror.platforms}
    return sorted(declared if whole else declared.union(_remembered(mirror.target)))


def _rows(mirror: Mirror, names: Iterable[str]) -> Iterator[showcase.Data]:
    declared = {platform.name for platform in mirror.platforms}
    for name in names:
        published = plan.read_json(PlatformDirectory.of(mirror, name).shown_path)
        if summary := showcase.read_summary(published.get("summary"), name):
            yield summary
        elif name in declared:
            yield showcase.unpublished(name)


def _memory(target: Path) -> Path:
    return target / PRIVATE / ".platforms.json"


def _remembered(target: Path) -> list[str]:
    """The platforms of the last time."""
    try:
        names = json.loads(_memory(target).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
