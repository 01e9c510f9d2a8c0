"""What a power cut may leave: nothing is renamed before the disk has it, and nothing is promised before that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import durable, mirror, page_files
from pipmirror_lib.durable import move
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import Admission, PlatformDirectory
from pipmirror_lib.wheels import sha256_of

from tests.support.dists import make_wheel

Event = tuple[str, Path]


@pytest.fixture
def directory(tmp_path: Path) -> PlatformDirectory:
    made = PlatformDirectory(tmp_path / "target", "p")
    made.create()
    return made


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What reaches the disk, in this order: syncs of files and directories, renames (by both names), removals."""
    happened: list[Event] = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def syncing(descriptor: int) -> None:
        fsync(descriptor)
        happened.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def renaming(source: Any, target: Any, **how: Any) -> None:
        happened.append(("from", Path(source)))
        replace(source, target, **how)
        happened.append(("to", Path(target)))

    def removing(path: Any, **how: Any) -> None:
        unlink(path, **how)
        happened.append(("remove", Path(path)))

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", renaming)
    monkeypatch.setattr(os, "unlink", removing)
    return happened


def admit(directory: PlatformDirectory, *wheels: Path) -> dict[str, Any]:
    manifest = directory.manifest()
    staged = [(wheel, directory.stage(wheel, wheel.name)) for wheel in wheels]
    directory.admit(
        manifest,
        [Admission(place, wheel.name, {"sha256": sha256_of(wheel), "origin": "index"}) for wheel, place in staged],
    )
    return manifest


def in_order(events: list[Event], *wanted: Event) -> None:
    """Each of them happened, and not before the one that is named before it."""
    places = [events.index(one) for one in wanted]
    assert places == sorted(places), events


def test_nothing_is_renamed_before_the_disk_has_it(
    directory: PlatformDirectory, tmp_path: Path, events: list[Event]
) -> None:
    admit(directory, make_wheel(tmp_path / "a"), make_wheel(tmp_path / "b", "other", "2.0"))
    renamed = [path for kind, path in events if kind == "from"]
    assert len(renamed) == 6, "two wheels with their METADATA, the journal and the manifest"
    for path in renamed:
        in_order(events, ("sync", path), ("from", path))


def test_the_journal_is_there_before_the_first_wheel_and_goes_after_the_manifest(
    directory: PlatformDirectory, tmp_path: Path, events: list[Event]
) -> None:
    wheel = make_wheel(tmp_path)
    admit(directory, wheel)
    staged = directory.staging / wheel.name
    in_order(events, ("sync", staged), ("to", directory.journal_path), ("sync", directory.private), ("from", staged))
    in_order(
        events,
        ("to", directory.public / f"{wheel.name}.metadata"),
        ("sync", directory.public),
        ("to", directory.manifest_path),
        ("remove", directory.journal_path),
    )
    last = events[events.index(("to", directory.manifest_path)) :]
    assert last.index(("sync", directory.private)) < last.index(("remove", directory.journal_path))


def test_a_removal_is_promised_before_and_recorded_after(
    directory: PlatformDirectory, tmp_path: Path, events: list[Event]
) -> None:
    wheel = make_wheel(tmp_path)
    manifest = admit(directory, wheel)
    events.clear()
    directory.remove(manifest, [wheel.name], lambda staying: events.append(("hidden", directory.public)))
    in_order(
        events,
        ("to", directory.journal_path),
        ("sync", directory.private),
        ("hidden", directory.public),
        ("from", directory.public / f"{wheel.name}.metadata"),
        ("from", directory.public / wheel.name),
        ("sync", directory.public),
        ("to", directory.manifest_path),
        ("remove", directory.journal_path),
    )


def test_adopted_wheels_have_their_metadata_on_the_disk_before_the_manifest_says_so(
    directory: PlatformDirectory, events: list[Event]
) -> None:
    wheel = make_wheel(directory.public)
    directory.record(directory.manifest(), [wheel.name])
    advertised = directory.public / f"{wheel.name}.metadata"
    in_order(events, ("to", advertised), ("sync", directory.public), ("to", directory.manifest_path))


# -- renaming where that is no renaming ----------------------------------------------------------------------


@pytest.fixture
def two_disks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on `staging` and `public` are on different file systems."""
    replace = os.replace

    def elsewhere(source: Any, target: Any) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
        replace(source, target)

    return lambda: monkeypatch.setattr(os, "replace", elsewhere)


def test_wheels_come_in_from_another_file_system(
    directory: PlatformDirectory, tmp_path: Path, events: list[Event], two_disks: Callable[[], None]
) -> None:
    two_disks()
    wheel = make_wheel(tmp_path)
    manifest = admit(directory, wheel)
    assert {path.name for path in directory.public.iterdir()} == {wheel.name, f"{wheel.name}.metadata"}
    assert sha256_of(directory.public / wheel.name) == manifest["wheels"][wheel.name]["sha256"]
    assert (directory.public / wheel.name).stat().st_mode & 0o777 == 0o644
    assert list(directory.staging.iterdir()) == []
    copies = [path for kind, path in events if kind == "from" and path.parent == directory.public]
    assert len(copies) == 2
    for path in copies:
        in_order(events, ("sync", path), ("from", path))


def test_what_does_not_fit_there_leaves_no_part(
    tmp_path: Path, two_disks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    source = tmp_path / "a" / "file"
    source.parent.mkdir()
    source.write_text("x")
    (tmp_path / "b").mkdir()
    two_disks()
    monkeypatch.setattr(durable, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        move(source, tmp_path / "b" / "file")
    assert list((tmp_path / "b").iterdir()) == []
    assert source.read_text() == "x"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; make room there"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EROFS, "Read-only file system; mount it writable"),
        (errno.ESTALE, "Stale file handle"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_refuses_is_said_with_its_place_and_what_to_do(
    directory: PlatformDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(mirror, "move", refuse)
    with pytest.raises(MirrorError) as caught:
        admit(directory, make_wheel(tmp_path))
    assert advice in str(caught.value)
    assert str(directory.target) in str(caught.value)
    monkeypatch.undo()
    manifest = directory.manifest()
    assert directory.recover(manifest) == ["demo-1.0-py3-none-any.whl"]
    assert set(directory.manifest()["wheels"]) == {"demo-1.0-py3-none-any.whl"}


def _fails(_: str) -> bool:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(("early", "singly"), [(lambda _: True, False), (lambda _: False, True), (_fails, True)])
def test_the_disk_begins_while_pages_are_written_and_a_failure_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: Callable[[str], bool], singly: bool
) -> None:
    """The system tells of a write that failed once: a later look at everything would find all well."""
    monkeypatch.setattr(page_files, "MANY", 40)
    seen: list[str] = []
    answers = iter([early, lambda _: True])

    def together(path: str) -> bool:
        return next(answers)(path)

    monkeypatch.setattr(durable, "_sync_file_system", together)
    monkeypatch.setattr(durable, "sync", lambda path: seen.append(os.path.basename(path)))
    directory = PlatformDirectory(tmp_path, "p")
    directory.create()
    pages = page_files.PageFiles(directory, directory.public / "simple")
    for number in range(50):
        pages.write(f"{number}/index.html", b"page")
    pages.flush()
    assert ("index.html" in seen) is singly
    assert next(answers, None) is None or singly, "the early one does not stand for the last"
