"""Syncs from a small index, as they go well or do not: `demo` needs `dep`, and `other` is for whoever wants more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipmirror_lib import sync
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex

DEMO, DEP, OTHER = (f"{name}-1.0-py3-none-any.whl" for name in ("demo", "dep", "other"))
Result = dict[str, Any]


@contextmanager
def small_index(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["dep"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    make_wheel(tmp_path / "files", "other", "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


def good(mirror: Mirror, **more: Any) -> Result:
    """What is told of the first platform of a sync that went well."""
    answer = sync.sync(mirror, **more)
    assert answer["result"], answer
    return dict(answer["platforms"][mirror.platforms[0].name])


def bad(mirror: Mirror, **more: Any) -> str:
    """What is said of the first platform of a sync that failed."""
    answer = sync.sync(mirror, **more)
    assert not answer["result"], answer
    return str(answer["platforms"][mirror.platforms[0].name]["comment"])
