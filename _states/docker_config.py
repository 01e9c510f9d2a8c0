"""
Keep some keys of the engine's ``daemon.json`` as they are declared.

.. code-block:: yaml

    /etc/docker/daemon.json:
      docker_config.managed:
        - settings: {log-driver: local}
"""

from __future__ import annotations

from typing import Any

from salt.exceptions import SaltException
from salt.utils.data import traverse_dict_and_list

__virtualname__ = "docker_config"


def __virtual__() -> str | tuple[bool, str]:
    if "docker_config.manage" not in __salt__:
        return False, "the execution module docker_config is not there: run saltutil.sync_all"
    return __virtualname__


def managed(
    name: str, settings: dict[str, Any] | None = None, pillar: str = "", command: str = "dockerd"
) -> dict[str, Any]:
    """
    Make sure that the declared keys have their values, and those that are declared no more their former ones.

    name
        The file (string).

    settings
        Key and value (mapping); ``null`` removes a key. Other keys of the file stay as they are.

    pillar
        The pillar key (string, ``a:b``) that holds the settings, so that they do not show in the state itself.

    command : dockerd
        The engine's program (string), which judges a new file before it takes the place of the old one.

    Returns the usual state dictionary; the changes name keys, without values.
    """
    # Salt 3008's pillar.get has asterisks for values when a state asks it.
    told = settings if settings is not None else traverse_dict_and_list(__pillar__, pillar, None) if pillar else None
    result: dict[str, Any] = {"name": name, "result": True, "changes": {}, "comment": f"{name} is as it is declared"}
    try:
        changes = __salt__["docker_config.manage"](told, path=name, command=command, test=__opts__["test"])
    except SaltException as error:
        return {**result, "result": False, "comment": str(error)}
    if changes:
        words = "would be changed" if __opts__["test"] else "was changed"
        if "not read yet" in changes.values():
            words = "is as it is declared, but the engine was started before that: it has to start anew"
        result.update(result=None if __opts__["test"] else True, changes=changes, comment=f"{name} {words}")
    return result


def absent(name: str) -> dict[str, Any]:
    """
    Take back every key that was ever declared; what an administrator wrote stays.

    name
        The file (string).

    Returns the usual state dictionary; the changes name keys, without values.
    """
    return managed(name)
