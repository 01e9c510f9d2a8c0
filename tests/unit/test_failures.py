"""What a later look at a platform tells of a sync that failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import reports
from pipmirror_lib.moments import age
from pipmirror_lib.settings import Mirror

from tests.support.localindex import Fault, LocalIndex
from tests.support.mirrors import PLATFORM, declare, directory_of, equip
from tests.support.syncs import OTHER, bad, good, small_index


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    with small_index(tmp_path) as running:
        yield running


@pytest.fixture
def both(tmp_path: Path, server: LocalIndex) -> Mirror:
    """Whose `other` does not come."""
    mirror = declare(tmp_path, server.url, packages=["demo", "other"])
    equip(mirror)
    server.fail = {f"{OTHER}.metadata": Fault(times=None), OTHER: Fault(403, times=None)}
    return mirror


def status(mirror: Mirror) -> dict[str, Any]:
    return reports.status(mirror, None)[PLATFORM]


def test_the_last_failure_is_told_until_all_is_well_again(both: Mirror, server: LocalIndex) -> None:
    assert (status(both)["last_failure"], status(both)["failure"]) == ("", "")
    said = bad(both)
    assert (status(both)["failure"], status(both)["last_sync"]) == (said.splitlines()[0], "")
    assert age(status(both)["last_failure"]) < 600
    server.fail = {}
    good(both)
    assert (status(both)["last_failure"], status(both)["failure"]) == ("", "")


def test_who_only_waits_for_the_rest_of_a_set_is_not_blamed(both: Mirror, tmp_path: Path, server: LocalIndex) -> None:
    bad(both)
    missing = status(both)["missing"]
    assert missing["demo"] == "comes together with other 1.0, which the last sync could not get"
    assert missing["other"] == "other: nothing of that name in the mirror"
    more = declare(tmp_path, server.url, packages=["demo", "other", "gone>1"])
    assert status(more)["missing"]["demo"] == "demo: nothing of that name in the mirror", "that was another question"
    bad(more)
    assert status(more)["missing"]["other"] == "comes together with gone>1, which the last sync could not get"


def test_a_failure_of_many_lines_is_told_in_one(tmp_path: Path, server: LocalIndex) -> None:
    many = declare(tmp_path, server.url, packages=["gone", "lost", "away"])
    equip(many)
    bad(many)
    assert status(many)["failure"] == "gone: nothing of that name on the index (and 2 more lines)"
    assert set(status(many)["missing"].values()) == {
        f"{name}: nothing of that name in the mirror" for name in ("gone", "lost", "away")
    }
    server.fail = {"/simple/": Fault(500, times=None)}
    bad(many)
    assert "answers 500" in status(many)["failure"]


def test_what_was_remembered_and_is_damaged_is_nothing(both: Mirror) -> None:
    for failed in ("text", {"at": 5}, {"at_fault": {"packages": "demo"}}, {"declared": "x", "at_fault": []}):
        path = directory_of(both).state_path
        path.write_text(json.dumps({"failed": failed}))
        assert set(status(both)["missing"]) == {"demo", "other"}
