"""Private files after whatever has happened to the disk: made anew, or told in one line; never an internal error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import plan, prune, reports, sync, why
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.moments import age, later, now
from pipmirror_lib.records import journal
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip, settle, wheels

DEMO, DEP = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"
# What a disk, a power cut, an editor or another program leave of a file.
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "zeros": lambda content: b"\0" * len(content),
    "zeros at the end": lambda content: content[: len(content) // 2] + b"\0" * 512,
    "a flipped bit": lambda content: bytes([content[0] ^ 0x80]) + content[1:],
    "garbage": lambda content: bytes(range(256)) * 4,
    "deep": lambda content: b"[" * 100_000,
    "twice": lambda content: content + content,
    "a list": lambda content: b"[1, 2]",
    "a text": lambda content: b'"text"',
    "null": lambda content: b"null",
}
WRONG: tuple[Any, ...] = (None, 5, -1.5, True, "text", [1], ["x", None], {"x": 5}, {"x": {"y": [{}]}})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["dep"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    made = declare(tmp_path, server.url, prune=True, upgrade="7d")
    equip(made)
    done = sync.sync(made)
    assert done["result"], done
    settle(directory_of(made))
    plan.make(made, made.platforms[0], directory_of(made))
    return made


def everything(mirror: Mirror) -> list[str]:
    """Ask all that reads without writing, then sync; the comment of each that failed."""
    said = []
    for ask in (
        lambda: reports.plans(mirror, None),
        lambda: reports.status(mirror, None),
        lambda: reports.wheels(mirror, None),
        lambda: reports.drift(mirror, None),
        lambda: why.why(mirror, None, project="demo"),
    ):
        try:
            ask()
        except MirrorError as error:
            said.append(str(error))
    for act in (sync.sync, sync.publish_pages, sync.prune):
        answer = act(mirror)
        if not answer["result"]:
            said.append(answer["platforms"][mirror.platforms[0].name]["comment"])
    return said


def one_line(said: list[str], *texts: str) -> None:
    assert said, "it was told"
    for comment in said:
        assert "internal error" not in comment
        assert len(comment.splitlines()) == 1, comment
        assert all(text in comment for text in texts), comment


def spoil(path: Path, damage: str) -> None:
    path.write_bytes(DAMAGE[damage](path.read_bytes()))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_manifest_is_told_and_made_anew(mirror: Mirror, server: LocalIndex, damage: str) -> None:
    directory = directory_of(mirror)
    spoil(directory.manifest_path, damage)
    one_line(everything(mirror), str(directory.manifest_path), "remove it and the wheels are recorded anew")
    assert wheels(mirror) == {DEMO, DEP}
    directory.manifest_path.unlink()
    server.log.clear()
    assert everything(mirror) == []
    consistent(mirror)
    assert not [request for request in server.log if request.path.endswith(".whl")], "adopted, not fetched"


@pytest.mark.parametrize("key", ["sha256", "size", "origin", "metadata_sha256", "admitted", "url", "direct", "source"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_record_of_wrong_kinds_is_told_or_does_no_harm(mirror: Mirror, key: str, wrong: Any) -> None:
    directory = directory_of(mirror)
    manifest = directory.manifest()
    manifest["wheels"][DEMO][key] = wrong
    directory.save_manifest(manifest)
    said = everything(mirror)
    if said:
        one_line(said, str(directory.manifest_path) if "damaged" in said[0] else "")


@pytest.mark.parametrize("act", [sync.sync, sync.publish_pages])
def test_lost_metadata_is_put_back(mirror: Mirror, act: Callable[[Mirror], dict[str, Any]]) -> None:
    """The pages name it, and pip and uv give up where it is not there."""
    side = directory_of(mirror).public / f"{DEMO}.metadata"
    content = side.read_bytes()
    side.unlink()
    due = plan.make(mirror, mirror.platforms[0], directory_of(mirror)).due
    assert due == ("put METADATA back beside its wheel: 1 wheel",)
    assert act(mirror)["result"]
    assert side.read_bytes() == content
    assert plan.make(mirror, mirror.platforms[0], directory_of(mirror)).nothing_to_do
    consistent(mirror)


def test_altered_metadata_is_put_back_with_the_hashes(mirror: Mirror) -> None:
    side = directory_of(mirror).public / f"{DEMO}.metadata"
    content = side.read_bytes()
    side.write_bytes(b"Name: demo\n")
    sync.verify(mirror, hashes=True)
    assert side.read_bytes() == content
    consistent(mirror)


def test_a_wheel_that_has_other_metadata_than_its_record_is_fetched_again(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    manifest = directory.manifest()
    manifest["wheels"][DEMO]["metadata_sha256"] = "0" * 64
    directory.save_manifest(manifest)
    (directory.public / f"{DEMO}.metadata").unlink()
    done = sync.sync(mirror)
    assert done["result"]
    assert list(done["platforms"]["bookworm"]["removed"]) == [DEMO]
    consistent(mirror)


@pytest.mark.parametrize("name", ["../../climbs-1.0-py3-none-any.whl", "x/y-1.0-py3-none-any.whl", "no.txt", ""])
def test_a_record_of_what_is_no_wheel_is_told(mirror: Mirror, name: str) -> None:
    directory = directory_of(mirror)
    manifest = directory.manifest()
    manifest["wheels"][name] = manifest["wheels"][DEMO]
    directory.save_manifest(manifest)
    one_line(everything(mirror), str(directory.manifest_path), "no wheel's name")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        '{"filename": 5}',
        '{"filename": "demo-1.0-py3-none-any.whl"}',
        '{"filename": "demo-1.0-py3-none-any.whl", "record": []}',
        '{"filename": "demo-1.0-py3-none-any.whl", "record": {"sha256": 5}}',
        '{"filename": "../../climbs-1.0-py3-none-any.whl", "record": {"sha256": "x"}}',
        '{"filename": "no wheel", "record": {"sha256": "x"}}',
        "\x00" * 100,
        "[" * 100_000,
    ],
    ids=lambda line: line[:60],
)
def test_a_damaged_journal_is_told_and_harms_nothing(mirror: Mirror, line: str) -> None:
    directory = directory_of(mirror)
    directory.journal_path.write_text(line + "\n")
    answer = sync.sync(mirror)
    one_line(
        [one["comment"] for one in answer["platforms"].values()],
        str(directory.journal_path),
        "remove it and sync again",
    )
    directory.journal_path.unlink()
    assert everything(mirror) == []
    consistent(mirror)


def test_a_journal_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(bytes(range(256)))
    with pytest.raises(MirrorError, match="is damaged"):
        journal(tmp_path / "journal")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        "published.json",
        "shown.json",
        "page.cache",
        "scan.cache",
        "verdict.cache",
        "lists.cache",
        "published.cache",
        "../.metadata/*/*.cache",
    ],
)
def test_what_can_be_made_anew_is(mirror: Mirror, name: str, damage: str) -> None:
    directory = directory_of(mirror)
    paths = list(directory.private.glob(name)) if "*" not in name else list((directory.private.parent).glob(name[3:]))
    assert paths
    for path in paths:
        spoil(path, damage)
    assert everything(mirror) == []
    consistent(mirror)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["state.json", "profile.json"])
def test_what_only_an_engine_can_make_anew_is_asked_of_it(mirror: Mirror, name: str, damage: str) -> None:
    directory = directory_of(mirror)
    spoil(directory.private / name, damage)
    (comment,) = [one["comment"] for one in sync.sync(mirror)["platforms"].values()]
    assert "nonexistent/engine.sock" in comment.splitlines()[0], "there is none in this test"
    assert "internal error" not in comment
    assert sync.publish_pages(mirror)["result"]
    assert wheels(mirror) == {DEMO, DEP}, "nothing is taken for unneeded meanwhile"


@pytest.mark.parametrize("key", ["prepared", "looked", "synced", "image", "recipe", "unneeded", "verified", "nobody"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_remembered_of_wrong_kinds_is_forgotten(mirror: Mirror, key: str, wrong: Any) -> None:
    directory = directory_of(mirror)
    state = json.loads(directory.state_path.read_text())
    directory.save(directory.state_path, json.dumps({**state, key: wrong}))
    for comment in everything(mirror):
        assert "internal error" not in comment
        assert key == "recipe", comment
    assert wheels(mirror) == {DEMO, DEP}


@pytest.mark.parametrize("inside", [{"key": 5}, {"sets": 5}, {"wheels": 5}, {"wheels": [[], {}]}, {"at": {}}])
def test_a_damaged_proof_proves_nothing(mirror: Mirror, inside: dict[str, Any]) -> None:
    directory = directory_of(mirror)
    planned = plan.make(mirror, mirror.platforms[0], directory)
    state = plan.read_json(directory.state_path)
    key = plan.proof_key(mirror, mirror.platforms[0], directory, state, planned)
    plan.remember(directory, verified={"key": key, "at": now(), "sets": {}, "wheels": [], **inside})
    for comment in everything(mirror):
        assert "internal error" not in comment


# -- a clock that jumps --------------------------------------------------------------------------------------


def unneeded(directory: PlatformDirectory) -> dict[str, str]:
    found: dict[str, str] = plan.read_json(directory.state_path).get("unneeded", {})
    return found


def at(year: int) -> str:
    return f"{year:04}-01-01T00:00:00Z"


@pytest.fixture
def orphaned(mirror: Mirror) -> Mirror:
    """`extra` lies there and nobody needs it, as was noted on the first day of 2020, when all else was done as well."""
    directory = directory_of(mirror)
    make_wheel(directory.public, "extra", "1.0")
    sync.sync(mirror)
    state = plan.read_json(directory.state_path)
    state = {**state, "seen": at(2020), "unneeded": dict.fromkeys(state["unneeded"], at(2020))}
    directory.save(directory.state_path, json.dumps(state))
    return mirror


def test_years_that_nobody_has_seen_are_no_keep_days(orphaned: Mirror) -> None:
    """Seen from 2020, the clock has jumped forward: whatever is done first, the wheel stays for its days."""
    directory = directory_of(orphaned)
    planned = plan.make(orphaned, orphaned.platforms[0], directory)
    assert any(line.startswith(plan.UNNEEDED) for line in planned.due)
    assert not any(line.startswith(plan.PRUNE) for line in planned.due)
    for act in (sync.sync, sync.prune, sync.sync):
        assert act(orphaned)["result"]
        assert "extra-1.0-py3-none-any.whl" in wheels(orphaned)
    assert all(moment > at(2025) for moment in unneeded(directory).values())
    sync.prune(declare(orphaned.target.parent, "http://index.invalid/simple/", keep_days=0))
    assert wheels(orphaned) == {DEMO, DEP}, "unless none are to be kept"


def test_what_is_remembered_first_does_not_hide_the_years(orphaned: Mirror) -> None:
    """A rebuilt image or a look at the index is a sign of life, and comes before pruning in the same run."""
    plan.remember(directory_of(orphaned), prepared=now())
    assert sync.prune(orphaned)["result"]
    assert "extra-1.0-py3-none-any.whl" in wheels(orphaned)


def test_days_that_were_seen_count(orphaned: Mirror) -> None:
    directory = directory_of(orphaned)
    state = {**plan.read_json(directory.state_path), "seen": now()}
    directory.save(directory.state_path, json.dumps(state))
    assert sync.prune(orphaned)["result"]
    assert wheels(orphaned) == {DEMO, DEP}


@pytest.mark.parametrize(
    ("days", "hours_since_seen", "age_after"),
    [(10, 1, 10), (10, 300 * 24, 10), (10, 400 * 24, 10 - 400), (10, -1, 10), (10, -400 * 24, 10 + 400)],
)
def test_an_age_is_of_days_that_were_seen(days: int, hours_since_seen: int, age_after: int) -> None:
    """A gap of more than a year is left out, and so is one that goes back."""
    seen = later(now(), -3600 * hours_since_seen)
    moved = prune.by_this_clock({"x": later(now(), -86400 * days)}, seen)["x"]
    assert age(moved) / 86400 == pytest.approx(age_after, abs=0.01)


@pytest.mark.parametrize("seen", ["", "no moment", at(1)])
def test_where_no_moment_was_seen_moments_are_what_they_are(seen: str) -> None:
    assert prune.by_this_clock({"x": "no moment"}, seen) == {"x": "no moment"}


def test_a_clock_that_was_behind_and_is_set_right(orphaned: Mirror) -> None:
    """As of a machine that starts in 1970, and asks for the time after a highstate."""
    directory = directory_of(orphaned)
    behind = {**plan.read_json(directory.state_path), "seen": at(1970)}
    directory.save(
        directory.state_path, json.dumps({**behind, "unneeded": dict.fromkeys(behind["unneeded"], at(1970))})
    )
    assert sync.prune(orphaned)["result"]
    assert sync.sync(orphaned)["result"]
    assert "extra-1.0-py3-none-any.whl" in wheels(orphaned)


@pytest.mark.parametrize("key", ["prepared", "looked"])
def test_what_was_done_in_days_to_come_is_done_again(mirror: Mirror, key: str) -> None:
    """The clock was ahead by years; else nothing would be looked at until then."""
    directory = directory_of(mirror)
    plan.remember(directory, **{key: at(2999)})
    due = plan.make(mirror, mirror.platforms[0], directory).due
    assert {"prepared": plan.REBUILD, "looked": plan.UPGRADE}[key] in due


def test_a_wheel_not_needed_since_days_to_come_begins_its_days_now(mirror: Mirror) -> None:
    directory = directory_of(mirror)
    make_wheel(directory.public, "extra", "1.0")
    sync.sync(mirror)
    plan.remember(directory, unneeded={"extra-1.0-py3-none-any.whl": at(2999)})
    sync.sync(mirror)
    assert all(moment <= now() for moment in unneeded(directory).values())


def test_a_directory_of_days_to_come_is_read_each_time(mirror: Mirror) -> None:
    """Its time stamp may come again, so what was decided from it is not remembered; and is right all the same."""
    directory = directory_of(mirror)
    os.utime(directory.public, (4e9, 4e9))
    for _ in range(2):
        assert plan.make(mirror, mirror.platforms[0], directory).satisfied
    make_wheel(directory.public, "extra", "1.0")
    os.utime(directory.public, (4e9, 4e9))
    assert plan.make(mirror, mirror.platforms[0], directory).unrecorded == ("extra-1.0-py3-none-any.whl",)
