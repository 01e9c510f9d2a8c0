"""A sync that did not come to its end: the next one goes on with its decision, if it is the same question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import kept_lock
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex
from tests.support.mirrors import PLATFORM, consistent, declare, directory_of, equip, wheels
from tests.support.syncs import DEMO, DEP, OTHER, bad, good, small_index

WENT_ON = "went on with the decision of a sync that had not come to its end"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    with small_index(tmp_path) as running:
        yield running


@pytest.fixture
def failed(tmp_path: Path, server: LocalIndex) -> Mirror:
    """A mirror whose first sync has got no further than to fetch."""
    mirror = declare(tmp_path, server.url)
    equip(mirror)
    fail(mirror, server)
    assert lock_of(mirror).is_file()
    return mirror


def fail(mirror: Mirror, server: LocalIndex) -> None:
    server.fail = {f"{DEP}.metadata": Fault(times=None), DEP: Fault(times=None, truncate_at=50)}
    bad(mirror)
    server.fail = {}
    server.log.clear()


def lock_of(mirror: Mirror) -> Path:
    return directory_of(mirror).lock_path


def pages(server: LocalIndex) -> set[str]:
    return {request.path for request in server.log if request.path.startswith("/simple/")}


def test_nothing_is_decided_again(failed: Mirror, server: LocalIndex) -> None:
    assert WENT_ON in good(failed)["comment"]
    assert {request.path for request in server.log} == {f"/files/{DEP}"}
    assert [request.status for request in server.requests_of(DEP)] == [206], "nor is what came fetched again"
    assert wheels(failed) == {DEMO, DEP}
    consistent(failed)
    assert not lock_of(failed).exists()


def test_other_sets_that_came_in_meanwhile_do_not_matter(tmp_path: Path, server: LocalIndex) -> None:
    mirror = declare(tmp_path, server.url, sets={"more": ["other"]})
    equip(mirror)
    fail(mirror, server)
    assert wheels(mirror) == {OTHER}
    assert WENT_ON in good(mirror)["comment"]
    assert pages(server) == set()
    consistent(mirror)


@pytest.mark.parametrize(
    "changes",
    [
        {"packages": ["demo", "other"]},
        {"constraints": ["dep<9"]},
        {"build_constraints": ["setuptools<72"]},
        {"prereleases": True},
        {"min_age": "1d"},
        {"sets": {"more": ["other"]}},
    ],
)
def test_another_question_is_decided(
    tmp_path: Path, failed: Mirror, server: LocalIndex, changes: dict[str, Any]
) -> None:
    assert WENT_ON not in good(declare(tmp_path, server.url, **changes))["comment"]
    assert "/simple/demo/" in pages(server)


def test_an_upgrade_is_another_question(failed: Mirror, server: LocalIndex) -> None:
    assert WENT_ON not in good(failed, upgrade=True)["comment"]


def test_another_interpreter_is_another_question(failed: Mirror, server: LocalIndex) -> None:
    directory = directory_of(failed)
    said = json.loads(directory.profile_path.read_text())
    directory.profile_path.write_text(json.dumps({**said, "pip_version": "1.0"}))
    assert WENT_ON not in good(failed)["comment"]


@pytest.mark.parametrize("age", [kept_lock.FRESH + 1, -5.0])
def test_a_lock_that_is_not_fresh_is_not_used(
    failed: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    """Nor one from the future: the clock was wrong then, or is now."""
    monkeypatch.setattr(kept_lock, "age", lambda moment: age)
    assert WENT_ON not in good(failed)["comment"]


def test_a_lock_that_is_damaged_is_not_used(failed: Mirror, server: LocalIndex) -> None:
    lock_of(failed).write_bytes(lock_of(failed).read_bytes().replace(b'"demo"', b'"evil"'))
    assert WENT_ON not in good(failed)["comment"]
    consistent(failed)


def test_a_wheel_that_somebody_brought_is_another_question(failed: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    make_wheel(directory_of(failed).public, "dep", "0.5")
    assert WENT_ON not in good(failed)["comment"]


def test_who_goes_on_in_vain_decides_anew(failed: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    """What the lock names may be gone from the index."""
    server.remove(DEP)
    server.add(make_wheel(tmp_path / "files", "dep", "1.1"))
    assert "404" in bad(failed)
    good(failed)
    assert wheels(failed) == {DEMO, "dep-1.1-py3-none-any.whl"}


def test_what_cannot_be_satisfied_is_decided_each_time(tmp_path: Path, server: LocalIndex) -> None:
    mirror = declare(tmp_path, server.url, packages=["demo", "gone"])
    equip(mirror)
    bad(mirror)
    assert not lock_of(mirror).exists()


@pytest.mark.parametrize("how", ["query", "user"])
def test_a_url_that_may_hold_a_secret_is_not_kept(
    tmp_path: Path, server: LocalIndex, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    item = server._item

    def with_secret(entry: Any) -> dict[str, Any]:
        said = item(entry)
        absolute = server.url.replace("/simple/", f"/files/{said['filename']}")
        url = f"{absolute}?sig=hunter2" if how == "query" else absolute.replace("://", "://me:hunter2@")
        return {**said, "url": url}

    monkeypatch.setattr(server, "_item", with_secret)
    mirror = declare(tmp_path, server.url)
    equip(mirror)
    fail(mirror, server)
    for path in mirror.target.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()
    good(mirror)
    consistent(mirror)


def test_another_index_is_another_question(failed: Mirror) -> None:
    profile = directory_of(failed).profile()
    assert profile
    elsewhere = replace(failed, index=replace(failed.index, url="http://elsewhere.invalid/simple/"))
    keys = {kept_lock.key_of(one, one.platforms[0], profile, upgrade=False) for one in (failed, elsewhere)}
    assert len(keys) == 2
    hidden = replace(failed, index=replace(failed.index, url=failed.index.url.replace("://", "://me:hunter2@")))
    assert kept_lock.key_of(hidden, hidden.platforms[0], profile, upgrade=False) in keys


def test_it_lies_in_the_private_directory(failed: Mirror) -> None:
    directory: PlatformDirectory = directory_of(failed)
    assert lock_of(failed).parent == failed.target / ".pipmirror" / PLATFORM == directory.private
    assert lock_of(failed).stat().st_mode & 0o077 == 0
