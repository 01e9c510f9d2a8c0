"""The mirror's directory: who may write, how a wheel comes in, and what a kill at any moment leaves."""

from __future__ import annotations

import dataclasses
import grp
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import mirror
from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError, WheelError
from pipmirror_lib.mirror import Admission, PlatformDirectory, discard
from pipmirror_lib.settings import Files
from pipmirror_lib.shared import known_downloads, using_downloads
from pipmirror_lib.wheels import read_metadata, sha256_of

from tests.support.dists import make_wheel
from tests.support.killing import Killed, kill_before
from tests.support.mirrors import nested

NAME, OTHER = "demo-1.0-py3-none-any.whl", "other-2.0-py3-none-any.whl"


@pytest.fixture
def directory(tmp_path: Path) -> PlatformDirectory:
    made = PlatformDirectory(tmp_path / "target", "debian/bookworm")
    made.create()
    return made


def admission(directory: PlatformDirectory, source: Path, **record: Any) -> Admission:
    staged = directory.stage(source, source.name)
    return Admission(staged, source.name, {"sha256": sha256_of(source), "origin": "index", **record})


def admit(directory: PlatformDirectory, *sources: Path) -> dict[str, Any]:
    manifest = directory.manifest()
    directory.admit(manifest, [admission(directory, source) for source in sources])
    return manifest


def public(directory: PlatformDirectory) -> set[str]:
    return {path.name for path in directory.public.iterdir()}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# -- the tree ------------------------------------------------------------------------------------------------


def test_ours_is_closed_and_the_readers_is_open(directory: PlatformDirectory) -> None:
    modes = {path: path.stat().st_mode & 0o777 for path in (directory.public, directory.private, directory.staging)}
    assert modes == {directory.public: 0o755, directory.private: 0o700, directory.staging: 0o700}
    assert (directory.target / ".pipmirror").stat().st_mode & 0o777 == 0o700


def test_mode_and_group_are_as_the_settings_say(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    directory = PlatformDirectory(tmp_path / "t", "p", Files(group=group, file_mode=0o640, dir_mode=0o750))
    directory.create()
    admit(directory, make_wheel(tmp_path))
    assert directory.public.stat().st_mode & 0o777 == 0o750
    for name in (NAME, f"{NAME}.metadata"):
        stat = (directory.public / name).stat()
        assert (stat.st_mode & 0o777, stat.st_gid) == (0o640, os.getgid())


@pytest.mark.parametrize("files", [Files(user="nobody-of-that-name"), Files(group="nobody-of-that-name")])
def test_an_owner_that_is_not_there_is_told(tmp_path: Path, files: Files) -> None:
    with pytest.raises(MirrorError, match=r"files: no such (user|group): 'nobody-of-that-name'"):
        PlatformDirectory(tmp_path / "t", "p", files).create()


def test_what_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t" / "p").mkdir(parents=True)
    (tmp_path / "t" / "p").chmod(0o700)
    PlatformDirectory(tmp_path / "t", "p").create()
    assert (tmp_path / "t" / "p").stat().st_mode & 0o777 == 0o700


def test_a_target_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MirrorError, match="cannot write below"):
        PlatformDirectory(tmp_path / "file", "p").create()


# -- manifest and profile ------------------------------------------------------------------------------------


def test_no_manifest_is_an_empty_one(directory: PlatformDirectory) -> None:
    assert directory.manifest() == {"format": 1, "wheels": {}}
    assert directory.profile() is None


def test_a_wheel_is_a_line_of_the_manifest_and_is_the_same_when_it_is_read(directory: PlatformDirectory) -> None:
    record = {
        "size": 1,
        "sha256": "x",
        "origin": "built",
        "metadata_sha256": "y",
        "admitted": "z",
        "source": {"b": "a"},
    }
    names = ["b-1-py3-none-any.whl", "a-1-py3-none-any.whl"]
    directory.save_manifest({"wheels": dict.fromkeys(names, record), "format": 1})
    lines = directory.manifest_path.read_text().splitlines()
    assert [line.split('"')[1] for line in lines[1:-1]] == sorted(names)
    read = directory.manifest()
    assert read == {"format": 1, "wheels": dict.fromkeys(names, record)}
    assert [list(found) for found in read["wheels"].values()] == [list(record)] * 2, "keys in their order"
    directory.save_manifest({"format": 1, "wheels": {}})
    assert directory.manifest() == {"format": 1, "wheels": {}}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"format": 99, "wheels": {}}', '{"format": 1, "wheels": []}']
)
def test_a_manifest_that_cannot_be_understood_is_never_taken_for_an_empty_one(
    directory: PlatformDirectory, content: str
) -> None:
    directory.manifest_path.write_text(content)
    with pytest.raises(MirrorError, match=r"manifest\.json.*remove it and the wheels are recorded anew"):
        directory.manifest()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"x"', "{}", '{"markers": 5, "tags": []}', '{"markers": {}}']
)
def test_a_damaged_profile_is_none(directory: PlatformDirectory, content: str) -> None:
    directory.profile_path.write_text(content)
    assert directory.profile() is None


# -- the lock ------------------------------------------------------------------------------------------------


def test_one_writer_at_a_time(directory: PlatformDirectory) -> None:
    other = PlatformDirectory(directory.target, directory.name)
    with directory.locked(0):
        with (
            pytest.raises(MirrorError, match=r"another sync has held the platform for 0 s \(lock_timeout\)"),
            other.locked(0),
        ):
            pass
        with PlatformDirectory.locked(_neighbour(directory), 0):
            pass
    with other.locked(0):
        pass


def test_a_holder_that_was_killed_is_known_by_the_next(directory: PlatformDirectory) -> None:
    with directory.locked(0) as killed:
        assert not killed
        assert not directory.interrupted(), "it is at work"
    for fails in (MirrorError, KeyboardInterrupt):
        with pytest.raises(fails), directory.locked(0):
            raise fails("it says so")
        assert not directory.interrupted()
    code = f"""if True:
        import os
        from pathlib import Path
        from pipmirror_lib.mirror import PlatformDirectory
        with PlatformDirectory(Path({str(directory.target)!r}), {directory.name!r}).locked(0):
            os.kill(os.getpid(), 9)
        """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert directory.interrupted()
    with directory.locked(0) as killed:
        assert killed
    assert not directory.interrupted()


def _neighbour(directory: PlatformDirectory) -> PlatformDirectory:
    neighbour = PlatformDirectory(directory.target, "other")
    neighbour.create()
    return neighbour


def test_waiting_is_told(directory: PlatformDirectory) -> None:
    said: list[str] = []

    def give_up(text: str) -> None:
        said.append(text)
        raise KeyboardInterrupt

    with directory.locked(0), pytest.raises(KeyboardInterrupt), directory.locked(60, give_up):
        pass
    assert said == ["waiting for another sync of it to finish"]


# -- admission -----------------------------------------------------------------------------------------------


def test_a_wheel_comes_in_with_its_metadata_and_its_record(directory: PlatformDirectory, tmp_path: Path) -> None:
    source = make_wheel(tmp_path, requires=["dep"], requires_python=">=3.6")
    manifest = admit(directory, source)
    assert public(directory) == {NAME, f"{NAME}.metadata"}
    metadata = read_metadata(source, NAME)
    assert (directory.public / f"{NAME}.metadata").read_bytes() == metadata
    record = manifest["wheels"][NAME]
    assert record["sha256"] == sha256_of(source)
    assert record["metadata_sha256"] == hashlib.sha256(metadata).hexdigest()
    assert (record["size"], record["requires_python"], record["origin"]) == (source.stat().st_size, ">=3.6", "index")
    assert directory.manifest() == manifest
    assert not directory.journal_path.exists()
    assert list(directory.staging.iterdir()) == []


def test_nothing_to_admit_writes_nothing(directory: PlatformDirectory) -> None:
    directory.admit(directory.manifest(), [])
    assert not directory.manifest_path.exists()


def test_one_bad_wheel_keeps_the_whole_batch_out(directory: PlatformDirectory, tmp_path: Path) -> None:
    bad = make_wheel(tmp_path / "bad", "other", "2.0", metadata="Name: evil\nVersion: 2.0\n")
    with pytest.raises(WheelError, match="holds the metadata of evil"):
        admit(directory, make_wheel(tmp_path), bad)
    assert public(directory) == set()
    assert directory.manifest()["wheels"] == {}


def test_a_wheel_replaces_one_of_its_name(directory: PlatformDirectory, tmp_path: Path) -> None:
    admit(directory, make_wheel(tmp_path / "a", requires=["x"]))
    manifest = admit(directory, make_wheel(tmp_path / "b", requires=["y"]))
    assert b"Requires-Dist: y" in (directory.public / f"{NAME}.metadata").read_bytes()
    assert manifest["wheels"][NAME]["sha256"] == sha256_of(directory.public / NAME)


@pytest.mark.parametrize("filename", ["../evil-1.0-py3-none-any.whl", "evil.whl", "x/evil-1.0-py3-none-any.whl"])
def test_only_a_wheels_name_is_staged(directory: PlatformDirectory, tmp_path: Path, filename: str) -> None:
    with pytest.raises(WheelError):
        directory.stage(make_wheel(tmp_path), filename)


def test_staging_copies_where_it_cannot_link(
    directory: PlatformDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    source = make_wheel(tmp_path)
    assert directory.stage(source, NAME).samefile(source)
    monkeypatch.setattr(os, "link", refuse)
    staged = directory.stage(source, NAME)
    assert not staged.samefile(source)
    assert staged.read_bytes() == source.read_bytes()


def test_a_disk_that_is_full_is_told(
    directory: PlatformDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    ready = admission(directory, make_wheel(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MirrorError, match="No space left on device"):
        directory.admit(directory.manifest(), [ready])
    assert public(directory) == set()


def test_wheels_that_lie_there_are_recorded_and_not_touched(directory: PlatformDirectory, tmp_path: Path) -> None:
    wheel = make_wheel(directory.public)
    wheel.chmod(0o600)
    before = wheel.stat()
    manifest = directory.manifest()
    directory.record(manifest, [NAME])
    assert wheel.stat() == before
    assert manifest["wheels"][NAME]["origin"] == "adopted"
    assert directory.manifest() == manifest
    assert (directory.public / f"{NAME}.metadata").is_file()


def test_what_is_gone_is_forgotten(directory: PlatformDirectory, tmp_path: Path) -> None:
    manifest = admit(directory, make_wheel(tmp_path), make_wheel(tmp_path, "other", "2.0"))
    directory.forget(manifest, [NAME])
    assert set(directory.manifest()["wheels"]) == {OTHER}


# -- killed --------------------------------------------------------------------------------------------------


def sources(tmp_path: Path) -> list[Path]:
    return [make_wheel(tmp_path / "src", requires=["new"]), make_wheel(tmp_path / "src", "other", "2.0")]


def check_readers_view(directory: PlatformDirectory, known: set[str]) -> None:
    """At no moment does a reader meet a part of a wheel, or metadata that is not its wheel's."""
    for path in directory.public.iterdir():
        if path.name.endswith(".whl"):
            assert sha256_of(path) in known
        elif path.name.endswith(".metadata") and not path.name.startswith("."):
            assert path.with_suffix("").is_file(), "metadata without its wheel"


def killed_runs(tmp_path: Path) -> Iterator[tuple[PlatformDirectory, list[Path], bool]]:
    """Every way in which an admission can die: the directory, what was to come in, and whether it was promised."""
    for number in range(1000):
        place = tmp_path / str(number)
        directory = PlatformDirectory(place / "target", "p")
        directory.create()
        admit(directory, make_wheel(place / "old", requires=["old"]))
        manifest = directory.manifest()
        coming = sources(place)
        ready = [admission(directory, source) for source in coming]
        with pytest.MonkeyPatch.context() as patched:
            taken = kill_before(number, patched)
            # One thread, so that steps have an order.
            patched.setattr(mirror, "ThreadPoolExecutor", lambda _: OneThread())
            try:
                directory.admit(manifest, ready)
            except Killed:
                killed = True
            else:
                killed = False
        if not killed:
            assert number == len(taken) > 10
            return
        yield PlatformDirectory(place / "target", "p"), coming, directory.journal_path.exists()


class OneThread:
    def __enter__(self) -> OneThread:
        return self

    def __exit__(self, *_: object) -> None: ...

    map = staticmethod(map)


def test_a_kill_at_any_step_of_an_admission(tmp_path: Path) -> None:
    outcomes = []
    for directory, coming, promised in killed_runs(tmp_path):
        old = sha256_of(next((tmp_path / directory.target.parent.name / "old").iterdir()))
        new = {source.name: sha256_of(source) for source in coming}
        check_readers_view(directory, {old, *new.values()})
        manifest = directory.manifest()
        came = directory.recover(manifest)
        found = {path.name: sha256_of(path) for path in directory.public.glob("*.whl")}
        recorded = {name: record["sha256"] for name, record in directory.manifest()["wheels"].items()}
        assert recorded == found == (new if promised or recorded == new else {NAME: old})
        assert came == (sorted(new) if promised else [])
        for name in found:
            metadata = (directory.public / f"{name}.metadata").read_bytes()
            assert metadata == read_metadata(directory.public / name, name)
        assert not directory.journal_path.exists()
        assert list(directory.staging.iterdir()) == []
        assert [name for name in tree(directory.target) if name.endswith(".tmp")] == [], "litter"
        outcomes.append(promised)
    assert True in outcomes
    assert False in outcomes


def test_a_kill_during_the_recovery_is_recovered_from(tmp_path: Path) -> None:
    runs = list(killed_runs(tmp_path))
    directory, coming, _ = next(run for run in runs if run[2])
    for number in range(1000):
        copy = PlatformDirectory(tmp_path / f"copy{number}", "p")
        shutil.copytree(directory.target, copy.target)
        with pytest.MonkeyPatch.context() as patched:
            kill_before(number, patched)
            try:
                copy.recover(copy.manifest())
            except Killed:
                pass
            else:
                break
        copy.create()
        copy.recover(copy.manifest())
        assert set(copy.manifest()["wheels"]) == {source.name for source in coming}
    assert number > 3


def test_recovery_of_nothing_writes_nothing(directory: PlatformDirectory, tmp_path: Path) -> None:
    admit(directory, make_wheel(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in directory.public.iterdir()}
    before[directory.manifest_path] = directory.manifest_path.stat().st_mtime_ns
    assert directory.recover(directory.manifest()) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_recovery_believes_no_staged_file_of_another_hash(directory: PlatformDirectory, tmp_path: Path) -> None:
    ready = admission(directory, make_wheel(tmp_path))
    entry = {"filename": NAME, "record": {**ready.record, "size": ready.staged.stat().st_size}}
    directory.journal_path.write_text(json.dumps(entry) + "\n")
    ready.staged.unlink()
    make_wheel(directory.staging, requires=["evil"])
    assert directory.recover(directory.manifest()) == []
    assert public(directory) == set()


@pytest.mark.parametrize("origin", ["built", "url"])
def test_a_copy_of_ours_comes_in_only_as_what_is_recorded(
    directory: PlatformDirectory, tmp_path: Path, origin: str
) -> None:
    ready = admission(directory, make_wheel(tmp_path), origin=origin)
    make_wheel(directory.staging, files={"demo.py": "changed = True\n"})
    with pytest.raises(WheelError, match=f"{NAME} is not the file that was checked and recorded"):
        directory.admit(directory.manifest(), [ready])
    assert public(directory) == set()
    assert directory.manifest()["wheels"] == {}


def test_a_damaged_journal_is_told(directory: PlatformDirectory) -> None:
    directory.journal_path.write_text('{"filename": "x"')
    with pytest.raises(MirrorError, match=r"journal\.jsonl is damaged.*remove it and sync again"):
        directory.recover(directory.manifest())


def test_what_a_killed_run_left_in_staging_goes(directory: PlatformDirectory) -> None:
    (directory.staging / "build-x").mkdir()
    (directory.staging / "build-x" / "file").write_text("")
    (directory.staging / "half.whl").write_text("")
    directory.recover(directory.manifest())
    assert list(directory.staging.iterdir()) == []


def test_whoever_waits_for_the_lock_is_in_nobodys_way(
    directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes the directories before it waits, also just when the holder has emptied them."""

    def meanwhile(path: Path) -> None:
        discard(path)
        directory.create()

    monkeypatch.setattr(mirror, "discard", meanwhile)
    (directory.work / "build-x").mkdir()
    directory.recover(directory.manifest())
    assert list(directory.staging.iterdir()) == list(directory.work.iterdir()) == []


# -- writing -------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new", mode=0o644)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(MirrorError, match="cannot write"):
        write_atomically(tmp_path / "file", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_secret_file_is_never_open_to_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0


# -- downloads -----------------------------------------------------------------------------------------------


def test_a_run_removes_what_it_is_done_with_and_nothing_else(tmp_path: Path) -> None:
    with using_downloads(tmp_path, lambda: [place / "mine"]) as place:
        for name in ("mine", "of a run that failed"):
            (place / name).mkdir()
            (place / name / "file").write_text("")
    assert sorted(path.name for path in place.iterdir()) == ["lock", "of a run that failed"]


def test_what_nobody_has_wanted_for_a_week_goes(tmp_path: Path) -> None:
    with using_downloads(tmp_path, tuple) as place:
        for name, age in (("young", 6 * 86400), ("old", 8 * 86400)):
            (place / name).mkdir()
            os.utime(place / name, (time.time() - age,) * 2)
    assert sorted(path.name for path in place.iterdir()) == ["lock", "young"]


def test_what_a_killed_run_had_for_itself_goes_when_nobody_else_is_there(tmp_path: Path) -> None:
    with using_downloads(tmp_path, tuple) as place:
        left = place / "hash.4711-1"
        left.mkdir()
        with using_downloads(tmp_path, tuple):
            """Ends while the other one may still be using it."""
        assert left.exists()
        (place / "hash").mkdir()
    assert [path.name for path in place.iterdir() if path.is_dir()] == ["hash"], "the next run looks for this"


def test_nothing_is_removed_while_another_run_uses_the_downloads(tmp_path: Path) -> None:
    with using_downloads(tmp_path, tuple) as place:
        (place / "hash").mkdir()
        with using_downloads(tmp_path, lambda: [place / "hash"]):
            pass
        assert (place / "hash").exists(), "another run uses it"


def test_what_is_set_aside_is_neither_seen_nor_lost(directory: PlatformDirectory, tmp_path: Path) -> None:
    manifest = admit(directory, make_wheel(tmp_path))
    (directory.public / NAME).write_bytes(b"damaged")
    (directory.public / OTHER).symlink_to("nowhere")
    directory.set_aside(manifest, [NAME, OTHER])
    assert list(directory.public.iterdir()) == []
    assert directory.manifest()["wheels"] == {}
    kept = sorted((directory.private / "broken").iterdir())
    assert [path.name.rsplit(".", 1)[0] for path in kept] == [NAME, OTHER]
    assert kept[0].read_bytes() == b"damaged"


def test_a_wheel_with_other_metadata_than_promised_is_not_admitted(
    directory: PlatformDirectory, tmp_path: Path
) -> None:
    source = make_wheel(tmp_path)
    lied_to = dataclasses.replace(admission(directory, source), metadata_sha256="0" * 64)
    with pytest.raises(WheelError, match="other METADATA than the index says"):
        directory.admit(directory.manifest(), [lied_to])
    assert not (directory.public / NAME).exists()


def test_known_are_downloads_of_all_platforms_and_no_builds(tmp_path: Path) -> None:
    for name in ("a", "b"):
        PlatformDirectory(tmp_path / "t", name).create()
    a, b = (PlatformDirectory(tmp_path / "t", name) for name in ("a", "b"))
    fetched = make_wheel(tmp_path)
    admit(a, fetched)
    built = make_wheel(tmp_path, "other", "2.0")
    manifest = b.manifest()
    b.admit(manifest, [admission(b, built, origin="built")])
    assert known_downloads(tmp_path / "t", ["a", "b", "never-synced"]) == {sha256_of(fetched): a.public / NAME}


def _moved(path: Path) -> None:
    elsewhere = path.rename(path.with_name("elsewhere"))
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"short"), _moved])
def test_what_is_gone_or_replaced_is_not_known(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    directory = PlatformDirectory(tmp_path / "t", "a")
    directory.create()
    admit(directory, make_wheel(tmp_path))
    spoil(directory.public / NAME)
    assert known_downloads(tmp_path / "t", ["a"]) == {}


def test_a_deep_tree_of_strangers_is_removed(tmp_path: Path) -> None:
    deep = nested(tmp_path / "tree", 2000)
    mirror.discard(deep)
    assert not deep.exists()
    mirror.discard(deep)


def test_a_tree_deeper_than_descriptors_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythons that do not recurse hold a descriptor for each level."""
    deep = nested(tmp_path / "tree", 50)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, before[1]))
    try:
        mirror.discard(deep)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not deep.exists()


def test_the_metadata_beside_a_wheel_is_verbatim(directory: PlatformDirectory, tmp_path: Path) -> None:
    text = "Metadata-Version: 2.1\r\nName: demo\r\nVersion: 1.0\r\nAuthor: J\xf6rg\r\n\r\nprose\r\n"
    source = make_wheel(tmp_path, metadata=text)
    admit(directory, source)
    with zipfile.ZipFile(source) as archive:
        assert (directory.public / f"{NAME}.metadata").read_bytes() == archive.read("demo-1.0.dist-info/METADATA")
