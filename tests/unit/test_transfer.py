"""Downloads that break off: what came is gone on with, whoever comes next, and the hash judges the whole."""

from __future__ import annotations

import random
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import transfer
from pipmirror_lib.errors import MirrorError, PackageIndexError
from pipmirror_lib.fetch import Client
from pipmirror_lib.index import Fetched, Index
from pipmirror_lib.settings import Index as Settings
from pipmirror_lib.wheels import sha256_of

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex

NAME = "demo-1.0-py3-none-any.whl"
HALF = 300_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalIndex]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    make_wheel(tmp_path / "files", files={"noise.bin": random.Random(5).randbytes(2 * HALF)})
    with LocalIndex(tmp_path / "files") as running:
        yield running


def fetch(tmp_path: Path, server: LocalIndex, retries: int = 0) -> Fetched:
    settings = Settings(url=server.url, retries=retries, timeout=5)
    with Index(settings, tmp_path / "downloads", tmp_path / "cache") as index:
        return index.file(index.page(canonicalize_name("demo")).result()[0]).result()


def break_off(tmp_path: Path, server: LocalIndex) -> None:
    """Leave a beginning, as a run does whose connection broke."""
    server.fail = {f"/files/{NAME}": Fault(truncate_at=HALF)}
    with pytest.raises(PackageIndexError, match=r"unreachable|ended after"):
        fetch(tmp_path, server)
    server.log.clear()


def parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "downloads").rglob("*.part"))


def asked(server: LocalIndex) -> list[tuple[int, str]]:
    """(status, range) of every request for the file."""
    return [(request.status, request.headers.get("range", "")) for request in server.requests_of(NAME)]


def test_the_next_run_goes_on(tmp_path: Path, server: LocalIndex) -> None:
    break_off(tmp_path, server)
    assert [part.stat().st_size for part in parts(tmp_path)] == [HALF]
    fetched = fetch(tmp_path, server)
    assert sha256_of(fetched.path) == fetched.sha256 == server.files[NAME].sha256
    assert asked(server) == [(206, f"bytes={HALF}-")]
    assert server.requests_of(NAME)[0].sent == server.files[NAME].size - HALF
    assert parts(tmp_path) == []


def test_within_a_run_it_goes_on_as_often_as_requests_are_repeated(tmp_path: Path, server: LocalIndex) -> None:
    server.fail = {f"/files/{NAME}": Fault(times=2, truncate_at=HALF // 2)}
    assert fetch(tmp_path, server, retries=2).sha256 == server.files[NAME].sha256
    assert asked(server) == [(200, ""), (206, f"bytes={HALF // 2}-"), (206, f"bytes={HALF}-")]
    break_off(tmp_path / "other", server)


def test_a_file_without_a_hash_begins_anew(tmp_path: Path, server: LocalIndex) -> None:
    """Nothing could tell whether the two parts belong together."""
    server.hashes = False
    server.fail = {f"/files/{NAME}": Fault(truncate_at=HALF)}
    with pytest.raises(PackageIndexError):
        fetch(tmp_path, server)
    assert parts(tmp_path) == []
    server.fail = {f"/files/{NAME}": Fault(truncate_at=HALF)}
    assert fetch(tmp_path, server, retries=1).sha256 == server.files[NAME].sha256
    assert asked(server)[-2:] == [(200, ""), (200, "")]


def test_a_server_that_knows_no_ranges(tmp_path: Path, server: LocalIndex) -> None:
    break_off(tmp_path, server)
    server.ranges = False
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert asked(server) == [(200, f"bytes={HALF}-")]


@pytest.mark.parametrize(
    "said",
    [
        Fault(416),
        Fault(206, body=bytes(100)),
        Fault(206, body=bytes(100), headers={"Content-Range": "bytes 0-99/100"}),
        Fault(206, body=bytes(100), headers={"Content-Range": f"bytes {HALF}-{HALF + 99}/{HALF + 100}"}),
    ],
)
def test_a_server_that_cannot_go_on(tmp_path: Path, server: LocalIndex, said: Fault) -> None:
    break_off(tmp_path, server)
    server.fail = {f"/files/{NAME}": said}
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert [status for status, _ in asked(server)] == [said.status, 200]
    assert asked(server)[-1][1] == ""


def test_another_beginning_leads_to_the_whole(tmp_path: Path, server: LocalIndex) -> None:
    """The server has changed the file since, or our disk the beginning: only the hash tells."""
    break_off(tmp_path, server)
    parts(tmp_path)[0].write_bytes(bytes(HALF))
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert [status for status, _ in asked(server)] == [206, 200]


def test_a_beginning_that_is_longer_than_the_whole(tmp_path: Path, server: LocalIndex) -> None:
    break_off(tmp_path, server)
    parts(tmp_path)[0].write_bytes(bytes(server.files[NAME].size + 1))
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert asked(server) == [(200, "")]


def test_a_beginning_that_is_the_whole_asks_nobody(tmp_path: Path, server: LocalIndex) -> None:
    """A run was killed after the last byte."""
    break_off(tmp_path, server)
    parts(tmp_path)[0].write_bytes(server.files[NAME].path.read_bytes())
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert asked(server) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_costs_nothing_that_came(tmp_path: Path, server: LocalIndex, status: int) -> None:
    break_off(tmp_path, server)
    server.fail = {f"/files/{NAME}": Fault(status)}
    with pytest.raises(PackageIndexError, match=str(status)):
        fetch(tmp_path, server)
    assert [part.stat().st_size for part in parts(tmp_path)] == [HALF]


def test_a_file_that_is_not_what_its_page_says_leaves_nothing(tmp_path: Path, server: LocalIndex) -> None:
    break_off(tmp_path, server)
    server.fail = {f"/files/{NAME}": Fault(times=None, corrupt=True)}
    with pytest.raises(PackageIndexError, match="nothing was kept"):
        fetch(tmp_path, server)
    assert [status for status, _ in asked(server)] == [206, 200]
    assert parts(tmp_path) == []


def test_what_another_run_brings_is_waited_for(tmp_path: Path, server: LocalIndex) -> None:
    """Also by many: it comes once."""
    came, go_on = threading.Event(), threading.Event()

    def wait(path: str) -> None:
        if path.endswith(NAME):
            came.set()
            go_on.wait(30)

    server.before = wait
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(fetch, tmp_path, server)]
        assert came.wait(30)
        runs += [pool.submit(fetch, tmp_path, server) for _ in range(2)]
        time.sleep(0.5)
        go_on.set()
        found = {run.result() for run in runs}
    assert {one.sha256 for one in found} == {server.files[NAME].sha256}
    assert asked(server) == [(200, "")]


def test_one_that_does_not_get_on_is_waited_for_no_longer(
    tmp_path: Path, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 0.2)
    break_off(tmp_path, server)
    (part,) = parts(tmp_path)
    with transfer.unfinished(part.with_suffix(""), server.files[NAME].sha256) as ours:
        assert ours == part
        fetched = fetch(tmp_path, server)
        assert fetched.sha256 == server.files[NAME].sha256
        assert asked(server) == [(200, "")]
        assert part.stat().st_size == HALF
    with transfer.unfinished(part.with_suffix(""), server.files[NAME].sha256) as again:
        assert again == part


def test_a_damaged_file_is_not_what_another_run_has_brought(
    tmp_path: Path, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 0.2)
    break_off(tmp_path, server)
    (part,) = parts(tmp_path)
    part.with_suffix("").write_bytes(b"damaged")
    with transfer.unfinished(part.with_suffix(""), server.files[NAME].sha256) as ours:
        assert ours == part
        fetched = fetch(tmp_path, server)
    assert sha256_of(fetched.path) == fetched.sha256 == server.files[NAME].sha256


@pytest.mark.parametrize("sound", [True, False])
def test_what_another_run_brings_is_looked_at(tmp_path: Path, server: LocalIndex, sound: bool) -> None:
    """It takes the place of a damaged file while it is waited for; or what comes is damaged itself."""
    break_off(tmp_path, server)
    (part,) = parts(tmp_path)
    target, whole = part.with_suffix(""), server.files[NAME].path.read_bytes()
    target.write_bytes(b"damaged")
    with ThreadPoolExecutor(1) as pool:
        with transfer.unfinished(target, server.files[NAME].sha256):
            run = pool.submit(fetch, tmp_path, server)
            while not server.log and not run.done():  # from then on it waits
                time.sleep(0.01)
            time.sleep(0.3)
            part.write_bytes(whole if sound else b"damaged as well")
            part.rename(target)
        fetched = run.result()
    assert sha256_of(fetched.path) == fetched.sha256 == server.files[NAME].sha256
    assert len(asked(server)) == (0 if sound else 1)


def test_what_was_brought_to_its_end_meanwhile_is_nobodys_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened under its old name before it was renamed; to write there would damage the whole file."""
    import fcntl

    target = tmp_path / NAME
    lock = fcntl.flock

    def renamed_meanwhile(file: object, operation: int) -> None:
        lock(file, operation)  # type: ignore[arg-type]
        (tmp_path / f"{NAME}.part").rename(target)

    monkeypatch.setattr(fcntl, "flock", renamed_meanwhile)
    with transfer.unfinished(target, "0" * 64) as place:
        assert place not in (target, tmp_path / f"{NAME}.part")


@pytest.mark.parametrize(
    "limit", [HALF, None], ids=["in the middle", "at the last bytes, which are written at the end"]
)
def test_a_disk_that_takes_no_more_keeps_nothing(tmp_path: Path, server: LocalIndex, limit: int | None) -> None:
    limit = server.files[NAME].size - 1 if limit is None else limit
    asking = Client(Settings(url=server.url, retries=0, timeout=5))
    url, digest = server.url.replace("/simple/", f"/files/{NAME}"), server.files[NAME].sha256
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(MirrorError, match=r"cannot write .*: File too large"):
            asking.download(url, tmp_path / "got", digest, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "got").exists()
