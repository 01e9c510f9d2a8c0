"""
Keep a Docker engine running where no init system does it.

.. code-block:: yaml

    docker:
      docker_engine.running
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


def _result(name: str, result: bool | None, comment: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}
