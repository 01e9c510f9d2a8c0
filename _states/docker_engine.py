"""
Keep a Docker engine running, or stopped, where no init system does it; and let nothing be done while containers run.

.. code-block:: yaml

    docker:
      docker_engine.running:
        - watch:
          - docker_config: /etc/docker/daemon.json

    nothing runs:
      docker_engine.idle
"""

from __future__ import annotations

from typing import Any

from salt.exceptions import SaltException

__virtualname__ = "docker_engine"


def __virtual__() -> str | tuple[bool, str]:
    if "docker_engine.ping" not in __salt__:
        return False, "the execution module docker_engine is not there: run saltutil.sync_all"
    return __virtualname__


def running(
    name: str,
    socket: str = "/var/run/docker.sock",
    timeout: float = 60,
    command: str = "dockerd",
) -> dict[str, Any]:
    """
    Make sure that a Docker engine answers.

    An engine that answers is left alone, whoever started it and however.

    name
        What to call it (string) in messages.

    socket : /var/run/docker.sock
        Path (string) of the engine's Unix socket.

    timeout : 60
        Seconds (number) to wait until an engine that was started answers.

    command : dockerd
        The program with its arguments (string) that starts the engine.

    Returns the usual state dictionary. Under ``test=True`` nothing is started, and ``command`` need not be
    installed yet.
    """
    if __salt__["docker_engine.ping"](socket):
        return _result(name, True, f"An engine answers on {socket}")
    changes = {name: {"old": "stopped", "new": "running"}}
    if __opts__["test"]:
        return _result(name, None, f"No engine answers on {socket}; {command} would be started", changes)
    try:
        __salt__["docker_engine.start"](command=command, socket=socket, timeout=timeout)
    except SaltException as error:
        return _result(name, False, str(error))
    return _result(name, True, f"{command} was started and answers on {socket}", changes)


def mod_watch(
    name: str,
    socket: str = "/var/run/docker.sock",
    timeout: float = 60,
    command: str = "dockerd",
    sfun: str = "running",
    **_: Any,
) -> dict[str, Any]:
    """
    Restart the engine, because what it was configured with has changed.

    .. note::
        This state exists to support special handling of the ``watch`` requisite. It should not be called directly.

    Takes the arguments of ``running``.
    """
    if sfun != "running":
        return _result(name, True, f"{sfun} has nothing to do when something else changes")
    changes = {name: {"old": "running", "new": "restarted"}}
    if __opts__["test"]:
        return _result(name, None, f"{command} would be restarted", changes)
    try:
        __salt__["docker_engine.stop"](socket=socket, timeout=timeout)
        __salt__["docker_engine.start"](command=command, socket=socket, timeout=timeout)
    except SaltException as error:
        return _result(name, False, str(error))
    return _result(name, True, f"{command} was restarted", changes)


def dead(name: str, socket: str = "/var/run/docker.sock", timeout: float = 60) -> dict[str, Any]:
    """
    Make sure that no Docker engine runs.

    name
        What to call it (string) in messages.

    socket : /var/run/docker.sock
        Path (string) of the engine's Unix socket.

    timeout : 60
        Seconds (number) to wait until it has ended.

    Returns the usual state dictionary.
    """
    if not __salt__["docker_engine.ping"](socket):
        return _result(name, True, f"No engine answers on {socket}")
    changes = {name: {"old": "running", "new": "stopped"}}
    if __opts__["test"]:
        return _result(name, None, f"The engine on {socket} would be stopped", changes)
    try:
        __salt__["docker_engine.stop"](socket=socket, timeout=timeout)
    except SaltException as error:
        return _result(name, False, str(error))
    return _result(name, True, "The engine was stopped", changes)


def idle(name: str, socket: str = "/var/run/docker.sock", force: bool = False) -> dict[str, Any]:
    """
    Fail while an engine runs containers: what requires this state would stop them.

    name
        What to call it (string) in messages.

    socket : /var/run/docker.sock
        Path (string) of the engine's Unix socket.

    force : False
        ``True`` (boolean) lets it succeed all the same.

    Returns the usual state dictionary, never with changes.
    """
    try:
        running = __salt__["docker_engine.containers"](socket)
    except SaltException as error:
        return _result(name, force, f"{error}; look after it, or set docker:force to go on without its answer")
    if not running:
        return _result(name, True, "No container runs")
    names = ", ".join(running[:5]) + (f" and {len(running) - 5} more" if len(running) > 5 else "")
    if force:
        return _result(name, True, f"Running, and about to be stopped: {names}")
    return _result(name, False, f"Containers run ({names}): stop them, or set docker:force to have them stopped")


def purged(name: str, directories: list[str]) -> dict[str, Any]:
    """
    Make sure that nothing is left of what an engine kept in its directories.

    name
        What to call it (string) in messages.

    directories
        Their paths (list). It fails, and removes nothing, while anything is mounted below one of them.

    Returns the usual state dictionary. Under ``test=True`` nothing is said of mounts, which an engine that still runs
    takes down as it ends.
    """
    try:
        found = __salt__["docker_engine.purge"](directories, test=__opts__["test"])
    except SaltException as error:
        return _result(name, False, str(error))
    if not found:
        return _result(name, True, "Nothing is there")
    changes = {directory: {"old": "there", "new": "removed"} for directory in found}
    if __opts__["test"]:
        return _result(name, None, f"{', '.join(found)} would be removed", changes)
    return _result(name, True, f"{', '.join(found)} removed", changes)


def fetched(name: str, pkgs: list[Any]) -> dict[str, Any]:
    """
    Fetch packages without installing them, and fail where they cannot be had, before others are removed for them.

    name
        What to call them (string) in messages.

    pkgs
        Names, or name and version (list), as ``pkg.installed`` takes them.

    For apt, which can fetch what excludes something installed. Returns the usual state dictionary, never with changes:
    the package manager's cache is nobody's concern. Under ``test=True`` nothing is fetched.
    """
    if __opts__["test"]:
        return _result(name, True, f"{name} would be fetched before others are removed")
    try:
        __salt__["pkg.install"](pkgs=pkgs, refresh=True, downloadonly=True, install_recommends=False)
    except SaltException as error:
        return _result(name, False, f"{name} cannot be had, so nothing is removed for them: {error}")
    return _result(name, True, f"{name} are there, to take the place of others")


def _result(name: str, result: bool | None, comment: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}
