"""Files that upstream does not stand by any more: reported, kept, and never chosen anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import plan
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip, wheels
from tests.support.syncs import bad, good

OLD, NEW, OTHER = (f"{name}-py3-none-any.whl" for name in ("demo-1.0", "demo-2.0", "other-1.0"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    for name, version in (("demo", "1.0"), ("demo", "2.0"), ("other", "1.0")):
        make_wheel(tmp_path / "files", name, version)
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    made = declare(tmp_path, server.url)
    equip(made)
    good(made)
    assert wheels(made) == {NEW}
    return made


def record(mirror: Mirror, filename: str = NEW) -> dict[str, Any]:
    return dict(directory_of(mirror).manifest()["wheels"][filename])


def warned(mirror: Mirror) -> str:
    return "\n".join(plan.make(mirror, mirror.platforms[0], directory_of(mirror)).warnings)


def test_a_yanked_file_is_reported_and_left_by_an_upgrade(mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW, "it\x1b[31m deletes files")
    assert warned(mirror) == ""
    good(mirror, upgrade=True)
    assert record(mirror)["yanked"] == "it deletes files"
    assert wheels(mirror) == {OLD, NEW}
    made = plan.make(mirror, mirror.platforms[0], directory_of(mirror))
    assert (made.satisfied, made.closure, made.orphans) == (True, (OLD,), (NEW,))
    consistent(mirror)


def test_a_yanked_file_serves_where_there_is_no_other(mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW, "it\x1b[31m deletes files")
    server.remove(OLD)
    assert good(mirror, upgrade=True)["added"] == {}
    assert "was yanked upstream: it deletes files" in warned(mirror)


def test_a_yanked_file_is_kept_while_something_is_added(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW)
    more = declare(tmp_path, server.url, packages=["demo", "other"])
    good(more)
    assert wheels(mirror) == {NEW, OTHER}
    assert record(mirror)["yanked"] == ""
    assert f"{NEW} was yanked upstream; an upgrade" in warned(more)


def test_a_pin_has_it_all_the_same(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW)
    pinned = declare(tmp_path, server.url, packages=["demo==2.0"])
    assert good(pinned, upgrade=True)["added"] == {}
    assert "was yanked" in warned(pinned)


def test_what_is_no_longer_yanked(mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW)
    good(mirror, upgrade=True)
    server.change(NEW, yanked=None)
    good(mirror, upgrade=True)
    assert "yanked" not in record(mirror)
    assert warned(mirror) == ""


def test_a_withdrawn_file_is_reported_and_left_by_an_upgrade(mirror: Mirror, server: LocalIndex) -> None:
    server.remove(NEW)
    good(mirror, upgrade=True)
    assert record(mirror)["withdrawn"] is True
    assert wheels(mirror) == {OLD, NEW}
    assert plan.make(mirror, mirror.platforms[0], directory_of(mirror)).orphans == (NEW,)


def test_a_project_that_is_gone_is_kept(mirror: Mirror, server: LocalIndex) -> None:
    server.remove(NEW)
    server.remove(OLD)
    assert good(mirror, upgrade=True)["added"] == {}
    assert record(mirror)["withdrawn"] is True
    assert "was withdrawn upstream" in warned(mirror)


def test_an_orphan_is_looked_at_by_an_upgrade_as_well(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    only = declare(tmp_path, server.url, packages=["other"])
    good(only)
    server.yank(NEW, "bad")
    good(only, upgrade=True)
    assert record(only)["yanked"] == "bad"
    assert warned(only) == "", "nobody needs it"


def test_an_adopted_wheel_was_not_withdrawn(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    own = make_wheel(directory_of(mirror).public, "other", "7.0").name
    both = declare(tmp_path, server.url, packages=["demo", "other"])
    good(both)
    good(both, upgrade=True)
    assert record(both, own)["origin"] == "adopted"
    assert "withdrawn" not in record(both, own)


def test_an_index_that_fails_says_nothing_of_them(mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW)
    server.close()
    bad(mirror, upgrade=True)
    assert "yanked" not in record(mirror)


def test_nothing_is_written_where_nothing_has_changed(mirror: Mirror) -> None:
    good(mirror, upgrade=True)
    before = directory_of(mirror).manifest_path.stat().st_mtime_ns
    good(mirror, upgrade=True)
    assert directory_of(mirror).manifest_path.stat().st_mtime_ns == before


def test_the_pages_say_so_as_well(mirror: Mirror, server: LocalIndex) -> None:
    def page(suffix: str) -> str:
        return (directory_of(mirror).public / "simple" / "demo" / f"index.{suffix}").read_text()

    assert "yanked" not in page("json") + page("html")
    server.yank(NEW, 'it "deletes" <files>')
    good(mirror, upgrade=True)
    told = {file["filename"]: file.get("yanked") for file in json.loads(page("json"))["files"]}
    assert told == {OLD: None, NEW: 'it "deletes" <files>'}
    assert 'data-yanked="it &quot;deletes&quot; &lt;files&gt;"' in page("html")
    server.yank(NEW)
    good(mirror, upgrade=True)
    assert {file["filename"]: file.get("yanked") for file in json.loads(page("json"))["files"]}[NEW] is True
    assert 'data-yanked=""' in page("html")
