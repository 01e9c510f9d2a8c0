"""The lock: what would come from the index, set by set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import local, lock
from pipmirror_lib.errors import PackageIndexError, ResolutionError
from pipmirror_lib.index import Index
from pipmirror_lib.lock import Lock

from tests.support.dists import make_sdist, make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import declare
from tests.support.worlds import PROFILE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path / "files", "demo", version, requires=["dep"])
        make_wheel(tmp_path / "files", "dep", version)
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def make(tmp_path: Path, server: LocalIndex) -> Any:
    def made(*, upgrade: bool = False, **settings: Any) -> Lock:
        mirror = declare(tmp_path, server.url, **settings)
        present = local.scan(tmp_path / "present")
        with Index(mirror.index, tmp_path / "downloads", tmp_path / "cache") as index:
            return lock.make(mirror, mirror.platforms[0], PROFILE, present, index, upgrade=upgrade)

    return made


def coming(locked: Lock) -> list[str]:
    return [candidate.filename for candidate in locked.coming]


def test_the_newest_of_everything(make: Any) -> None:
    locked = make()
    assert coming(locked) == ["demo-2.0-py3-none-any.whl", "dep-2.0-py3-none-any.whl"]
    assert {name: len(files) for name, files in locked.sets.items()} == {"packages": 2}
    assert (locked.missing, locked.warnings, locked.undecided) == ({}, (), {})


def test_what_lies_there_stays(make: Any, tmp_path: Path) -> None:
    make_wheel(tmp_path / "present", "dep", "1.0")
    assert coming(make()) == ["demo-2.0-py3-none-any.whl"]


def test_an_upgrade_takes_the_newest(make: Any, tmp_path: Path) -> None:
    make_wheel(tmp_path / "present", "dep", "1.0")
    make_wheel(tmp_path / "present", "demo", "1.0", requires=["dep"])
    assert coming(make()) == []
    assert coming(make(upgrade=True)) == ["demo-2.0-py3-none-any.whl", "dep-2.0-py3-none-any.whl"]


def test_sets_are_locked_each_on_its_own(make: Any) -> None:
    locked = make(packages=["demo>=2"], sets={"old": ["demo<2"], "bad": ["gone"]})
    assert set(locked.sets) == {"packages", "old"}
    assert list(locked.missing) == ["gone"]
    assert "demo-1.0-py3-none-any.whl" in coming(locked)
    assert len(coming(locked)) == 3


def test_a_set_without_a_decision_keeps_no_other_back(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = lock.resolve.resolve

    def undecided(question: Any, source: Any) -> Any:
        if str(question.requirements[0]) == "dep":
            raise ResolutionError("too long")
        return decide(question, source)

    monkeypatch.setattr(lock.resolve, "resolve", undecided)
    locked = make(sets={"slow": ["dep"]})
    assert list(locked.sets) == ["packages"]
    assert locked.missing == {"set slow": "too long"}


def test_warnings_are_told_once(make: Any) -> None:
    assert make(packages=["demo[x]"], sets={"again": ["demo[x]"]}).warnings == ("demo 2.0 has no extra 'x'",)


def test_an_sdist_is_left_open_without_a_build(make: Any, server: LocalIndex, tmp_path: Path) -> None:
    server.add(make_sdist(tmp_path / "s", "demo", "3.0"))
    locked = make()
    assert coming(locked) == ["demo-3.0.tar.gz"]
    assert list(locked.undecided) == ["demo-3.0.tar.gz"]


def test_an_index_that_cannot_be_asked_is_an_error(make: Any, server: LocalIndex) -> None:
    server.close()
    with pytest.raises(PackageIndexError, match="unreachable"):
        make()
