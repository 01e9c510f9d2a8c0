"""Metadata of large wheels without the wheels: parts from a server, and what happens where there are none."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import ranges
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import PackageIndexError, WheelError
from pipmirror_lib.index import FAR, Index
from pipmirror_lib.ranges import BLOCK, RemoteFile
from pipmirror_lib.settings import Index as Settings

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex

NAME = "demo-1.0-py3-none-any.whl"
NOISE = random.Random(7).randbytes(2 * FAR)


class TestRemoteFile:
    CONTENT = NOISE[: 10 * BLOCK + 17]

    def opened(self) -> tuple[RemoteFile, list[tuple[int, int]]]:
        asked: list[tuple[int, int]] = []

        def fetch(begin: int, end: int) -> bytes:
            asked.append((begin, end))
            return self.CONTENT[begin:end]

        return RemoteFile(fetch, len(self.CONTENT)), asked

    def test_it_reads_like_a_file(self) -> None:
        remote, _ = self.opened()
        real = io.BytesIO(self.CONTENT)
        choose = random.Random(11)
        for _ in range(200):
            position, size = choose.randrange(len(self.CONTENT) + 10), choose.randrange(3 * BLOCK)
            assert remote.seek(position) == real.seek(position)
            assert remote.read(size) == real.read(size)
            assert remote.tell() == min(real.tell(), max(position, len(self.CONTENT)))
        assert remote.seek(-5, io.SEEK_END) == len(self.CONTENT) - 5
        assert remote.read() == self.CONTENT[-5:]

    def test_the_end_comes_at_once_and_nothing_twice(self) -> None:
        remote, asked = self.opened()
        remote.seek(-22, io.SEEK_END)
        remote.read(22)
        remote.seek(-2 * BLOCK, io.SEEK_END)
        remote.read()
        assert asked == [(7 * BLOCK, len(self.CONTENT))]
        remote.seek(0)
        remote.read(10)
        assert asked[1:] == [(0, BLOCK)]

    def test_it_never_reads_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ranges, "LIMIT", 4 * BLOCK)
        remote, asked = self.opened()
        with pytest.raises(WheelError, match="cannot be read from"):
            remote.read()
        assert asked == []

    def test_before_the_beginning(self) -> None:
        with pytest.raises(OSError):
            self.opened()[0].seek(-1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", "demo", "1.0", requires=["dep>=1"], files={"noise.bin": NOISE})
    with LocalIndex(tmp_path / "files", core_metadata=False) as running:
        yield running


@pytest.fixture
def index(tmp_path: Path, server: LocalIndex) -> Iterator[Index]:
    settings = Settings(url=server.url, retries=0, timeout=5)
    with Index(settings, tmp_path / "downloads", tmp_path / "cache") as opened:
        yield opened


def demo(index: Index) -> Candidate:
    return index.page(canonicalize_name("demo")).result()[0]


def test_a_search_reads_little_of_a_large_wheel(index: Index, server: LocalIndex, tmp_path: Path) -> None:
    assert index.metadata(demo(index)).result().requires_dist == ("dep>=1",)
    assert index.fetched_files == 0
    assert sum(request.sent for request in server.requests_of(NAME)) < FAR
    assert not list((tmp_path / "cache").rglob("*.json")), "no hash was compared, so nothing is remembered"
    assert index.file(demo(index)).result().sha256 == server.files[NAME].sha256


def test_a_likely_wheel_is_fetched_as_a_whole(index: Index, server: LocalIndex) -> None:
    index.prefetch((), [demo(index)])
    assert index.metadata(demo(index)).result().requires_dist == ("dep>=1",)
    assert (index.fetched_files, len(server.requests_of(NAME))) == (1, 1)


def test_offered_metadata_is_better(index: Index, server: LocalIndex) -> None:
    server.core_metadata = True
    assert index.metadata(demo(index)).result().requires_dist == ("dep>=1",)
    assert server.requests_of(NAME) == []


@pytest.mark.parametrize("how", ["ignored", "refused", "short", "long", "unsaid", "elsewhere", "a lie"])
def test_a_server_without_parts(index: Index, server: LocalIndex, how: str) -> None:
    size = server.files[NAME].size
    begin = (size - size // 4) // BLOCK * BLOCK
    other = bytes(size - begin)
    answers = {
        "refused": Fault(416),
        "unsaid": Fault(206, body=other),
        "elsewhere": Fault(206, body=other, headers={"Content-Range": f"bytes 0-{len(other) - 1}/{size}"}),
        "a lie": Fault(206, body=other, headers={"Content-Range": f"bytes {begin}-{size - 1}/{size}"}),
        "short": Fault(206, body=b"PK"),
        "long": Fault(206, body=NOISE),
    }
    server.ranges = how != "ignored"
    if how in answers:
        server.fail[NAME] = answers[how]
    assert index.metadata(demo(index)).result().requires_dist == ("dep>=1",)
    assert index.fetched_files == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_glance_costs_no_large_wheel(index: Index, server: LocalIndex, tmp_path: Path, ranges: bool) -> None:
    """Whether the server gives parts is known from a wheel that was asked for in earnest."""
    for version in ("2.0", "3.0"):
        server.add(make_wheel(tmp_path / "files", "demo", version, files={"noise.bin": NOISE}))
    server.ranges = ranges
    newest, older, oldest = index.page(canonicalize_name("demo")).result()
    index.glance_at(older)
    assert index.metadata(newest).result()
    index.glance_at(oldest)
    if ranges:
        index.metadata(oldest).result()
    assert server.requests_of(older.filename) == []
    assert bool(server.requests_of(oldest.filename)) is ranges
    assert index.fetched_files == (0 if ranges else 1)


@pytest.mark.parametrize("more", [-1000, BLOCK, 10 * FAR])
def test_a_page_that_lies_about_the_size(index: Index, server: LocalIndex, more: int) -> None:
    server.change(NAME, size=server.files[NAME].size + more)
    with pytest.raises(PackageIndexError, match=rf"{NAME} has \d+ bytes, its page says \d+"):
        index.metadata(demo(index)).result()
    assert index.fetched_files == 0


def test_a_server_that_fails(index: Index, server: LocalIndex) -> None:
    candidate = demo(index)
    server.fail[NAME] = Fault(500, times=None)
    with pytest.raises(PackageIndexError, match="500"):
        index.metadata(candidate).result()


def test_a_wheel_that_is_none_is_discarded(tmp_path: Path, index: Index, server: LocalIndex) -> None:
    (tmp_path / "files" / NAME).write_bytes(NOISE)
    server.add(tmp_path / "files" / NAME)
    with pytest.raises(WheelError, match="not a readable wheel"):
        index.metadata(demo(index)).result()
