"""`pipmirror.clean` takes back what can be had again, and nothing that a reader sees or that a sync works with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.shared import downloads, metadata_cache, using_downloads

from tests.functional.conftest import prepared
from tests.support.site import PLATFORM, Site, stamps


@pytest.fixture
def used(site: Site) -> Site:
    """A mirror of two platforms that has been worked with, and in which runs have failed."""
    site.also("trixie")
    prepared(site)
    site.good(site.apply())
    for name in (PLATFORM, "trixie"):
        private = site.private(name)
        for path in ("staging/half.whl", "kept/0/record.json", "work/prepare-builder.log", "logs/alpha-1.0.log"):
            (private / path).parent.mkdir(parents=True, exist_ok=True)
            (private / path).write_text("x" * 1000)
        (private / "verdict.cache").write_text("x")
    left = downloads(site.target) / "0" / "big.whl"
    left.parent.mkdir(parents=True)
    left.write_text("x" * 5000)
    return site


@pytest.fixture
def kept(used: Site) -> Iterator[None]:
    """Whatever the test does, what readers and the next sync need is untouched."""

    def precious() -> dict[str, Any]:
        names = ("manifest.json", "profile.json", "state.json", "published.json")
        private = {name: (used.private() / name).read_bytes() for name in names}
        return {**private, "public": stamps(used.public()), "theirs": stamps(used.public("trixie"))}

    before = precious()
    yield
    assert precious() == before


def folders(done: dict[str, Any], name: str = PLATFORM) -> dict[str, Any]:
    return dict(done["platforms"][name]["leftovers"])


@pytest.mark.usefixtures("kept")
def test_everything_that_can_be_had_again(used: Site) -> None:
    told = used.call("clean", test=True).value
    assert (used.private() / "staging" / "half.whl").exists()
    done = used.call("clean")
    assert done.code == 0
    assert folders(done.value) == folders(told)
    assert folders(done.value).keys() == {"staging", "kept", "work", "logs", "caches"}
    assert folders(done.value)["logs"] == {"files": 1, "size": 1000}
    assert done.value["leftovers"] == told["leftovers"]
    assert done.value["leftovers"]["downloads"]["files"] == 1
    assert done.value["leftovers"]["downloads"]["size"] >= 5000
    assert "metadata" in done.value["leftovers"]
    assert "images and containers were left alone" in done.value["comment"], "no engine is not a fault"
    left = [path for folder in ("staging", "kept", "work", "logs") for path in (used.private() / folder).glob("*")]
    assert left == [*metadata_cache(used.target).glob("*/*")] == []
    again = used.call("clean").value
    assert again["platforms"][PLATFORM]["leftovers"] == again["leftovers"] == {}
    used.check()
    assert [state for state in used.good(used.apply()).states.values() if state["changes"]] == []


@pytest.mark.usefixtures("kept")
def test_of_one_platform_alone(used: Site) -> None:
    done = used.call("clean", platform="trixie").value
    assert set(done["platforms"]) == {"trixie"}
    assert done["leftovers"] == {}
    assert (used.private() / "staging" / "half.whl").exists()
    assert list(downloads(used.target).glob("*/big.whl"))


@pytest.mark.usefixtures("kept")
def test_not_while_a_sync_is_at_work(used: Site) -> None:
    with PlatformDirectory(used.target, PLATFORM).locked(0), using_downloads(used.target, tuple):
        done = used.call("clean", lock_timeout=0)
        assert (used.private() / "staging" / "half.whl").exists()
        assert list(downloads(used.target).glob("*/big.whl"))
    assert done.code == 1
    assert "another sync has held the platform" in done.value["platforms"][PLATFORM]["comment"]
    assert done.value["platforms"]["trixie"]["result"] is True
    assert done.value["platforms"]["trixie"]["leftovers"]
    assert "downloads" not in done.value["leftovers"]


def test_what_an_interrupted_sync_has_promised_comes_in(used: Site) -> None:
    private, filename = used.private(), "beta-2.0-py3-none-any.whl"
    manifest = json.loads((private / "manifest.json").read_text())
    record = manifest["wheels"].pop(filename)
    (private / "manifest.json").write_text(json.dumps(manifest))
    (private / "journal.jsonl").write_text(json.dumps({"filename": filename, "record": record}) + "\n")
    (used.public() / filename).rename(private / "staging" / filename)
    done = used.call("clean", platform=PLATFORM)
    assert done.code == 0
    assert "1 wheel recovered" in done.platform["comment"]
    assert filename in used.wheels()


def test_logs_of_wheels_that_were_built_here_stay(used: Site) -> None:
    path = used.private() / "manifest.json"
    manifest = json.loads(path.read_text())
    next(iter(manifest["wheels"].values()))["log"] = "alpha-1.0.log"
    path.write_text(json.dumps(manifest))
    done = used.call("clean", platform=PLATFORM)
    assert "logs" not in done.platform["leftovers"]
    assert (used.private() / "logs" / "alpha-1.0.log").exists()


def test_nothing_is_made_to_be_cleaned(bare: Site) -> None:
    assert bare.call("clean").code == 0
    assert not Path(bare.target).exists()


def test_as_people_see_it(used: Site) -> None:
    shown = used.minion.show("pipmirror.clean", "test=True")
    assert f"{PLATFORM}: " in shown
    assert "downloads" in shown
    assert "2 of 2 platforms are examined" in shown
