"""Downloads in a process of their own: the same as in this one, whatever becomes of either."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from packaging.utils import canonicalize_name
from pipmirror_lib import courier, wheels
from pipmirror_lib.courier import Courier, Gone
from pipmirror_lib.errors import MirrorError, PipmirrorError
from pipmirror_lib.fetch import Client
from pipmirror_lib.index import Fetched, Index
from pipmirror_lib.settings import Index as Settings
from pipmirror_lib.wheels import sha256_of

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex

NAME = "demo-1.0-py3-none-any.whl"
USER, SECRET = "mirror", "hunter2"
UTILS = Path(courier.__file__).parent.parent
needs_setpriv = pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", files={"noise.bin": random.Random(5).randbytes(2 << 20)})
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that couriers have started; every file is worth one."""
    processes: list[Any] = []
    begin = subprocess.Popen

    def popen(command: Any, *arguments: Any, **options: Any) -> Any:
        process = begin(command, *arguments, **options)
        if courier._BEGIN in command:
            processes.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(courier, "MANY", 0)
    return processes


@pytest.fixture
def running(server: LocalIndex, started: list[Any]) -> Iterator[Callable[..., Courier]]:
    made: list[Courier] = []

    def start(**settings: Any) -> Courier:
        known = {"url": server.url, "retries": 0, "timeout": 5, **settings}
        made.append(Courier(Settings(**known)))
        assert made[-1].takes(courier.LARGE)
        return made[-1]

    yield start
    for one in made:
        one.close()


def file_url(server: LocalIndex) -> str:
    return server.url.replace("/simple/", f"/files/{NAME}")


def fetch(place: Path, server: LocalIndex, retries: int = 0) -> Fetched:
    settings = Settings(url=server.url, retries=retries, timeout=5)
    with Index(settings, place / "downloads", place / "cache") as index:
        return index.file(index.page(canonicalize_name("demo")).result()[0]).result()


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


def test_it_brings_what_a_client_brings(server: LocalIndex, running: Callable[..., Courier], tmp_path: Path) -> None:
    entry = server.files[NAME]
    target = tmp_path / "\udce4 \n.whl"  # a directory of any name
    assert running().download(file_url(server), target, entry.sha256, entry.size) == entry.sha256
    assert sha256_of(target) == entry.sha256


@pytest.mark.parametrize(
    ("fault", "size", "place"),
    [
        (Fault(404, times=None), None, "got"),
        (Fault(401, times=None), None, "got"),
        (Fault(corrupt=True, times=None), None, "got"),
        (Fault(truncate_at=100, times=None), None, "got"),
        (Fault(), 100, "got"),
        (Fault(), None, "none/got"),
    ],
)
def test_what_fails_is_told_as_a_client_tells_it(
    server: LocalIndex,
    running: Callable[..., Courier],
    tmp_path: Path,
    fault: Fault,
    size: int | None,
    place: str,
) -> None:
    def told(by: Client | Courier) -> tuple[type, str]:
        server.fail = {NAME: fault}
        with pytest.raises(PipmirrorError) as caught:
            by.download(file_url(server), tmp_path / place, server.files[NAME].sha256, size)
        (tmp_path / place).unlink(missing_ok=True)  # what has come is gone on with
        return caught.type, str(caught.value)

    assert told(running()) == told(Client(Settings(url=server.url, retries=0, timeout=5)))


def test_what_it_cannot_do_is_done_without_it(
    server: LocalIndex, running: Callable[..., Courier], tmp_path: Path
) -> None:
    """For want of memory, say; and a bug shows itself here, with all that leads to it."""
    one = running()
    with pytest.raises(Gone):
        one.download(file_url(server), tmp_path / "got", "", "many")  # type: ignore[arg-type]
    assert one.download(file_url(server), tmp_path / "got", "", None) == server.files[NAME].sha256


def test_less_memory_than_it_needs(
    server: LocalIndex, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\nulimit -v 60000\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert len(started) == 1


def test_it_reads_a_wheel_as_we_do(tmp_path: Path, running: Callable[..., Courier]) -> None:
    wheel = make_wheel(tmp_path / "more", "units", "1.0", requires=["dep>=1 ; extra == 'ü'"], extras={"ü": []})
    assert running().checked_metadata(wheel, wheel.name) == wheels._check_metadata(wheel, wheel.name)


@pytest.mark.parametrize("content", [None, b"", b"PK no archive", "another's"])
def test_what_is_no_wheel_is_told_as_we_tell_it(
    server: LocalIndex, running: Callable[..., Courier], tmp_path: Path, content: bytes | str | None
) -> None:
    wheel = tmp_path / "dep-1.0-py3-none-any.whl"
    if isinstance(content, bytes):
        wheel.write_bytes(content)
    elif content:
        wheel.write_bytes(server.files[NAME].path.read_bytes())

    def told(read: wheels.Check) -> tuple[type, str]:
        with pytest.raises((PipmirrorError, OSError)) as caught:
            read(wheel, wheel.name)
        return caught.type, str(caught.value)

    assert told(running().checked_metadata) == told(wheels._check_metadata)


def test_a_run_lets_it_read_what_it_has_brought(
    server: LocalIndex, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.core_metadata = False
    monkeypatch.setattr(wheels, "_check_metadata", lambda *_: pytest.fail("it was opened here"))
    settings = Settings(url=server.url, retries=0, timeout=5)
    with Index(settings, tmp_path / "downloads", tmp_path / "cache") as index:
        candidate = index.page(canonicalize_name("demo")).result()[0]
        assert index.metadata(candidate, likely=True).result().name == "demo"
    assert len(started) == 1


@pytest.mark.parametrize("own", [True, False])
def test_its_credentials_are_seen_by_nobody_else(
    server: LocalIndex, running: Callable[..., Courier], started: list[Any], tmp_path: Path, own: bool
) -> None:
    server.username, server.password = USER, SECRET
    sent = running(**({} if own else {"username": USER, "password": SECRET}))
    sent.download(file_url(server), tmp_path / "got", "", None, (USER, SECRET) if own else None)
    about = Path(f"/proc/{started[0].pid}")
    assert SECRET.encode() not in (about / "cmdline").read_bytes() + (about / "environ").read_bytes()
    assert SECRET not in repr(vars(sent))


def test_it_is_started_for_much_only(server: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "MANY", 3 << 20)
    one = Courier(Settings(url=server.url))
    assert not one.takes(2 << 20)
    assert one._process is None
    assert one.takes(None)
    assert one._process
    one.close()
    assert not one.takes(courier.LARGE)


def test_small_files_do_not_wait_until_it_is_there(running: Callable[..., Courier]) -> None:
    one = running()
    one._is_ready.clear()
    assert not one.takes(courier.LARGE - 1)
    assert one.takes(courier.LARGE)
    one._is_ready.set()
    assert one.takes(courier.LARGE - 1)


def test_a_run_uses_it_and_ends_it(server: LocalIndex, started: list[Any], tmp_path: Path) -> None:
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_when_it_is_killed_what_it_has_brought_is_gone_on_with(
    server: LocalIndex, started: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail = {f"/files/{NAME}": Fault(truncate_at=1 << 20, stall=30)}

    def kill() -> None:
        eventually(lambda: any(part.stat().st_size >= 1 << 20 for part in tmp_path.rglob("*.part")))
        started[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    fetched = fetch(tmp_path, server)
    killer.join()
    assert sha256_of(fetched.path) == server.files[NAME].sha256
    assert [request.status for request in server.requests_of(NAME)] == [200, 206]
    assert "has ended, going on without it: status -9" in caplog.text


def test_what_is_under_way_ends_with_the_run(
    server: LocalIndex, running: Callable[..., Courier], started: list[Any], tmp_path: Path
) -> None:
    server.fail = {f"/files/{NAME}": Fault(stall=30)}
    one = running()
    threading.Timer(0.5, one.close).start()
    with pytest.raises(Gone):
        one.download(file_url(server), tmp_path / "got", "", None)
    assert started[0].returncode == -signal.SIGKILL
    with pytest.raises(Gone):
        one.download(file_url(server), tmp_path / "got", "", None)


def test_it_ends_when_whoever_started_it_is_killed(server: LocalIndex, tmp_path: Path) -> None:
    begin = f"""
import sys, time
sys.path.insert(0, {str(UTILS)!r})
from pathlib import Path
from pipmirror_lib import courier, wheels
from pipmirror_lib.settings import Index
courier.MANY = 0
one = courier.Courier(Index(url={server.url!r}))
one.takes(courier.LARGE)
print(one._process.pid, flush=True)
one.download({file_url(server)!r}, Path({str(tmp_path / "got")!r}), "", None)
"""
    server.fail = {f"/files/{NAME}": Fault(truncate_at=1, stall=60)}
    with subprocess.Popen([sys.executable, "-c", begin], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        eventually(lambda: bool(server.requests_of(NAME)))
        assert os.getsid(pid) == pid  # a terminal's Ctrl-C does not reach it
        starter.kill()
    eventually(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    """Whether it does more than wait to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_stands_still_is_ended_and_done_without(
    server: LocalIndex,
    started: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(courier, "SILENCE", 2.0)
    server.fail = {f"/files/{NAME}": Fault(truncate_at=1 << 20, stall=30)}

    def stop() -> None:
        eventually(lambda: any(part.stat().st_size >= 1 << 20 for part in tmp_path.rglob("*.part")))
        started[0].send_signal(signal.SIGSTOP)

    stopper = threading.Thread(target=stop)
    stopper.start()
    fetched = fetch(tmp_path, server)
    stopper.join()
    assert sha256_of(fetched.path) == server.files[NAME].sha256
    assert [request.status for request in server.requests_of(NAME)] == [200, 206]
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert "has ended, going on without it" in caplog.text


def test_a_server_that_keeps_it_waiting_is_waited_for(
    server: LocalIndex, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still no longer than the server does, and tells that it is there."""
    monkeypatch.setattr(courier, "SILENCE", 1.5)
    server.fail = {f"/files/{NAME}": Fault(stall=4)}
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert len(server.requests_of(NAME)) == 1


def test_it_can_be_closed_while_it_stands_still(
    server: LocalIndex, running: Callable[..., Courier], started: list[Any], tmp_path: Path
) -> None:
    """Also where it is being told more than fits into a pipe."""
    one = running()
    started[0].send_signal(signal.SIGSTOP)
    threading.Timer(0.5, one.close).start()
    with pytest.raises(Gone):
        one.download(file_url(server) + "?" + "x" * (1 << 20), tmp_path / "got", "", None)


STARTER = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(UTILS)!r})
from pipmirror_lib import children, courier
from pipmirror_lib.settings import Index
alone, url, target = sys.argv[1:]
if alone:
    children._usable = lambda wrapper: ()
courier.MANY = 0
one = courier.Courier(Index(url=url))
one.takes(courier.LARGE)
other = os.fork()  # which has a copy of every pipe
if not other:
    time.sleep(60)
    os._exit(0)
print(one._process.pid, other, flush=True)
one.download(url, Path(target), "", None)
"""


@pytest.mark.parametrize(
    ("alone", "stopped"),
    [("", False), ("alone", False), pytest.param("", True, marks=needs_setpriv)],
    ids=["seen by the system", "seen by itself", "while it stands still"],
)
def test_it_ends_although_somebody_else_has_the_pipe(
    server: LocalIndex, tmp_path: Path, alone: str, stopped: bool
) -> None:
    """A process that Salt has forked meanwhile lives on; what it has inherited keeps nothing alive."""
    server.fail = {f"/files/{NAME}": Fault(truncate_at=1, stall=60)}
    command = [sys.executable, "-c", STARTER, alone, file_url(server), str(tmp_path / "got")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        pid, other = map(int, starter.stdout.readline().split())
        eventually(lambda: bool(server.requests_of(NAME)))
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        starter.kill()
        try:
            eventually(lambda: not _runs(pid))
            assert _runs(other)
        finally:
            os.kill(other, signal.SIGKILL)


def test_what_is_cut_short_is_its_end(server: LocalIndex, running: Callable[..., Courier], tmp_path: Path) -> None:
    """Whoever is killed while he says something has not said it, and waits for nothing that is under way."""
    server.fail = {f"/files/{NAME}": Fault(stall=30)}
    one = running()
    process = one._process
    assert process
    assert process.stdin

    def cut() -> None:
        eventually(one._is_ready.is_set)
        process.stdin.write("[1, 2")
        process.stdin.close()

    threading.Timer(0.5, cut).start()
    with pytest.raises(Gone):
        one.download(file_url(server), tmp_path / "got", "", None)


NOISE = """
import os, threading, time
os.write(1, b"\\xff{}\\n[1, 2]\\n[0]\\nno line")
def more():
    for _ in range(100):
        time.sleep(0.01)
        print("more of it")
threading.Thread(target=more, daemon=True).start()
"""


def test_what_others_write_to_its_output_is_not_heard(
    server: LocalIndex, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python runs what a site has put there (.pth, sitecustomize) before it runs anything of ours."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOISE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    server.fail = {f"/files/{NAME}": Fault(stall=2)}
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert len(server.requests_of(NAME)) == 1
    assert len(started) == 1


def test_nonsense_ends_it(
    server: LocalIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho '{courier._SIGN.strip()}'\necho '[7]'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(courier, "MANY", 0)
    monkeypatch.setattr(sys, "executable", str(program))
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert "going on without it: nobody understands what it says" in caplog.text


@pytest.mark.parametrize("name", ["json.py", "requests.py", "pipmirror_lib.py"])
def test_nothing_in_the_current_directory_is_run(
    server: LocalIndex,
    running: Callable[..., Courier],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Whoever runs salt-call may stand in /tmp."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / name).write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(tmp_path / "here")
    assert running().download(file_url(server), tmp_path / "got", "", None) == server.files[NAME].sha256
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/pip"),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        requests.ConnectionError("no more"),
        MirrorError("cannot write"),
    ],
)
def test_faults_of_the_system_are_told_as_such(error: Exception) -> None:
    kind, said = json.loads(json.dumps(courier._told(error)))
    told = courier._KINDS[kind](*said)
    assert str(told) == str(error)
    assert isinstance(told, OSError) == isinstance(error, OSError)


@pytest.mark.parametrize("program", ["/bin/false", "/nonexistent", ""])
def test_where_it_does_not_start_files_come_all_the_same(
    server: LocalIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
) -> None:
    monkeypatch.setattr(courier, "MANY", 0)
    monkeypatch.setattr(sys, "executable", program)
    assert fetch(tmp_path, server).sha256 == server.files[NAME].sha256
    assert "the process for downloads has ended, going on without it" in caplog.text


def test_it_is_this_very_library(
    server: LocalIndex, running: Callable[..., Courier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Salt's loader has it on the path only while it executes a module, and an older one may be installed."""
    (tmp_path / "other" / "pipmirror_lib").mkdir(parents=True)
    (tmp_path / "other" / "pipmirror_lib" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other"), *(p for p in sys.path if Path(p) != UTILS)])
    assert running().download(file_url(server), tmp_path / "got", "", None) == server.files[NAME].sha256
