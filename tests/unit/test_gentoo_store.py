"""How a file gets into a Gentoo mirror, killed at any step; and what a plan makes of what lies there."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import gentoo_plan, gentoo_sync
from pipmirror_lib.errors import MirrorError, PortageError
from pipmirror_lib.gentoo_settings import GentooMirror, load
from pipmirror_lib.gentoo_store import Store, distfile, snapshot_parts
from pipmirror_lib.gentoo_tree import LAYOUT

from tests.support.gentoo.left import DATA, DIGESTS, NAME, PATH, SNAPSHOT, asked, with_snapshot
from tests.support.killing import Killed, kill_before


def declared(target: Path, **settings: Any) -> GentooMirror:
    return load({"target": str(target / "mirror"), "image": "stage3", "packages": ["app-misc/demo"], **settings})


@pytest.fixture
def mirror(tmp_path: Path) -> GentooMirror:
    return declared(tmp_path)


@pytest.fixture
def store(mirror: GentooMirror) -> Store:
    store = Store(mirror)
    store.create()
    return store


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(DATA)
    return path


class TestAdmission:
    def test_good(self, store: Store, staged: Path) -> None:
        state = store.load()
        assert store.admit(state, staged, PATH, DIGESTS) == len(DATA)
        assert (store.target / PATH).read_bytes() == DATA
        assert (store.target / PATH).stat().st_mode & 0o777 == 0o644
        assert store.has(state, PATH, DIGESTS)
        assert not staged.exists()

    def test_it_shares_nothing_with_what_was_staged(self, store: Store, staged: Path) -> None:
        inode = staged.stat().st_ino
        os.link(staged, staged.with_name("kept"))
        store.admit(store.load(), staged, PATH, DIGESTS)
        assert (store.target / PATH).stat().st_ino != inode

    def test_other_bytes(self, store: Store, staged: Path) -> None:
        staged.write_bytes(DATA[::-1])
        with pytest.raises(PortageError, match="not what its Manifest says: its BLAKE2B is"):
            store.admit(store.load(), staged, PATH, DIGESTS)
        assert not (store.target / PATH).exists()
        assert list((store.private / "incoming").iterdir()) == []

    @pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
    def test_no_file(self, store: Store, staged: Path, kind: str) -> None:
        odd = staged.with_name("odd")
        {"link": lambda: odd.symlink_to(staged), "pipe": lambda: os.mkfifo(odd), "folder": odd.mkdir}[kind]()
        with pytest.raises(PortageError, match="odd cannot be taken"):
            store.admit(store.load(), odd, PATH, DIGESTS)

    def test_nothing_there(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.admit(store.load(), tmp_path / "nothing", PATH, DIGESTS)

    def test_altered_since(self, store: Store, staged: Path) -> None:
        state = store.load()
        store.admit(state, staged, PATH, DIGESTS)
        (store.target / PATH).write_bytes(b"altered")
        assert not store.has(state, PATH, DIGESTS)
        assert not store.adopt(state, PATH, DIGESTS)
        assert store.remove(state, PATH) == 0
        assert (store.target / PATH).read_bytes() == b"altered"

    def test_a_snapshot_that_is_not_whole(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / SNAPSHOT).write_bytes(b"tree")
        (tmp_path / f"{SNAPSHOT}.gpgsig").write_bytes(b"x")
        (tmp_path / f"{SNAPSHOT}.md5sum").write_text("00  x")
        with pytest.raises(PortageError, match="is not what its md5sum says"):
            store.admit_snapshot(store.load(), tmp_path, SNAPSHOT)
        assert list((store.target / "snapshots").iterdir()) == []

    @pytest.mark.parametrize(("part", "link"), [("", True), (".md5sum", True), (".md5sum", False)])
    def test_a_snapshot_that_is_no_file(self, store: Store, tmp_path: Path, part: str, link: bool) -> None:
        (tmp_path / SNAPSHOT).write_bytes(b"tree")
        (tmp_path / f"{SNAPSHOT}.md5sum").write_bytes(b"x" * 5000)
        odd = tmp_path / f"{SNAPSHOT}{part}"
        if link:
            odd.unlink()
            odd.symlink_to("/etc/passwd")
        with pytest.raises(PortageError, match=f"the snapshot {SNAPSHOT} cannot be taken"):
            store.admit_snapshot(store.load(), tmp_path, SNAPSHOT)


class TestReport:
    def test_what_was_altered_is_not_removed(self, store: Store, staged: Path, tmp_path: Path) -> None:
        mirror = declared(tmp_path, prune=True, keep_days=0)
        state = asked(mirror, with_snapshot(store, tmp_path / "new"))
        old = staged.with_name("old")
        old.write_bytes(b"old")
        store.admit(state, staged, PATH, DIGESTS)
        store.admit(state, old, distfile("old"))
        store.save(state)
        os.utime(store.target / distfile("old"), (1, 1))
        done = gentoo_sync.sync(mirror, lambda step: None)
        assert (done["removed"], (store.target / distfile("old")).exists()) == ({}, True)
        assert distfile("old") not in store.load()["files"]

    def test_what_was_refused_and_is_not_needed_is_not_missing(
        self, mirror: GentooMirror, store: Store, staged: Path, tmp_path: Path
    ) -> None:
        state = asked(mirror, with_snapshot(store, tmp_path / "new"))
        store.save(state)
        staged.write_bytes(b"a part")
        run = gentoo_sync._Run(mirror, store)
        run._gather([tmp_path])
        assert "not what its Manifest says" in run.report()["missing"][NAME]
        run.state["sets"] = {"packages": []}
        assert (run.report()["missing"], run.report()["result"]) == ({}, True)


def test_killed_anywhere(store: Store, staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees nothing or the whole; the next run records what is there, or takes it again."""
    for number in range(30):
        staged.write_bytes(DATA)
        (store.target / PATH).unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            kill_before(number, patch)
            try:
                store.admit(store.load(), staged, PATH, DIGESTS)
            except Killed:
                done = False
            else:
                done = True
        seen = list((store.target / "distfiles").rglob("*.xz"))
        assert [path.read_bytes() for path in seen] in ([], [DATA])
        state = store.load()
        assert store.adopt(state, PATH, DIGESTS) == bool(seen)
        assert seen or store.admit(state, staged, PATH, DIGESTS) == len(DATA)
        if done:
            return
    pytest.fail("it takes more steps than that")


class TestRecords:
    def test_kept(self, store: Store) -> None:
        state = store.load()
        state["sets"]["packages"] = ["a"]
        store.save(state)
        assert store.load() == state
        assert store.private.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1}', "[" * 100_000])
    def test_damaged(self, store: Store, text: str) -> None:
        (store.private / "state.json").write_text(text)
        with pytest.raises(MirrorError, match="remove it, and the next sync looks at everything anew"):
            store.load()

    def test_layout(self, store: Store) -> None:
        store.write_layout()
        store.write_layout()
        path = store.target / "distfiles" / "layout.conf"
        assert path.read_text() == LAYOUT
        path.write_text("[structure]\n0=flat\n")
        with pytest.raises(MirrorError, match=r"layout\.conf says something else"):
            store.write_layout()

    def test_a_layout_that_is_no_file(self, store: Store) -> None:
        (store.target / "distfiles" / "layout.conf").mkdir()
        with pytest.raises(MirrorError, match=r"cannot read .*layout\.conf: Is a directory; move it away"):
            store.write_layout()

    def test_a_layout_can_be_read_whenever_it_is_there(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        path = store.target / "distfiles" / "layout.conf"
        for number in range(10):
            path.unlink(missing_ok=True)
            with monkeypatch.context() as patch:
                kill_before(number, patch)
                with suppress(Killed):
                    store.write_layout()
                    return
            assert not path.exists() or path.stat().st_mode & 0o777 == 0o644
        pytest.fail("it takes more steps than that")

    def test_one_at_a_time(self, tmp_path: Path) -> None:
        one, other = (Store(declared(tmp_path, lock_timeout=0)) for _ in range(2))
        one.create()
        with (
            one.locked(lambda text: None),
            pytest.raises(MirrorError, match="another sync has held it"),
            other.locked(lambda text: None),
        ):
            pytest.fail("two at once")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    store = Store(declared(tmp_path))
    store.create()
    (store.private / "lock").mkdir()
    with pytest.raises(MirrorError, match=r"cannot write below .*mirror: Is a directory"), store.locked(str):
        pytest.fail("without a lock")


@pytest.mark.parametrize("name", ["", "distfiles", ".gentoo-mirror"])
def test_a_file_where_a_directory_should_be(tmp_path: Path, name: str) -> None:
    store = Store(declared(tmp_path))
    (store.target / name).parent.mkdir(exist_ok=True)
    (store.target / name).write_text("")
    with pytest.raises(MirrorError, match="is there and is no directory; move it away, or name another target"):
        store.create()


def test_directories_that_another_run_has_just_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(declared(tmp_path))
    real = Path.mkdir

    def late(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if not path.is_dir():
            real(path, parents=True)
        real(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", late)
    store.create()
    with store.locked(str):
        assert (store.target / "snapshots").is_dir()


def test_an_owner_that_there_is_not_leaves_no_directory(tmp_path: Path) -> None:
    """The next run would take it for one that somebody else has made, and leave it as it is."""
    store = Store(declared(tmp_path, files={"user": "nobody-of-that-name"}))
    with pytest.raises(MirrorError, match="no such user"):
        store.create()
    assert not store.target.exists()


class TestPlan:
    def test_nothing_was_ever_done(self, mirror: GentooMirror) -> None:
        plan = gentoo_plan.report(mirror)
        assert (plan["snapshot"], plan["question"]) == ("there is none yet", "it never was")
        assert plan["nothing_to_do"] is False
        assert not mirror.target.exists()

    def test_everything_is_there(self, mirror: GentooMirror, store: Store, staged: Path, tmp_path: Path) -> None:
        state = asked(mirror, with_snapshot(store, tmp_path / "new"))
        assert gentoo_plan.of(mirror, store, state).missing == {NAME: "it is not in the mirror, or not as it was"}
        store.admit(state, staged, PATH, DIGESTS)
        assert gentoo_plan.of(mirror, store, state).nothing_to_do
        store.save(state)
        report = gentoo_plan.report(mirror)
        said = f"1 distfile in the mirror, with the tree of {SNAPSHOT}"
        assert (report["comment"], report["distfiles"], report["latest"]) == (said, 1, SNAPSHOT)

    def test_what_makes_a_question(self, mirror: GentooMirror, store: Store, tmp_path: Path) -> None:
        state = asked(mirror, with_snapshot(store, tmp_path / "new"))
        for changes in (
            {"packages": ["a/b"]},
            {"make_conf": {"USE": "x"}},
            {"fetch_all_uri": True},
            {"image": "other"},
        ):
            other = declared(tmp_path, **changes)
            assert gentoo_plan.of(other, store, state).question == "the declaration has changed"
        same = declared(tmp_path, keep_days=1, mirrors=["https://mirror.example"], container={"pids": 5})
        assert gentoo_plan.of(same, store, state).question == ""
        assert gentoo_plan.of(mirror, store, {**state, "asked": "before"}).question == "the tree has changed"
        assert gentoo_plan.of(mirror, store, {**state, "failed": {"one": "why"}}).question == "one: why"

    def test_the_snapshot(self, mirror: GentooMirror, store: Store, tmp_path: Path) -> None:
        state = with_snapshot(store, tmp_path / "new")
        assert gentoo_plan.of(mirror, store, state).snapshot == ""
        old = {**state, "looked": "2026-01-01T00:00:00Z"}
        assert "last looked for at 2026-01-01" in gentoo_plan.of(mirror, store, old).snapshot
        (store.target / snapshot_parts(SNAPSHOT)[1]).unlink()
        assert "is not there any more" in gentoo_plan.of(mirror, store, state).snapshot

    @pytest.mark.parametrize(("days", "going"), [(0, True), (1, True), (20_000, False)])
    def test_what_may_go(self, store: Store, staged: Path, tmp_path: Path, days: int, going: bool) -> None:
        mirror = declared(tmp_path, prune=True, keep_days=days)
        state = asked(mirror, with_snapshot(store, tmp_path / "new"))
        store.admit(state, staged, distfile("old"))
        state["unneeded"] = {distfile("old"): "2026-01-01T00:00:00Z"}
        assert gentoo_plan.of(mirror, store, state).expired == ((distfile("old"),) if going else ())
        assert gentoo_plan.of(declared(tmp_path, keep_days=days), store, state).expired == ()
        held = gentoo_plan.of(mirror, store, {**state, "failed": {"one": "why"}})
        assert (held.expired, held.held) == ((), "nothing is removed before Portage has said what is needed: one: why")
        assert gentoo_plan.of(mirror, store, {**state, "sets": {}}).held.endswith("because nothing is needed")
        trial = gentoo_plan.of(dataclasses.replace(mirror, trial=True), store, state)
        assert (trial.expired, trial.held[:34]) == ((), "nothing is removed, because argume")

    def test_a_clock_that_jumps(self, store: Store, staged: Path, tmp_path: Path) -> None:
        """Years that nobody has seen are no keep_days."""
        mirror = declared(tmp_path, prune=True, keep_days=30)
        state = asked(mirror, with_snapshot(store, tmp_path / "new"))
        store.admit(state, staged, distfile("old"))
        state.update(unneeded={distfile("old"): "2020-01-01T00:00:00Z"}, seen="2020-01-02T00:00:00Z")
        assert gentoo_plan.of(mirror, store, state).expired == ()
