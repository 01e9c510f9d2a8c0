"""An index that fails on the way, from one end to the other: what it says of itself is tested elsewhere.

After each fault the mirror is what it was or what it shall be, and the next run finishes without fetching twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pipmirror_lib import sync
from pipmirror_lib.settings import Mirror
from pipmirror_lib.shared import downloads

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip, wheels

DEMO, DEP, OLD = (f"{name}-1.0-py3-none-any.whl" for name in ("demo", "dep", "old"))
AFTER = {"Retry-After": "1"}
FAULTS = {
    "drops at once": lambda: Fault(truncate_at=0, times=None),
    "drops in the middle": lambda: Fault(truncate_at=20_000, times=None),
    "stalls": lambda: Fault(stall=3, times=None),
    "stalls in the middle": lambda: Fault(truncate_at=20_000, stall=3, times=None),
    "is out of order": lambda: Fault(500, times=None),
    "is overloaded": lambda: Fault(503, times=None, headers=AFTER),
    "wants us to wait": lambda: Fault(429, times=None, headers=AFTER),
    "flips a bit": lambda: Fault(corrupt=True, times=None),
    "has it no more": lambda: Fault(404, times=None),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    files = tmp_path / "files"
    make_wheel(files, requires=["dep"], files={"big.bin": b"x" * 60_000})
    make_wheel(files, "dep", files={"big.bin": bytes(range(256)) * 300})
    make_wheel(files, "old")
    with LocalIndex(files) as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    """`old` is there, and `demo` with what it needs is to come."""
    before = declare(tmp_path, server.url, packages=["old"])
    equip(before)
    assert sync.sync(before)["result"]
    return declare(tmp_path, server.url, packages=["old", "demo"], index={"timeout": 1, "retries": 1})


@pytest.mark.parametrize("where", ["/simple/", f"/files/{DEP}"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_lasts_and_then_is_over(mirror: Mirror, server: LocalIndex, fault: str, where: str) -> None:
    directory = directory_of(mirror)
    before = directory.manifest()["wheels"][OLD]
    server.core_metadata = where == "/simple/"
    server.fail[where] = FAULTS[fault]()
    answer = sync.sync(mirror)
    assert OLD in wheels(mirror)
    consistent(mirror)
    if not answer["result"]:
        (one,) = answer["platforms"].values()
        assert "internal error" not in one["comment"]
        assert wheels(mirror) == {OLD}
        assert directory.manifest()["wheels"][OLD]["sha256"] == before["sha256"]
    server.fail.clear()
    server.log.clear()
    assert sync.sync(mirror)["result"]
    assert wheels(mirror) == {OLD, DEMO, DEP}
    consistent(mirror)
    asked = [request.path for request in server.log if request.path.endswith(".whl")]
    # A request that we gave up may come to its end, and be noted, only now.
    assert "stalls" in fault or len(asked) == len(set(asked)), "nothing is fetched twice"
    assert [path.name for path in downloads(mirror.target).iterdir()] in ([], ["lock"])
    assert list(directory.staging.iterdir()) == []


@pytest.mark.parametrize("fault", ["is overloaded", "wants us to wait", "drops in the middle", "stalls"])
def test_a_fault_that_passes_is_none(mirror: Mirror, server: LocalIndex, fault: str) -> None:
    for where in ("/simple/", f"/files/{DEMO}"):
        server.fail[where] = FAULTS[fault]()
        server.fail[where].times = 1
    answer = sync.sync(mirror)
    assert answer["result"], answer
    consistent(mirror)
