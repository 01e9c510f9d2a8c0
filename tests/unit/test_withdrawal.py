"""Wheels leave the pages before they go: no page ever names what is not there, or promises other bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.publish import publish, unaltered
from pipmirror_lib.withdrawal import withdraw

from tests.support.dists import make_wheel
from tests.support.site import stamps

OLD, NEW, DEP = (f"{name}-py3-none-any.whl" for name in ("demo-1.0", "demo-2.0", "dep-1.0"))


@pytest.fixture
def directory(tmp_path: Path) -> PlatformDirectory:
    made = PlatformDirectory(tmp_path / "target", "p")
    made.create()
    names = [make_wheel(made.public, name, version).name for name, version in (("demo", "1.0"), ("demo", "2.0"))]
    made.record(made.manifest(), [*names, make_wheel(made.public, "dep").name])
    publish(made, made.manifest()["wheels"], "stamp")
    return made


def away(directory: PlatformDirectory, *names: str) -> None:
    withdraw(directory, directory.manifest()["wheels"], names)


def named(directory: PlatformDirectory) -> set[str]:
    """Every file that a page names, of either kind, which say the same."""
    simple = directory.public / "simple"
    found = {file["filename"] for page in simple.glob("*/index.json") for file in json.loads(page.read_text())["files"]}
    html = "".join(page.read_text() for page in simple.glob("*/index.html"))
    assert {name for name in (OLD, NEW, DEP) if f">{name}</a>" in html} == found
    return found


def test_one_of_a_project(directory: PlatformDirectory) -> None:
    before = stamps(directory.public / "simple" / "dep")
    away(directory, OLD)
    assert named(directory) == {NEW, DEP}
    assert stamps(directory.public / "simple" / "dep") == before
    page = json.loads((directory.public / "simple" / "demo" / "index.json").read_text())
    assert page["versions"] == ["2.0"]


def test_all_of_a_project(directory: PlatformDirectory) -> None:
    away(directory, OLD, NEW)
    assert named(directory) == {DEP}
    assert not (directory.public / "simple" / "demo").exists()
    root = directory.public / "simple" / "index.html"
    assert "demo" not in root.read_text()
    assert json.loads(root.with_suffix(".json").read_text())["projects"] == [{"name": "dep"}]


def test_what_is_named_nowhere_changes_nothing(directory: PlatformDirectory) -> None:
    before = stamps(directory.target)
    away(directory, "other-1.0-py3-none-any.whl")
    away(directory)
    assert stamps(directory.target) == before


def test_nothing_comes_in_that_was_not_published(directory: PlatformDirectory) -> None:
    """What was not proved to install, say."""
    directory.record(directory.manifest(), [make_wheel(directory.public, "demo", "3.0").name])
    away(directory, OLD)
    assert named(directory) == {NEW, DEP}


def test_what_was_published_is_forgotten(directory: PlatformDirectory) -> None:
    away(directory, OLD)
    remembered = json.loads(directory.published_path.read_text())
    assert remembered["manifest"] == ""
    assert not unaltered(directory, remembered, "stamp")
    publish(directory, directory.manifest()["wheels"], "stamp")
    assert named(directory) == {OLD, NEW, DEP}


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff"])
def test_a_damaged_page_is_left_to_a_publication(directory: PlatformDirectory, damage: bytes) -> None:
    page = directory.public / "simple" / "demo" / "index.json"
    page.write_bytes(damage)
    away(directory, OLD)
    assert page.read_bytes() == damage
