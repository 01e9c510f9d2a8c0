"""Caches are only caches: whatever becomes of one, the answer stays the same, and the next run is fast again."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import caches, local, lock, plan, reports
from pipmirror_lib import index as index_module
from pipmirror_lib.index import Index
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import declare, directory_of, equip, settle
from tests.support.worlds import PROFILE

NAMES = ("scan", "verdict", "lists")


def test_what_is_stored_under_a_key_is_found_under_no_other(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    assert caches.load(path, "key") is None
    caches.store(path, "key", b"one\ntwo")
    assert caches.load(path, "key") == b"one\ntwo"
    assert caches.load(path, "other") is None
    caches.store(path, "other", b"")
    assert caches.load(path, "other") == b""
    assert caches.load(path, "key") is None


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    caches.store(path, "key", b"content\n")
    whole = path.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    damaged += [whole + b"x", whole + whole, b"\0" * len(whole)]
    for content in damaged:
        path.write_bytes(content)
        assert caches.load(path, "key") is None, content


def test_what_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    caches.store(tmp_path / "none" / "cache", "key", b"content")
    (tmp_path / "cache").mkdir()
    caches.store(tmp_path / "cache", "key", b"content")
    assert caches.load(tmp_path / "cache", "key") is None
    assert [path.name for path in tmp_path.iterdir()] == ["cache"], "no litter"


# -- the decision from the mirror ----------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    """Satisfied, with an orphan, a wheel that pip would choke on, and one that it ignores."""
    made = declare(tmp_path, packages=["demo"], sets={"old": ["dep<2"], "bad": ["gone"]})
    directory = equip(made)
    make_wheel(directory.public, requires=["dep; python_version > '3'", "no; extra == 'x'"], extras={"x": ["no"]})
    for version in ("1.0", "2.0"):
        make_wheel(directory.public, "dep", version)
    make_wheel(directory.public, "orphan", "1.0")
    make_wheel(directory.public, filename="demo-2004d-py3-none-any.whl")
    (directory.public / "bad-1.0-py3-none-any.whl").write_bytes(b"")
    settle(directory)
    return made


def everything(mirror: Mirror) -> Any:
    """All that a decision says, as somebody reads it who asks for the lists as well."""
    made = plan.make(mirror, mirror.platforms[0], directory_of(mirror))
    return made, made.closure, made.orphans, dict(made.wanted_by), reports.plans(mirror, None)


def cache_of(mirror: Mirror, name: str) -> Path:
    return directory_of(mirror).private / f"{name}.cache"


def delete(path: Path) -> None:
    path.unlink()


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeroes(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def of_another_version(path: Path) -> None:
    """Whole, and wrong in every word: only its key tells."""
    caches.store(path, "another version", b'{"satisfied": true, "demo-1.0-py3-none-any.whl": [1, 2, 3, "evil", ""]}')


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [delete, half, empty, zeroes, flipped, of_another_version, unreadable]


@pytest.mark.parametrize("names", [*((name,) for name in NAMES), NAMES], ids="+".join)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_same_is_decided(mirror: Mirror, damage: Callable[[Path], None], names: tuple[str, ...]) -> None:
    before = everything(mirror)
    for name in names:
        damage(cache_of(mirror, name))
    # Without a verdict, the scan and its cache are asked as well.
    cache_of(mirror, "verdict").unlink() if names == ("scan",) else None
    assert everything(mirror) == before
    assert everything(mirror) == before, "from what was remembered anew"


@pytest.mark.parametrize("damage", [delete, half, of_another_version], ids=lambda damage: damage.__name__)
def test_what_was_damaged_is_made_anew(mirror: Mirror, damage: Callable[[Path], None]) -> None:
    everything(mirror)
    keys = {name: seal(cache_of(mirror, name)) for name in NAMES}
    for name in NAMES:
        damage(cache_of(mirror, name))
    everything(mirror)
    assert {name: seal(cache_of(mirror, name)) for name in NAMES} == keys


def seal(path: Path) -> bytes:
    return path.read_bytes().partition(b"\n")[0]


def test_caches_of_another_code_are_not_believed(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(mirror)
    directory = directory_of(mirror)
    # As an older version would have left them: whole, and by its own rules wrong.
    content = caches.load(directory.scan_cache, local.CACHE_KEY) or b""
    caches.store(directory.scan_cache, local.CACHE_KEY, content.replace(b"dep", b"ped"))
    directory.verdict_path.unlink()
    assert everything(mirror) != before, "it would be believed under this key"
    directory.verdict_path.unlink()
    monkeypatch.setattr(local, "CACHE_KEY", "newer")
    assert everything(mirror) == before


def test_a_scan_that_was_overtaken_does_no_harm(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """It remembers what the directory was; the next scan believes none of it that has changed."""
    directory = directory_of(mirror)
    overtaken: list[int] = []
    store = caches.store

    def overtake(path: Path, key: str, content: bytes) -> None:
        if not overtaken:
            overtaken.append(1)
            make_wheel(directory.public, requires=["dep<2"])
            make_wheel(directory.public, "more", "1.0")
            (directory.public / "orphan-1.0-py3-none-any.whl").unlink()
            local.scan(directory.public, directory.scan_cache)  # the other process is through before we write
        store(path, key, content)

    monkeypatch.setattr(caches, "store", overtake)
    local.scan(directory.public, directory.scan_cache)
    assert overtaken
    found, fresh = local.scan(directory.public, directory.scan_cache), local.scan(directory.public)
    assert found.by_project == fresh.by_project
    assert "more-1.0-py3-none-any.whl" in found.sizes
    assert "orphan-1.0-py3-none-any.whl" not in found.sizes
    for candidate in fresh.all_files:
        assert found.metadata(candidate) == fresh.metadata(candidate)


def test_a_decision_that_was_overtaken_does_no_harm(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = directory_of(mirror)
    overtaken: list[Any] = []
    store = caches.store

    def overtake(path: Path, key: str, content: bytes) -> None:
        if path == directory.verdict_path and not overtaken:
            overtaken.append(1)
            (directory.public / "orphan-1.0-py3-none-any.whl").unlink()
            settle(directory, 20)
            overtaken.append(everything(mirror))
        store(path, key, content)

    monkeypatch.setattr(caches, "store", overtake)
    before = everything(mirror)
    assert everything(mirror) == overtaken[1] != before


def ask(mirror: Mirror, times: int, answers: Any) -> None:
    """What one of several processes does: ask, and spoil what the others have remembered."""
    for number in range(times):
        answers.put(repr(everything(mirror)))
        for name in NAMES[: number % 4]:
            cache_of(mirror, name).unlink(missing_ok=True)


def test_processes_that_write_at_once_come_to_the_same(mirror: Mirror) -> None:
    expected = repr(everything(mirror))
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    busy = [context.Process(target=ask, args=(mirror, 15, answers)) for _ in range(4)]
    for process in busy:
        process.start()
    found = {answers.get(timeout=60) for _ in range(4 * 15)}
    for process in busy:
        process.join(60)
    assert [process.exitcode for process in busy] == [0] * 4
    assert found == {expected}
    assert repr(everything(mirror)) == expected
    assert [path.name for path in directory_of(mirror).private.glob(".*.tmp")] == [], "no litter"


# -- the metadata of an index --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Any:
    make_wheel(tmp_path / "files", requires=["dep"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


def locked(tmp_path: Path, server: LocalIndex) -> Any:
    mirror = declare(tmp_path, server.url)
    present = local.scan(tmp_path / "nothing")
    with Index(mirror.index, tmp_path / "downloads", tmp_path / "cache") as index:
        made = lock.make(mirror, mirror.platforms[0], PROFILE, present, index)
    return made, [candidate.filename for candidate in made.coming]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_same_is_locked(tmp_path: Path, server: LocalIndex, damage: Callable[[Path], None]) -> None:
    before = locked(tmp_path, server)
    remembered = list((tmp_path / "cache").rglob("*.cache"))
    assert len(remembered) == 2
    for path in remembered:
        damage(path)
    assert locked(tmp_path, server) == before
    server.log.clear()
    assert locked(tmp_path, server) == before
    again = [request.path for request in server.log if request.path.endswith(".metadata")]
    assert bool(again) is (damage is unreadable), "remembered anew, wherever that is possible"


def test_metadata_of_another_project_is_not_believed(tmp_path: Path, server: LocalIndex) -> None:
    """An index that claims another file's hash would else give it that file's requirements."""
    before = locked(tmp_path, server)
    for path in (tmp_path / "cache").rglob("*.cache"):
        key = f"{index_module.CACHED} {path.stem}"
        said = json.loads(caches.load(path, key) or b"")
        caches.store(path, key, json.dumps({**said, "name": "evil"}).encode())
    assert locked(tmp_path, server) == before


def test_a_cache_is_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    """So that a reader who is slower than a writer sees one of the two."""
    path = tmp_path / "cache"
    caches.store(path, "key", b"one")
    with path.open("rb") as reader:
        caches.store(path, "key", b"two, and longer")
        assert reader.read().endswith(b"\none")
    assert os.listdir(tmp_path) == ["cache"]
    assert caches.load(path, "key") == b"two, and longer"


def test_a_directory_of_the_name_of_a_wheel(tmp_path: Path) -> None:
    """It is remembered as what it is, and looked at again when it becomes a wheel."""
    directory = PlatformDirectory(tmp_path, "one")
    (directory.public / "demo-1.0-py3-none-any.whl").mkdir(parents=True)
    directory.private.mkdir(parents=True)
    assert len(local.scan(directory.public, directory.scan_cache).broken) == 1
    (directory.public / "demo-1.0-py3-none-any.whl").rmdir()
    make_wheel(directory.public)
    assert local.scan(directory.public, directory.scan_cache).broken == {}
