"""
Ask a Docker engine whether it answers and what it runs, and start and stop one where no init system does it.

Meant for containers, chroots and test machines; where there is an init system, ``service.running`` is the
right tool.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import socket as _socket
import struct
import subprocess
import time
from pathlib import Path

import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "docker_engine"

SOCKET = "/var/run/docker.sock"
LOG = "/var/log/docker.log"
PIDFILE = "/var/run/docker.pid"
EXEC_ROOT = "/var/run/docker"

_PING_SECONDS = 5
_ANSWER_SECONDS = 60
_POLL_SECONDS = 0.1
_LOG_LINES = 15


def __virtual__() -> str | tuple[bool, str]:
    if not hasattr(_socket, "AF_UNIX"):
        return False, "docker_engine needs Unix sockets, which this platform does not offer"
    return __virtualname__


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket: the only transport that an engine always offers."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ping(socket: str = SOCKET) -> bool:
    """
    Tell whether a Docker engine answers on a socket.

    socket : /var/run/docker.sock
        Path (string) of the engine's Unix socket.

    Returns ``True`` if it answers ``/_ping`` with success within 5 seconds, else ``False``: a missing socket,
    a dead one and one that we may not open are all the same to a caller who wants an engine.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_engine.ping
        salt '*' docker_engine.ping socket=/run/user/1000/docker.sock
    """
    connection = _UnixConnection(socket, _PING_SECONDS)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def containers(socket: str = SOCKET) -> list[str]:
    """
    Name the containers that run.

    socket : /var/run/docker.sock
        Path (string) of the engine's Unix socket.

    Returns their names, sorted; none where no engine listens.

    Raises ``CommandExecutionError`` if one listens, but does not answer that question: it may be busy, and run some.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_engine.containers
    """
    connection = _UnixConnection(socket, _ANSWER_SECONDS)
    try:
        connection.request("GET", "/containers/json")
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != http.client.OK:
            raise CommandExecutionError(f"The engine on {socket} does not tell its containers: {answer}")
        return sorted(one["Names"][0].lstrip("/") for one in answer)
    except (FileNotFoundError, ConnectionRefusedError):
        return []
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CommandExecutionError(f"The engine on {socket} does not tell its containers: {error}") from error
    finally:
        connection.close()


def purge(directories: list[str], test: bool = False) -> list[str]:
    """
    Remove what an engine that has ended kept in its directories.

    directories
        Their paths (list). Links are followed; of what has a disk of its own, only the content goes.

    test : False
        ``True`` (boolean) only tells what would be removed.

    Returns those that had something to be removed.

    Raises ``CommandExecutionError`` if anything is mounted below one of them, as an engine that was killed leaves the
    volumes of its containers: those would be emptied too. Nothing is removed then.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_engine.purge '["/var/lib/docker"]' test=True
    """
    there = [path for path in directories if os.path.isdir(path) and (os.listdir(path) or not os.path.ismount(path))]
    if test:
        return there
    mounted = _mounted_below(there)
    if mounted:
        raise CommandExecutionError(f"Still mounted: {', '.join(mounted)}; unmount that first, nothing was removed")
    try:
        for path in there:
            _remove(Path(path))
    except OSError as error:
        raise CommandExecutionError(f"Not everything could be removed: {error}") from error
    return there


def _mounted_below(directories: list[str]) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    # The kernel writes blanks as octal numbers there.
    plain = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point) for point in points]
    below = tuple(os.path.join(os.path.realpath(directory), "") for directory in directories)
    return sorted(point for point in plain if point.startswith(below))


def _remove(directory: Path) -> None:
    real = directory.resolve()
    for entry in list(os.scandir(real)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    if not os.path.ismount(real):
        real.rmdir()
        if directory.is_symlink():
            directory.unlink()


def sdk() -> str:
    """
    Tell which version of the Docker SDK the Python has that runs Salt.

    Returns the version, or an empty string where there is none.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_engine.sdk
    """
    try:
        return importlib.metadata.version("docker")
    except importlib.metadata.PackageNotFoundError:
        return ""


def start(
    command: str = "dockerd",
    socket: str = SOCKET,
    timeout: float = 60,
    log: str = LOG,
    pidfile: str = PIDFILE,
    exec_root: str = EXEC_ROOT,
) -> bool:
    """
    Start a Docker engine in the background and wait until it answers.

    The engine gets a session of its own and so survives the caller. Nothing is ever killed: neither an engine
    that takes too long, nor one that runs and does not answer.

    command : dockerd
        The program with its arguments (string, split like a shell does, run without one).

    socket : /var/run/docker.sock
        Path (string) of the Unix socket on which the engine will answer; has to agree with ``command``.

    timeout : 60
        Seconds (number) to wait for an answer.

    log : /var/log/docker.log
        File (string) to which the engine's output is appended.

    pidfile : /var/run/docker.pid
        File (string) with the engine's process id; has to agree with ``command``.

    exec_root : /var/run/docker
        Directory (string) of the engine's run-time files; has to agree with ``command``.

    Stale process id files, the engine's and its containerd's, are removed: after a crash or a reboot the
    number may belong to some other process, and the engine would refuse to start for good.

    Returns ``True`` if an engine was started, ``False`` if one answered already.

    Raises ``CommandExecutionError`` if the program is missing, ends, or does not answer in time; the message
    has the last lines that it logged.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_engine.start
        salt '*' docker_engine.start command='dockerd --iptables=false' timeout=120
    """
    if ping(socket):
        return False
    _remove_if_stale(Path(pidfile), "dockerd")
    _remove_if_stale(Path(exec_root, "containerd", "containerd.pid"), "containerd")
    # Elsewhere an init system would make it.
    Path(socket).parent.mkdir(mode=0o700, exist_ok=True)
    offset = _size(Path(log))
    process = _spawn(command, Path(log))
    problem = _wait(process, socket, timeout, Path(pidfile))
    if problem:
        raise CommandExecutionError(f"{command} {problem}; {log} ends:\n{_tail(Path(log), offset)}")
    return True


def stop(socket: str = SOCKET, timeout: float = 60) -> bool:
    """
    Stop an engine that no init system looks after, and with it every container that it runs.

    It is asked to end, never killed.

    socket : /var/run/docker.sock
        Path (string) of the Unix socket on which the engine answers.

    timeout : 60
        Seconds (number) to wait until it has ended.

    Returns ``True`` if an engine was stopped, ``False`` if none answered.

    Raises ``CommandExecutionError`` if an init system listens for the engine, or if it does not end.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_engine.stop
    """
    if not ping(socket):
        return False
    pid = _listener(socket)
    if pid <= 1:
        raise CommandExecutionError(
            f"The engine on {socket} belongs to an init system or another container: stop it there"
        )
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while _process(pid):
        if time.monotonic() > deadline:
            raise CommandExecutionError(f"The engine (process {pid}) did not end within {timeout} s")
        time.sleep(_POLL_SECONDS)
    return True


def _listener(socket: str) -> int:
    """The process that listens there: of a connection, the kernel knows who is at the other end."""
    with _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM) as connection:
        connection.connect(socket)
        return int(struct.unpack("3i", connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))[0])


def _remove_if_stale(pidfile: Path, program: str) -> None:
    # An empty one is just being written by somebody.
    if _size(pidfile) and not _is_alive(pidfile, program):
        # Where this fails, dockerd refuses to start and says why.
        with contextlib.suppress(OSError):
            pidfile.unlink()


def _is_alive(pidfile: Path, program: str) -> bool:
    """Does the file name a live process of that program?"""
    try:
        pid = int(pidfile.read_text())
    except (OSError, ValueError):
        return False
    # The kernel keeps 15 characters of a name.
    return _process(pid) == program[:15]


def _process(pid: int) -> str:
    """The name of that process, '' where it lives no more. A zombie does not, though /proc still lists it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    match = re.match(r"\d+ \((?P<program>.*)\) (?P<state>\S)", stat, re.DOTALL)
    return match["program"] if match and match["state"] not in "ZX" else ""


def _spawn(command: str, log: Path) -> subprocess.Popen[bytes]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise CommandExecutionError(f"{command} cannot be split into arguments: {error}") from error
    # Salt's own search: it knows the sbin directories even where PATH does not.
    program = salt.utils.path.which(arguments[0]) if arguments else None
    if not program:
        raise CommandExecutionError(f"{command or 'The empty command'} is not installed")
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                [program, *arguments[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
    except OSError as error:
        raise CommandExecutionError(f"{program} could not be started: {error}") from error


def _wait(process: subprocess.Popen[bytes], socket: str, timeout: float, pidfile: Path) -> str:
    """Why no engine answers, or '' once one does."""
    deadline = time.monotonic() + timeout
    while not ping(socket):
        # The package's own start script may have been quicker: then ours gives way, and theirs will answer.
        if process.poll() is not None and not _is_alive(pidfile, "dockerd"):
            return f"ended with status {process.returncode}"
        if time.monotonic() > deadline:
            return f"(process {process.pid}) did not answer on {socket} within {timeout} s"
        time.sleep(_POLL_SECONDS)
    return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tail(path: Path, offset: int) -> str:
    with path.open("rb") as log:
        log.seek(offset)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if "level=info" not in line][-_LOG_LINES:])
