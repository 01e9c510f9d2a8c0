"""The module and the state docker_engine: real sockets, real processes, a small stand-in for dockerd."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from salt.exceptions import CommandExecutionError

from _modules import docker_engine
from _states import docker_engine as state

# A stand-in that runs on while its starter forgets it is the very purpose.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

REPOSITORY = Path(docker_engine.__file__).parents[1]

# Called `dockerd SOCKET PIDFILE MODE`. Like the real one it refuses to start over a pid file.
DOCKERD = f"""#!{sys.executable}
import os, signal, socket, sys, time
path, pidfile, mode = sys.argv[1:]
print("first line", *range(40), sep="\\n")
if os.path.exists(pidfile):
    sys.exit("pid file found, ensure docker is not running or delete " + pidfile)
if mode == "fail":
    sys.exit("no such storage driver\\ntime=now level=info msg=bye")
with open(pidfile, "w") as file:
    file.write(str(os.getpid()))
if mode == "quit":
    sys.exit()
if mode == "silent":
    time.sleep(60)
if mode == "slow":
    time.sleep(0.6)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: (os.unlink(pidfile), os.unlink(path), os._exit(0)))
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
while True:
    connection, _ = server.accept()
    if connection.recv(4096):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nOK")
    connection.close()
"""


class Engine:
    """A directory with a stand-in for dockerd, and what `start` has to know of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = directory / "dockerd"
        self.program.write_text(DOCKERD)
        self.program.chmod(0o755)
        self.socket = str(directory / "sock")
        self.log = directory / "log"
        self.pidfile = directory / "pid"
        self.containerd_pidfile = directory / "containerd" / "containerd.pid"

    def command(self, mode: str = "serve") -> str:
        return f"{self.program} {self.socket} {self.pidfile} {mode}"

    def start(self, mode: str = "serve", timeout: float = 10, command: str = "") -> bool:
        return docker_engine.start(
            command=command or self.command(mode),
            socket=self.socket,
            timeout=timeout,
            log=str(self.log),
            pidfile=str(self.pidfile),
            exec_root=str(self.directory),
        )

    def launch(self, mode: str) -> subprocess.Popen[bytes]:
        """Start the stand-in behind our back."""
        command = [self.program, self.socket, self.pidfile, mode]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())


@pytest.fixture
def short_path() -> Iterator[Path]:
    """The path of a Unix socket may have 107 bytes, which tmp_path uses up easily."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def engine(short_path: Path) -> Iterator[Engine]:
    engine = Engine(short_path)
    yield engine
    # Stand-ins outlive their starter, by design; each one wrote its number down.
    if engine.pidfile.exists() and docker_engine._is_alive(engine.pidfile, "dockerd"):
        os.kill(engine.pid, signal.SIGTERM)


@pytest.fixture
def answering(short_path: Path) -> Iterator[Callable[[bytes | None], str]]:
    """A function that makes a socket whose server sends these bytes to whoever connects; None: nothing."""
    server = socket.socket(socket.AF_UNIX)
    accepted = []

    def serve(reply: bytes | None) -> None:
        connection, _ = server.accept()
        accepted.append(connection)
        connection.recv(4096)
        if reply is not None:
            connection.sendall(reply)
            connection.close()

    def listen(reply: bytes | None) -> str:
        path = str(short_path / "s")
        server.bind(path)
        server.listen()
        threading.Thread(target=serve, args=[reply], daemon=True).start()
        return path

    yield listen
    for connection in [server, *accepted]:
        connection.close()


class TestPing:
    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", True, id="engine"),
            pytest.param(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False, id="broken engine"),
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", False, id="something else"),
            pytest.param(b"", False, id="hangs up"),
        ],
    )
    def test_tells_an_engine_by_its_answer(
        self, answering: Callable[[bytes | None], str], reply: bytes, expected: bool
    ) -> None:
        assert docker_engine.ping(answering(reply)) is expected

    def test_does_not_wait_for_ever(
        self, answering: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(docker_engine, "_PING_SECONDS", 0.2)
        assert docker_engine.ping(answering(None)) is False

    def test_missing_socket(self, short_path: Path) -> None:
        assert docker_engine.ping(str(short_path / "none")) is False

    def test_socket_that_nobody_serves(self, short_path: Path) -> None:
        path = str(short_path / "dead")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
        assert docker_engine.ping(path) is False

    def test_path_too_long_for_a_socket(self, short_path: Path) -> None:
        assert docker_engine.ping(str(short_path / ("x" * 200))) is False


class TestStart:
    def test_starts_and_waits_for_the_answer(self, engine: Engine) -> None:
        assert engine.start("slow") is True
        assert docker_engine.ping(engine.socket)
        assert "first line" in engine.log.read_text()

    def test_leaves_an_engine_that_answers_alone(self, engine: Engine) -> None:
        engine.start()
        pid = engine.pid
        assert engine.start(command="no-such-program") is False
        assert engine.pid == pid

    def test_survives_its_caller(self, engine: Engine) -> None:
        arguments = (engine.command(), engine.socket, 10, str(engine.log), str(engine.pidfile))
        code = f"from _modules import docker_engine; docker_engine.start{arguments!r}"
        subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
        assert docker_engine.ping(engine.socket)
        assert os.getsid(engine.pid) == engine.pid

    def test_says_how_a_failed_start_ended(self, engine: Engine) -> None:
        engine.log.write_text("yesterday's trouble\n")
        with pytest.raises(CommandExecutionError) as raised:
            engine.start("fail")
        message = str(raised.value)
        assert "ended with status 1" in message
        assert str(engine.log) in message
        assert message.endswith("39\nno such storage driver")
        assert "yesterday" not in message
        assert "first line" not in message

    def test_does_not_kill_what_takes_too_long(self, engine: Engine) -> None:
        with pytest.raises(CommandExecutionError, match=r"did not answer on .*/sock within 0\.5 s"):
            engine.start("silent", timeout=0.5)
        assert docker_engine._is_alive(engine.pidfile, "dockerd")

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ("no-such-program --debug", "no-such-program --debug is not installed"),
            ("", "The empty command is not installed"),
            ("dockerd 'half", "cannot be split into arguments"),
        ],
    )
    def test_missing_program(self, engine: Engine, command: str, message: str) -> None:
        with pytest.raises(CommandExecutionError, match=message):
            docker_engine.start(command, engine.socket, log=str(engine.log), pidfile=str(engine.pidfile))

    def test_makes_the_sockets_directory(self, engine: Engine) -> None:
        engine.socket = str(engine.directory / "run" / "sock")
        engine.start()
        assert Path(engine.socket).parent.stat().st_mode & 0o777 == 0o700

    def test_log_that_cannot_be_written(self, engine: Engine) -> None:
        engine.log = engine.directory / "none" / "log"
        with pytest.raises(CommandExecutionError, match=r"could not be started: .*No such file"):
            engine.start()


class TestStop:
    def stop(self, engine: Engine, timeout: float = 10) -> bool:
        return docker_engine.stop(engine.socket, timeout)

    def test_ends_what_runs(self, engine: Engine) -> None:
        engine.start()
        assert self.stop(engine) is True
        assert not docker_engine.ping(engine.socket)
        assert self.stop(engine) is False

    def test_does_not_kill_what_takes_too_long(self, engine: Engine) -> None:
        engine.start("stubborn")
        with pytest.raises(CommandExecutionError, match=r"did not end within 0\.3 s"):
            self.stop(engine, 0.3)
        assert docker_engine.ping(engine.socket)
        os.kill(engine.pid, signal.SIGKILL)

    def test_an_engine_of_an_init_system(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        engine.start()
        monkeypatch.setattr(docker_engine, "_listener", lambda socket: 1)
        with pytest.raises(CommandExecutionError, match="belongs to an init system"):
            self.stop(engine)
        assert docker_engine.ping(engine.socket)

    def test_knows_who_listens(self, engine: Engine) -> None:
        engine.start()
        assert docker_engine._listener(engine.socket) == engine.pid


def _reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class TestContainers:
    def test_their_names(self, answering: Callable[[bytes | None], str]) -> None:
        body = b'[{"Names": ["/web"]}, {"Names": ["/db", "/web/db"]}]'
        assert docker_engine.containers(answering(_reply(body))) == ["db", "web"]

    @pytest.mark.parametrize(
        "reply",
        [_reply(b'{"message": "no"}', b"500 Oops"), _reply(b"no JSON"), b"SSH-2.0-OpenSSH_9.2\r\n", b""],
    )
    def test_an_engine_that_does_not_tell(self, answering: Callable[[bytes | None], str], reply: bytes) -> None:
        with pytest.raises(CommandExecutionError, match="does not tell its containers"):
            docker_engine.containers(answering(reply))

    def test_an_engine_that_is_too_busy_may_run_some(
        self, answering: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(docker_engine, "_ANSWER_SECONDS", 0.1)
        with pytest.raises(CommandExecutionError, match="does not tell its containers: timed out"):
            docker_engine.containers(answering(None))

    def test_no_engine_runs_none(self, short_path: Path) -> None:
        assert docker_engine.containers(str(short_path / "none")) == []
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(short_path / "s"))
        assert docker_engine.containers(str(short_path / "s")) == []


class TestPurge:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        (tmp_path / "docker" / "volumes" / "a b").mkdir(parents=True)
        (tmp_path / "docker" / "engine-id").write_text("1")
        (tmp_path / "precious").mkdir()
        (tmp_path / "docker" / "elsewhere").symlink_to(tmp_path / "precious")
        return tmp_path / "docker"

    @pytest.fixture(autouse=True)
    def mounts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        points: list[str] = []
        read, table = Path.read_text, tmp_path / "mounts"

        def read_text(path: Path) -> str:
            table.write_text("".join(f"/dev/sda {point} ext4 rw 0 0\n" for point in points))
            return read(table if str(path) == "/proc/self/mounts" else path)

        monkeypatch.setattr(Path, "read_text", read_text)
        monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in points)
        return points

    def test_everything(self, data: Path, tmp_path: Path) -> None:
        both = [str(data), str(tmp_path / "none")]
        assert docker_engine.purge(both, test=True) == [str(data)]
        assert data.exists()
        assert docker_engine.purge(both) == [str(data)]
        assert (data.exists(), (tmp_path / "precious").exists()) == (False, True)
        assert docker_engine.purge(both) == []

    def test_where_a_link_leads(self, data: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(data)
        assert docker_engine.purge([str(link)]) == [str(link)]
        assert (data.exists(), link.is_symlink()) == (False, False)

    def test_a_disk_of_its_own(self, data: Path, mounts: list[str]) -> None:
        mounts.append(str(data))
        assert docker_engine.purge([str(data)]) == [str(data)]
        assert list(data.iterdir()) == []
        assert docker_engine.purge([str(data)]) == []

    def test_volumes_of_others(self, data: Path, mounts: list[str]) -> None:
        mounts += ["/", f"{data}-too/x", f"{data}/volumes/a\\040b"]
        with pytest.raises(CommandExecutionError, match=r"Still mounted: .*/docker/volumes/a b; unmount that first"):
            docker_engine.purge([str(data)])
        assert (data / "engine-id").exists()

    def test_what_cannot_be_removed(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def rmtree(path: str) -> None:
            raise PermissionError(13, "Operation not permitted", path)

        monkeypatch.setattr("shutil.rmtree", rmtree)
        with pytest.raises(CommandExecutionError, match=r"Not everything could be removed: .*not permitted"):
            docker_engine.purge([str(data)])


def test_sdk() -> None:
    assert docker_engine.sdk() == importlib.metadata.version("docker")


class TestPidFiles:
    """dockerd takes any live process of the number in such a file for its predecessor, and does not start."""

    @pytest.mark.parametrize("content", [str(os.getpid()), "\0\0\0\0", "self"])
    def test_a_stale_one_is_removed(self, engine: Engine, content: str) -> None:
        engine.pidfile.write_text(content)
        assert engine.start() is True

    def test_containerds_too(self, engine: Engine) -> None:
        engine.containerd_pidfile.parent.mkdir()
        engine.containerd_pidfile.write_text(str(os.getpid()))
        engine.start()
        assert not engine.containerd_pidfile.exists()

    def test_a_zombie_is_no_engine(self, engine: Engine) -> None:
        zombie = engine.launch("quit")
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert engine.pid == zombie.pid
        assert engine.start() is True
        zombie.wait()

    def test_a_start_by_somebody_else_is_awaited(self, engine: Engine) -> None:
        other = engine.launch("slow")
        while not docker_engine._is_alive(engine.pidfile, "dockerd"):
            time.sleep(0.01)
        engine.start()
        assert docker_engine.ping(engine.socket)
        assert engine.pid == other.pid
        assert "pid file found" in engine.log.read_text()
        other.kill()
        other.wait()


@pytest.mark.parametrize("present", [True, False])
def test_module_needs_unix_sockets(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    if not present:
        monkeypatch.delattr(socket, "AF_UNIX")
    assert (docker_engine.__virtual__() == "docker_engine") is present


class TestState:
    @pytest.fixture(autouse=True)
    def dunders(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        def start(**arguments: str) -> bool:
            paths = {"log": engine.log, "pidfile": engine.pidfile, "exec_root": engine.directory}
            return docker_engine.start(**arguments, **{name: str(path) for name, path in paths.items()})

        functions = {
            "ping": docker_engine.ping,
            "start": start,
            "stop": docker_engine.stop,
            "containers": lambda socket: self.running,
        }
        functions = {f"docker_engine.{name}": function for name, function in functions.items()}
        monkeypatch.setattr(state, "__salt__", functions, raising=False)
        monkeypatch.setattr(state, "__opts__", {"test": False}, raising=False)

    @pytest.fixture
    def testing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(state.__opts__, "test", True)

    def test_starts_once(self, engine: Engine) -> None:
        first = state.running("docker", engine.socket, 10, engine.command())
        assert first["result"] is True
        assert first["changes"] == {"docker": {"old": "stopped", "new": "running"}}
        second = state.running("docker", engine.socket, 10, engine.command())
        assert second["result"] is True
        assert second["changes"] == {}

    def test_failure(self, engine: Engine) -> None:
        result = state.running("docker", engine.socket, 10, engine.command("fail"))
        assert result["result"] is False
        assert result["changes"] == {}
        assert "no such storage driver" in result["comment"]

    running: ClassVar[list[str]] = []

    def test_restarts_when_watched(self, engine: Engine) -> None:
        engine.start()
        before = engine.pid
        result = state.mod_watch("docker", engine.socket, 10, engine.command(), sfun="running")
        assert (result["result"], result["changes"]) == (True, {"docker": {"old": "running", "new": "restarted"}})
        assert engine.pid != before
        assert docker_engine.ping(engine.socket)

    def test_restart_that_fails(self, engine: Engine) -> None:
        engine.start()
        result = state.mod_watch("docker", engine.socket, 10, engine.command("fail"))
        assert (result["result"], result["changes"]) == (False, {})
        assert "no such storage driver" in result["comment"]

    @pytest.mark.usefixtures("testing")
    def test_announces_a_restart(self, engine: Engine) -> None:
        engine.start()
        before = engine.pid
        assert state.mod_watch("docker", engine.socket, 10, engine.command())["result"] is None
        assert engine.pid == before

    def test_stops_once(self, engine: Engine) -> None:
        engine.start()
        first = state.dead("docker", engine.socket, 10)
        assert (first["result"], first["changes"]) == (True, {"docker": {"old": "running", "new": "stopped"}})
        second = state.dead("docker", engine.socket, 10)
        assert (second["result"], second["changes"]) == (True, {})

    @pytest.mark.usefixtures("testing")
    def test_announces_an_end(self, engine: Engine) -> None:
        engine.start()
        assert state.dead("docker", engine.socket)["result"] is None
        assert docker_engine.ping(engine.socket)

    @pytest.mark.parametrize(
        ("running", "force", "result", "words"),
        [
            ([], False, True, "No container runs"),
            (["web"], False, False, "Containers run (web): stop them, or set docker:force"),
            (["web"], True, True, "Running, and about to be stopped: web"),
            ([f"c{number}" for number in range(7)], False, False, "(c0, c1, c2, c3, c4 and 2 more)"),
        ],
    )
    def test_idle(
        self, monkeypatch: pytest.MonkeyPatch, running: list[str], force: bool, result: bool, words: str
    ) -> None:
        monkeypatch.setattr(type(self), "running", running)
        answer = state.idle("nothing runs", force=force)
        assert (answer["result"], answer["changes"]) == (result, {})
        assert words in answer["comment"]

    def test_what_does_not_answer_is_not_idle_unless_forced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def containers(socket: str) -> list[str]:
            raise CommandExecutionError("The engine does not tell its containers: timed out")

        monkeypatch.setitem(state.__salt__, "docker_engine.containers", containers)
        answer = state.idle("nothing runs")
        assert (answer["result"], "timed out; look after it, or set docker:force" in answer["comment"]) == (False, True)
        assert state.idle("nothing runs", force=True)["result"] is True

    def test_purged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(state.__salt__, "docker_engine.purge", docker_engine.purge)
        data = str(tmp_path / "data")
        os.mkdir(data)
        monkeypatch.setitem(state.__opts__, "test", True)
        announced = state.purged("data", [data])
        assert (announced["result"], os.path.isdir(data)) == (None, True)
        monkeypatch.setitem(state.__opts__, "test", False)
        done = state.purged("data", [data])
        assert (done["result"], done["changes"], os.path.isdir(data)) == (True, announced["changes"], False)
        again = state.purged("data", [data])
        assert (again["result"], again["changes"]) == (True, {})

    def test_purged_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def purge(directories: list[str], test: bool) -> list[str]:
            raise CommandExecutionError("Still mounted: /x")

        monkeypatch.setitem(state.__salt__, "docker_engine.purge", purge)
        answer = state.purged("data", ["/var/lib/docker"])
        assert (answer["result"], answer["changes"], answer["comment"]) == (False, {}, "Still mounted: /x")

    @pytest.mark.parametrize("problem", ["", "E: Version '9' for 'docker-ce' was not found"])
    def test_fetches_before_others_are_removed(self, monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
        asked = []

        def install(**options: Any) -> dict[str, Any]:
            asked.append(options)
            if problem:
                raise CommandExecutionError(problem)
            return {}

        monkeypatch.setitem(state.__salt__, "pkg.install", install)
        answer = state.fetched("the packages", ["docker-ce"])
        assert (answer["result"], answer["changes"]) == (not problem, {})
        assert problem in answer["comment"]
        assert (asked[0]["pkgs"], asked[0]["downloadonly"]) == (["docker-ce"], True)

    @pytest.mark.usefixtures("testing")
    def test_fetches_nothing_under_test(self) -> None:
        answer = state.fetched("the packages", ["docker-ce"])
        assert (answer["result"], answer["changes"]) == (True, {})

    @pytest.mark.usefixtures("testing")
    def test_announces_without_starting(self, engine: Engine) -> None:
        result = state.running("docker", engine.socket, 10, engine.command())
        assert result["result"] is None
        assert result["changes"]
        assert not engine.log.exists()

    @pytest.mark.usefixtures("testing")
    def test_announces_before_anything_is_installed(self, engine: Engine) -> None:
        assert state.running("docker", engine.socket, command="no-such-program")["result"] is None

    @pytest.mark.usefixtures("testing")
    def test_announces_nothing_when_all_is_well(self, engine: Engine) -> None:
        engine.start()
        result = state.running("docker", engine.socket)
        assert result["result"] is True
        assert result["changes"] == {}

    def test_needs_its_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert state.__virtual__() == "docker_engine"
        monkeypatch.setattr(state, "__salt__", {})
        loaded, reason = state.__virtual__()
        assert loaded is False
        assert "saltutil.sync_all" in reason
