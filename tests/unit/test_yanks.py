"""What the administrator yanks: left where no pin asks for it, told, published; taken back without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import plan, reports, sync, why
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.settings import Mirror
from pipmirror_lib.verdict import PlatformPlan

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip, settle, wheels
from tests.support.syncs import bad, good

OLD, NEW = (f"{name}-py3-none-any.whl" for name in ("demo-1.0", "demo-2.0"))
REASON = 'it "deletes" <files>'
YANKED = {"demo==2.0": REASON}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path / "files", "demo", version)
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    """It has the newest release."""
    made = declare(tmp_path, server.url)
    equip(made)
    good(made)
    assert wheels(made) == {NEW}
    settle(directory_of(made))
    return made


def planned(mirror: Mirror) -> PlatformPlan:
    return plan.make(mirror, mirror.platforms[0], directory_of(mirror))


def published(mirror: Mirror) -> dict[str, Any]:
    """What both pages say of each file."""
    folder = directory_of(mirror).public / "simple" / "demo"
    files = {file["filename"]: file.get("yanked") for file in json.loads((folder / "index.json").read_text())["files"]}
    html = (folder / "index.html").read_text()
    assert html.count("data-yanked=") == sum(1 for said in files.values() if said is not None)
    return files


def test_another_release_takes_its_place_at_once(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    declared = declare(tmp_path, server.url, yanked=YANKED)
    before = planned(declared)
    assert not before.satisfied
    assert before.missing == {"demo": f"demo: 2.0 is yanked here ({REASON}), and serves only who pins it with =="}
    good(declared)
    assert wheels(declared) == {OLD, NEW}
    assert planned(declared).closure == (OLD,)
    assert published(declared) == {OLD: None, NEW: REASON}
    page = (directory_of(declared).public / "simple" / "demo" / "index.html").read_text()
    assert 'data-yanked="it &quot;deletes&quot; &lt;files&gt;"' in page
    consistent(declared)
    assert planned(declared).nothing_to_do


def test_a_pin_has_it_all_the_same(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    pinned = declare(tmp_path, server.url, packages=["demo==2.0"], yanked=YANKED)
    assert planned(pinned).satisfied
    assert f"{NEW} is yanked here: {REASON}; it is needed by a pin (==)" in planned(pinned).warnings
    assert good(pinned)["added"] == {}
    assert published(pinned) == {NEW: REASON}


def test_it_is_never_chosen_from_the_index(tmp_path: Path, server: LocalIndex) -> None:
    declared = declare(tmp_path, server.url, yanked={"demo>1": ""})
    equip(declared)
    good(declared, upgrade=True)
    assert wheels(declared) == {OLD}


def test_where_there_is_no_other_the_set_fails(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    declared = declare(tmp_path, server.url, yanked={"demo>=1": "too old"})
    assert "2.0, 1.0 is yanked here (too old)" in bad(declared)
    assert wheels(declared) == {NEW}
    assert published(declared) == {NEW: "too old"}


def test_a_change_is_published_and_nothing_else(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    def state(**settings: Any) -> Mirror:
        settle(directory_of(mirror))
        return declare(tmp_path, server.url, packages=["demo==2.0"], **settings)

    good(state())
    server.log.clear()
    for yanked, said in ((YANKED, REASON), ({"demo==2.0": ""}, True), ({"demo==1.0": "x"}, None)):
        declared = state(yanked=yanked)
        assert plan.PUBLISH in planned(declared).due
        assert reports.drift(declared, None)["bookworm"]["written"] == [
            *("index.html", "mirror.json", "simple/demo/index.html", "simple/demo/index.json")
        ]
        good(declared)
        assert published(declared) == {NEW: said}
        settle(directory_of(mirror))
        assert planned(declared).nothing_to_do
        assert reports.drift(declared, None)["bookworm"]["written"] == []
    assert "yanked_here" not in directory_of(mirror).manifest()["wheels"][NEW]
    assert list(server.log) == [], "the index was asked"


def test_publishing_alone_is_enough(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    declared = declare(tmp_path, server.url, packages=["demo==2.0"], yanked=YANKED)
    assert sync.publish_pages(declared)["result"]
    assert published(declared) == {NEW: REASON}


def test_it_is_told(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    declared = declare(tmp_path, server.url, yanked=YANKED)
    assert why.why(declared, None, project="demo")["bookworm"]["files"][NEW]["yanked"] == REASON
    good(declared)
    assert reports.status(declared, None)["bookworm"]["yanked_here"] == {NEW: REASON}
    found = reports.wheels(declared, None)["bookworm"]
    assert {name: about["yanked_here"] for name, about in found.items()} == {OLD: None, NEW: REASON}


def test_the_administrators_word_comes_before_upstreams(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    server.yank(NEW, "theirs")
    declared = declare(tmp_path, server.url, packages=["demo==2.0"], yanked=YANKED)
    good(declared, upgrade=True)
    assert published(declared) == {NEW: REASON}
    good(declare(tmp_path, server.url, packages=["demo==2.0"]))
    assert published(declared) == {NEW: "theirs"}


def test_a_trial_is_not_published(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    from dataclasses import replace

    trial = replace(declare(tmp_path, server.url, packages=["demo==2.0"], yanked=YANKED), trial=True)
    good(trial)
    assert published(trial) == {NEW: None}


@pytest.mark.parametrize(
    ("yanked", "told"),
    [
        ({"demo": "x"}, "pipmirror:yanked:demo: must name releases of one project"),
        ({"demo[cli]==1.0": "x"}, "pipmirror:yanked:demo[cli]==1.0: must name releases"),
        ({"demo==1.0; python_version>'3'": "x"}, "must name releases of one project and nothing else"),
        ({"demo @ https://u:p@h/demo.whl": "x"}, "pipmirror:yanked:demo @ https: must name releases of one project"),
        ({"demo==not a version": "x"}, "is not a valid requirement"),
        ({"demo==1.0": ["x"]}, "pipmirror:yanked:demo==1.0: must be a string"),
        ({"demo==1.0": "two\nlines"}, "pipmirror:yanked:demo==1.0: the reason must be one line"),
        (["demo==1.0"], "pipmirror:yanked: must be a mapping"),
    ],
)
def test_faults(tmp_path: Path, yanked: Any, told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        declare(tmp_path, yanked=yanked)
    assert told in str(raised.value)
    assert len(raised.value.faults) == 1
