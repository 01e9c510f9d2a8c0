"""Candidates from an index: fetched once, checked, and seen together with what lies there."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from pipmirror_lib import index as index_module
from pipmirror_lib import local, resolve
from pipmirror_lib.answers import CHUNK
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.connections import CONNECTIONS
from pipmirror_lib.errors import BuildError, PackageIndexError, WheelError
from pipmirror_lib.index import Index, NeedsBuild
from pipmirror_lib.index_source import IndexSource
from pipmirror_lib.settings import Index as Settings
from pipmirror_lib.wheels import Metadata, sha256_of
from pipmirror_lib.world import Question

from tests.support.dists import make_sdist, make_wheel
from tests.support.localindex import JSON_TYPE, Fault, LocalIndex
from tests.support.worlds import PROFILE

NAME = "demo-1.0-py3-none-any.whl"
DEMO = canonicalize_name("demo")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["dep>=1"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    make_wheel(tmp_path / "files", "dep", "2.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


class Opened:
    """An index on a place of its own, opened as often as a test likes."""

    def __init__(self, place: Path, server: LocalIndex) -> None:
        self.place = place
        self.server = server

    def __call__(self, known: dict[str, Path] | None = None, **settings: Any) -> Index:
        wanted = Settings(**{"url": self.server.url, "retries": 0, "timeout": 5, **settings})
        return Index(wanted, self.place / "downloads", self.place / "cache", known)

    @property
    def whole_wheels(self) -> list[str]:
        return [request.path for request in self.server.log if request.path.endswith(".whl")]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.place.rglob("*") if path.is_file() and "files" not in path.parts)


@pytest.fixture
def opened(tmp_path: Path, server: LocalIndex) -> Opened:
    return Opened(tmp_path, server)


def only(index: Index, project: str = "demo") -> Candidate:
    (candidate,) = index.page(canonicalize_name(project)).result()
    return candidate


def answer(source: IndexSource, *wanted: str) -> resolve.Answer:
    return resolve.resolve(Question(tuple(map(Requirement, wanted)), PROFILE), source)


def nothing(candidate: Candidate) -> Metadata:
    raise AssertionError(f"{candidate} does not lie there")


def source_of(index: Index, **more: Any) -> IndexSource:
    return IndexSource(index, {}, nothing, **more)


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [True, False])
def test_json_and_html_say_the_same(opened: Opened, server: LocalIndex, as_json: bool) -> None:
    server.json = as_json
    with opened() as index:
        candidate = only(index)
        assert index.metadata(candidate).result().requires_dist == ("dep>=1",)
    entry = server.files[NAME]
    assert (candidate.filename, candidate.sha256) == (NAME, entry.sha256)
    assert candidate.metadata_sha256
    assert (candidate.size, candidate.upload_time) == ((entry.size, entry.upload_time) if as_json else (None, ""))
    assert JSON_TYPE in server.log[0].headers["accept"]


def test_a_page_is_fetched_once_for_everybody(opened: Opened, server: LocalIndex) -> None:
    with opened() as index:
        assert index.page(DEMO) is index.page(DEMO)
        for _ in range(3):
            assert answer(source_of(index), "demo").satisfied
    assert len([request for request in server.log if request.path == "/simple/demo/"]) == 1


def test_a_project_that_nobody_has(opened: Opened) -> None:
    with opened() as index:
        assert not index.page(canonicalize_name("gone")).result()


def test_a_later_index_is_asked_only_for_what_the_first_has_not(
    opened: Opened, server: LocalIndex, tmp_path: Path
) -> None:
    """A stranger could register a private name there, with a higher version."""
    make_wheel(tmp_path / "more", "demo", "99.0")
    make_wheel(tmp_path / "more", "extra", "1.0")
    with LocalIndex(tmp_path / "more") as other, opened(extra_urls=(other.url,)) as index:
        assert str(only(index).version) == "1.0"
        assert [request.path for request in other.log] == []
        assert str(only(index, "extra").version) == "1.0"
        assert [request.path for request in other.log] == ["/simple/extra/"]


def test_a_first_index_that_fails_is_no_reason_to_ask_another(
    opened: Opened, server: LocalIndex, tmp_path: Path
) -> None:
    make_wheel(tmp_path / "more", "demo", "99.0")
    server.fail = {"/simple/demo/": Fault(503, times=None)}
    with LocalIndex(tmp_path / "more") as other, opened(extra_urls=(other.url,)) as index:
        with pytest.raises(PackageIndexError, match="answers 503"):
            index.page(DEMO).result()
        assert other.log == []


def test_an_index_in_trouble_ends_the_decision_instead_of_changing_it(opened: Opened, server: LocalIndex) -> None:
    server.fail = {"/simple/dep/": Fault(500, times=None)}
    with opened() as index, pytest.raises(PackageIndexError, match="answers 500"):
        answer(source_of(index), "demo")


def test_a_slow_download_holds_back_nothing_that_others_lead_to(
    opened: Opened, server: LocalIndex, tmp_path: Path
) -> None:
    """As a decision that goes level by level would."""
    server.core_metadata = False
    for name, requires in (("app", ["lib"]), ("lib", ["deep"]), ("deep", [])):
        server.add(make_wheel(tmp_path / "files", name, requires=requires))
    come = threading.Event()
    in_time: list[bool] = []

    def before(path: str) -> None:
        if path.startswith("/files/deep-"):
            come.set()
        elif path == f"/files/{NAME}":
            in_time.append(come.wait(10))

    server.before = before
    with opened(timeout=30) as index:
        assert answer(source_of(index), "demo", "app").satisfied
    assert in_time == [True]


def test_a_search_that_turns_back_looks_at_several_versions_at_once(
    opened: Opened, server: LocalIndex, tmp_path: Path
) -> None:
    """Asked for one after another, each would take as long as an answer does."""
    server.core_metadata = False
    for number in range(1, 9):
        bound = "<" if number == 1 else ">="
        server.add(make_wheel(tmp_path / "files", "app", f"{number}.0", requires=[f"dep{bound}2", "other"]))
    server.add(make_wheel(tmp_path / "files", "other", requires=["dep<2"]))
    under_way: set[str] = set()
    together: list[set[str]] = []
    lock, several = threading.Lock(), threading.Event()

    def before(path: str) -> None:
        if path.startswith("/files/app-") and "app-8.0" not in path:
            with lock:
                under_way.add(path)
                together.append(set(under_way))
            if len(under_way) > 1:
                several.set()
            several.wait(5)
            with lock:
                under_way.discard(path)

    server.before = before
    with opened(timeout=30) as index:
        found = answer(source_of(index), "app", "other")
    assert {name: str(candidate.version) for name, candidate in found.closure.items()} == {
        "app": "1.0",
        "other": "1.0",
        "dep": "1.0",
    }
    assert max(map(len, together)) > 1


def test_a_page_does_not_wait_for_files(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    come = threading.Event()
    for number in range(CONNECTIONS + 2):
        server.add(make_wheel(tmp_path / "files", "many", f"{number}.0"))
    server.before = lambda path: path.startswith("/files/") and come.wait(30)
    with opened(timeout=30) as index:
        files = [index.file(candidate) for candidate in index.page(canonicalize_name("many")).result()]
        try:
            assert index.page(DEMO).result(timeout=20)
            assert not any(file.done() for file in files)
        finally:
            come.set()


def test_nobody_waits_for_what_was_sent_for_in_vain(opened: Opened, server: LocalIndex) -> None:
    asked, over = threading.Event(), threading.Event()
    server.before = lambda path: path.startswith("/files/") and (asked.set(), over.wait(60))
    with opened(timeout=60) as index:
        wheel = index.file(only(index))
        assert asked.wait(20)
        assert not wheel.done()
        began = time.monotonic()
    try:
        assert time.monotonic() - began < 30
        assert isinstance(wheel.exception(), PackageIndexError)
    finally:
        over.set()


def test_metadata_that_cannot_be_had_is_told_to_who_asks(opened: Opened, server: LocalIndex) -> None:
    server.fail = {f"/files/{NAME}": Fault(500, times=None)}
    with opened() as index:
        source_of(index).prefetch((), [only(index)])
        with pytest.raises(PackageIndexError, match="answers 500"):
            index.metadata(only(index)).result()


def test_a_fault_of_a_file_that_nobody_looks_at_is_none(opened: Opened, server: LocalIndex) -> None:
    files = [{"filename": f"demo-{v}-py3-none-any.whl", "url": "../../files/x"} for v in ("2.0", "1.0")]
    del files[1]["url"]
    body = json.dumps({"files": files}).encode()
    server.fail = {"/simple/demo/": Fault(200, times=None, body=body, headers={"Content-Type": JSON_TYPE})}
    with opened() as index:
        source = source_of(index)
        page = index.page(DEMO).result()
        assert [c.filename for c in page.release(page.versions[0])] == [files[0]["filename"]]
        with pytest.raises(PackageIndexError, match="is not a project page"):
            list(source.files(DEMO))


# -- metadata ------------------------------------------------------------------------------------------------


def test_offered_metadata_saves_whole_wheels(opened: Opened, server: LocalIndex) -> None:
    with opened() as index:
        found = answer(source_of(index), "demo")
    assert {name: str(c.version) for name, c in found.closure.items()} == {"demo": "1.0", "dep": "2.0"}
    assert opened.whole_wheels == []
    assert len(server.requests_of(f"{NAME}.metadata")) == 1


def test_without_offered_metadata_the_wheel_itself_is_read_once(opened: Opened, server: LocalIndex) -> None:
    server.core_metadata = False
    with opened() as index:
        candidate = only(index)
        assert index.metadata(candidate).result().requires_dist == ("dep>=1",)
        assert index.file(candidate).result().path.is_file()
    assert len(server.requests_of(NAME)) == 1


def test_metadata_is_remembered_for_good(opened: Opened, server: LocalIndex) -> None:
    with opened() as index:
        index.metadata(only(index)).result()
    server.log.clear()
    with opened() as index:
        assert index.metadata(only(index)).result().requires_dist == ("dep>=1",)
    assert [request.path for request in server.log] == ["/simple/demo/"]


def test_metadata_that_another_version_remembers_is_read_anew(
    opened: Opened, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened() as index:
        index.metadata(only(index)).result()
    monkeypatch.setattr(index_module, "CACHED", "another version")
    server.log.clear()
    with opened() as index:
        assert index.metadata(only(index)).result().requires_dist == ("dep>=1",)
    assert len(server.requests_of(f"{NAME}.metadata")) == 1


def test_offered_metadata_of_another_project_is_refused(opened: Opened, server: LocalIndex) -> None:
    server.change(NAME, metadata=b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n\n")
    with opened() as index, pytest.raises(WheelError, match="holds the metadata of evil"):
        index.metadata(only(index)).result()


def test_offered_metadata_of_another_version_is_refused(opened: Opened, server: LocalIndex) -> None:
    server.change(NAME, metadata=b"Metadata-Version: 2.1\nName: demo\nVersion: 9.0\n\n")
    with opened() as index, pytest.raises(WheelError, match=r"holds the metadata of demo 9\.0"):
        index.metadata(only(index)).result()


@pytest.mark.parametrize("fault", [Fault(404, times=None), Fault(times=None, corrupt=True)])
def test_offered_metadata_that_is_not_to_be_had_is_read_from_the_wheel(
    opened: Opened, server: LocalIndex, fault: Fault
) -> None:
    """The wheel is what gets installed, and its own sha256 vouches for it."""
    server.fail = {f"/files/{NAME}.metadata": fault}
    for _ in range(2):
        with opened() as index:
            assert index.metadata(only(index)).result().requires_dist == ("dep>=1",)
            (why,) = index.lacking.values()
            assert "does not have" in why
    assert len(server.requests_of(NAME)) == 1
    server.fail = {}
    with opened() as index:
        assert index.metadata(only(index)).result().requires_dist == ("dep>=1",)
        assert index.lacking == {}


def test_a_wheel_whose_metadata_lies_is_refused(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    server.core_metadata = False
    server.add(make_wheel(tmp_path / "lie", metadata="Name: evil\nVersion: 1.0\n", filename=NAME))
    with opened() as index, pytest.raises(WheelError, match="holds the metadata of evil"):
        index.metadata(only(index)).result()


def test_a_kept_file_is_read_rather_than_asked_about(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    known = {server.files[NAME].sha256: tmp_path / "files" / NAME}
    with opened(known) as index:
        candidate = only(index)
        assert index.metadata(candidate).result().requires_dist == ("dep>=1",)
        assert index.file(candidate).result().path.samefile(tmp_path / "files" / NAME)
    assert [request.path for request in server.log] == ["/simple/demo/"]


@pytest.mark.parametrize("links", [True, False])
def test_a_kept_file_may_go_while_it_is_used(
    opened: Opened, server: LocalIndex, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another platform's wheel, which that one prunes."""
    if not links:
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    kept = make_wheel(tmp_path / "kept", requires=["dep>=1"])
    with opened({server.files[NAME].sha256: kept}) as index:
        fetched = index.file(only(index)).result()
        kept.unlink()
        assert sha256_of(fetched.path) == fetched.sha256
    assert server.requests_of(NAME) == []
    assert [path.name for path in fetched.path.parent.iterdir()] == [NAME]


def test_a_kept_file_that_is_gone_is_fetched(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    kept = make_wheel(tmp_path / "kept", requires=["dep>=1"])
    with opened({server.files[NAME].sha256: kept}) as index:
        kept.unlink()
        fetched = index.file(only(index)).result()
    assert sha256_of(fetched.path) == fetched.sha256
    assert len(server.requests_of(NAME)) == 1


def test_what_cannot_be_linked_to_another_disk_is_read_where_it_lies(
    opened: Opened, server: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    kept = make_wheel(tmp_path / "kept", requires=["dep>=1"])
    with opened({server.files[NAME].sha256: kept}) as index:
        assert index.file(only(index)).result().path == kept


def test_a_kept_file_that_is_damaged_later_is_not_trusted(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    """What an earlier run has linked is damaged with it."""
    kept = make_wheel(tmp_path / "kept", requires=["dep>=1"])
    for requests in (0, 1):
        with opened({server.files[NAME].sha256: kept}) as index:
            fetched = index.file(only(index)).result()
        assert sha256_of(fetched.path) == fetched.sha256
        assert len(server.requests_of(NAME)) == requests
        kept.write_bytes(b"damaged")


def refusing(number: int) -> Callable[..., None]:
    """A file system that makes no links."""

    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return link


# -- files ---------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_checked(opened: Opened, server: LocalIndex) -> None:
    with opened() as index:
        candidate = only(index)
        fetched = index.file(candidate).result()
        assert index.file(candidate).result() is fetched
        assert (index.fetched_files, index.fetched_bytes) == (1, candidate.size)
        assert index.how_far(candidate) == (True, candidate.size, candidate.size)
    assert fetched.sha256 == server.files[NAME].sha256
    assert fetched.path.name == NAME


def test_a_file_under_way(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    """Its beginning is here, the rest will take a while."""
    name = Path(server.add(make_wheel(tmp_path, "big", files={"big.bin": os.urandom(4 * CHUNK)}))).name
    server.fail[f"/files/{name}"] = Fault(truncate_at=2 * CHUNK, stall=60)
    with opened(retries=0) as index:
        candidate = only(index, "big")
        index.file(candidate)
        end = time.monotonic() + 30
        while not index.how_far(candidate)[1] and time.monotonic() < end:
            time.sleep(0.01)
        whole, received, size = index.how_far(candidate)
        server.close()
    assert (whole, size) == (False, candidate.size)
    assert 0 < received <= 2 * CHUNK


def test_the_next_run_finds_what_this_one_fetched(opened: Opened, server: LocalIndex) -> None:
    for _ in range(2):
        with opened() as index:
            index.file(only(index)).result()
    assert len(server.requests_of(NAME)) == 1


def test_a_file_without_a_hash_is_never_taken_from_an_older_run(opened: Opened, server: LocalIndex) -> None:
    server.hashes = False
    for _ in range(2):
        with opened() as index:
            assert index.file(only(index)).result().sha256 == server.files[NAME].sha256
    assert len(server.requests_of(NAME)) == 2


@pytest.mark.parametrize(
    ("claims", "fault", "said"),
    [
        ({"sha256": "00" * 32}, None, "its page says 000000000000…"),
        ({"size": 10}, None, "is longer than the 10 bytes"),
        ({"size": 10**9}, None, "ended after|unreachable"),
        ({}, Fault(times=None, corrupt=True), "has sha256"),
        ({}, Fault(404, times=None), "answers 404"),
        ({}, Fault(401, times=None), "refuses us"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_leaves_nothing(
    opened: Opened, server: LocalIndex, claims: dict[str, Any], fault: Fault | None, said: str
) -> None:
    server.change(NAME, **claims)
    server.fail = {f"/files/{NAME}": fault} if fault else {}
    with opened() as index, pytest.raises(PackageIndexError, match=said):
        index.file(only(index)).result()
    assert opened.files() == []


def test_a_passing_failure_does_not_matter(opened: Opened, server: LocalIndex) -> None:
    server.fail = {f"/files/{NAME}": Fault(503)}
    with opened(retries=1) as index:
        assert index.file(only(index)).result().path.is_file()


@pytest.mark.parametrize("digest", ["../../../evil", "..", "/{place}/evil"])
def test_a_hash_never_leads_out_of_our_directories(
    opened: Opened, server: LocalIndex, tmp_path: Path, digest: str
) -> None:
    server.change(NAME, sha256=digest.format(place=tmp_path))
    with opened() as index:
        candidate = only(index)
        index.metadata(candidate).result()
        index.file(candidate).result()
    outside = [p for p in tmp_path.iterdir() if p.name not in ("files", "downloads", "cache")]
    assert outside == []
    assert not list(tmp_path.parent.glob("evil*"))


def test_a_hostile_page_offers_nothing(opened: Opened, server: LocalIndex) -> None:
    names = ["../../evil-1.0-py3-none-any.whl", "/srv/demo-1.0-py3-none-any.whl", "demo-1.0-py3-none-../../any.whl"]
    body = json.dumps({"files": [{"filename": name, "url": f"../../files/{NAME}"} for name in names]}).encode()
    server.fail = {"/simple/demo/": Fault(200, times=None, body=body, headers={"Content-Type": JSON_TYPE})}
    with opened() as index:
        assert not index.page(DEMO).result()


# -- what one platform sees ----------------------------------------------------------------------------------


def present(tmp_path: Path, manifest: dict[str, Any] | None = None) -> local.LocalSource:
    return local.scan(tmp_path / "mirror", manifest=manifest)


def view(index: Index, lies: local.LocalSource, **more: Any) -> IndexSource:
    return IndexSource(index, lies.by_project, lies.metadata, **more)


def versions(source: IndexSource, project: NormalizedName = DEMO) -> dict[str, bool]:
    """{file: whether it lies there}"""
    return {candidate.filename: candidate.path is not None for candidate in source.files(project)}


def test_what_lies_there_is_not_asked_for(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    make_wheel(tmp_path / "mirror", requires=["dep>=1"])
    lies = present(tmp_path, {NAME: {"sha256": server.files[NAME].sha256, "origin": "index"}})
    with opened() as index:
        source = view(index, lies)
        assert versions(source) == {NAME: True}
        assert source.metadata(source.files(DEMO)[0]).requires_dist == ("dep>=1",)
    assert server.requests_of(f"{NAME}.metadata") == []


def test_what_the_index_lacks_serves_too(opened: Opened, tmp_path: Path) -> None:
    make_wheel(tmp_path / "mirror", "demo", "0.5")
    make_wheel(tmp_path / "mirror", "own", "1.0")
    with opened() as index:
        source = view(index, present(tmp_path))
        assert versions(source) == {NAME: False, "demo-0.5-py3-none-any.whl": True}
        assert versions(source, canonicalize_name("own")) == {"own-1.0-py3-none-any.whl": True}


def test_an_upgrade_takes_nothing_that_the_index_has_withdrawn(opened: Opened, tmp_path: Path) -> None:
    make_wheel(tmp_path / "mirror", "demo", "9.0")
    make_wheel(tmp_path / "mirror", "own", "1.0")
    with opened() as index:
        source = view(index, present(tmp_path), upgrade=True)
        assert versions(source) == {NAME: False}
        assert versions(source, canonicalize_name("own")) == {"own-1.0-py3-none-any.whl": True}


def test_an_upgrade_does_not_build_again(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    sdist = server.files[server.add(make_sdist(tmp_path / "s", "demo", "2.0", static_metadata=True))]
    wheel = make_wheel(tmp_path / "mirror", "demo", "2.0")
    record = {"sha256": "11" * 32, "origin": "built", "source": {"sha256": sdist.sha256}}
    with opened() as index:
        lies = present(tmp_path, {wheel.name: record})
        found = answer(view(index, lies, upgrade=True), "demo")
        assert [c.filename for c in found.closure.values()] == [wheel.name]
        record["source"] = {"sha256": "22" * 32}
        found = answer(view(index, present(tmp_path, {wheel.name: record}), upgrade=True), "demo")
        assert [c.filename for c in found.closure.values()] == ["demo-2.0.tar.gz"]


def test_a_wheel_built_here_gives_way_to_the_indexs_own(opened: Opened, tmp_path: Path) -> None:
    make_wheel(tmp_path / "mirror")
    with opened() as index:
        built = present(tmp_path, {NAME: {"sha256": "11" * 32, "origin": "built"}})
        assert versions(view(index, built)) == {NAME: False}
        fetched = present(tmp_path, {NAME: {"sha256": "11" * 32, "origin": "index"}})
        assert versions(view(index, fetched)) == {NAME: True}, "a file of an index is immutable"


def test_a_wheel_of_a_url_gives_way_on_an_upgrade(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    make_wheel(tmp_path / "mirror")
    with opened() as index:
        other = present(tmp_path, {NAME: {"sha256": "11" * 32, "origin": "url"}})
        assert versions(view(index, other)) == {NAME: True}
        assert versions(view(index, other, upgrade=True)) == {NAME: False}
        same = present(tmp_path, {NAME: {"sha256": server.files[NAME].sha256, "origin": "url"}})
        assert versions(view(index, same, upgrade=True)) == {NAME: True}


def test_a_yanked_file_serves_its_pin_only(opened: Opened, server: LocalIndex) -> None:
    server.yank("dep-2.0-py3-none-any.whl", "broken")
    with opened() as index:
        assert {str(c) for c in answer(source_of(index), "demo").closure.values()} == {"demo 1.0", "dep 1.0"}
        assert {str(c) for c in answer(source_of(index), "dep==2.0").closure.values()} == {"dep 2.0"}


def test_files_younger_than_min_age_are_passed_over(opened: Opened, server: LocalIndex) -> None:
    server.set_upload_time("dep-2.0-py3-none-any.whl", "2999-01-01T00:00:00Z")
    with opened() as index:
        source = source_of(index, min_age=3600)
        assert [str(c) for c in source.files(canonicalize_name("dep"))] == ["dep 1.0"]
        assert len(source_of(index).files(canonicalize_name("dep"))) == 2


@pytest.mark.parametrize("stamp", [None, "", "yesterday"])
def test_a_file_of_unknown_age_is_not_old_enough(opened: Opened, server: LocalIndex, stamp: str | None) -> None:
    server.set_upload_time(NAME, stamp)
    with opened() as index:
        assert source_of(index, min_age=1).files(DEMO) == []


@pytest.mark.parametrize("stamp", ["2024-01-01T00:00:00.123456Z", "2024-01-01T00:00:00+00:00", "2024-01-01T00:00:00"])
def test_every_spelling_of_a_time_is_read(opened: Opened, server: LocalIndex, stamp: str) -> None:
    server.set_upload_time(NAME, stamp)
    with opened() as index:
        assert len(source_of(index, min_age=1).files(DEMO)) == 1


def test_what_lies_there_is_old_enough(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    make_wheel(tmp_path / "mirror", requires=["dep>=1"])
    server.set_upload_time(NAME, "2999-01-01T00:00:00Z")
    with opened() as index:
        assert versions(view(index, present(tmp_path), min_age=3600)) == {NAME: True}


# -- sdists --------------------------------------------------------------------------------------------------


def add_sdist(server: LocalIndex, tmp_path: Path, **more: Any) -> str:
    return server.add(make_sdist(tmp_path / "sdists", "src", "1.0", requires=["dep"], **more))


def test_an_sdist_that_promises_its_metadata_is_not_built(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    add_sdist(server, tmp_path, static_metadata=True)
    with opened() as index:
        found = answer(source_of(index), "src")
    assert {str(c) for c in found.closure.values()} == {"src 1.0", "dep 2.0"}


def test_an_sdist_that_does_not_is_built_to_know(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    add_sdist(server, tmp_path)
    built: list[str] = []

    def build(candidate: Candidate) -> Metadata:
        built.append(candidate.filename)
        return Metadata("src", "1.0", requires_dist=("dep<2",))

    with opened() as index:
        found = answer(source_of(index, build=build), "src")
        with pytest.raises(NeedsBuild):
            index.metadata(only(index, "src")).result()
    assert {str(c) for c in found.closure.values()} == {"src 1.0", "dep 1.0"}
    assert built == ["src-1.0.tar.gz"]


def test_a_search_has_its_time_for_itself(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    """However long a build takes that it has asked for."""
    add_sdist(server, tmp_path)
    server.add(make_wheel(tmp_path / "files", "src", "2.0", requires=["dep>=2"]))
    server.add(make_wheel(tmp_path / "files", "old", "1.0", requires=["dep<2"]))

    def build(candidate: Candidate) -> Metadata:
        time.sleep(2)
        return Metadata("src", "1.0", requires_dist=("dep<2",))

    with opened() as index:
        source = source_of(index, build=build)
        found = resolve.resolve(Question((Requirement("src"), Requirement("old")), PROFILE, timeout=1), source)
    assert {str(c) for c in found.closure.values()} == {"src 1.0", "old 1.0", "dep 1.0"}


def test_a_plan_leaves_open_what_only_a_build_would_tell(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    add_sdist(server, tmp_path)
    with opened() as index:
        source = source_of(index)
        assert {str(c) for c in answer(source, "src").closure.values()} == {"src 1.0"}
    assert list(source.undecided) == ["src-1.0.tar.gz"]


def test_a_build_that_fails_ends_the_decision(opened: Opened, server: LocalIndex, tmp_path: Path) -> None:
    add_sdist(server, tmp_path)
    make_wheel(tmp_path / "files", "src", "0.9")
    server.add(tmp_path / "files" / "src-0.9-py3-none-any.whl")

    def build(candidate: Candidate) -> Metadata:
        raise BuildError(f"{candidate}: no compiler")

    with opened() as index:
        found = answer(source_of(index, build=build), "src")
    assert found.missing == {"src": "src 1.0: no compiler"}
