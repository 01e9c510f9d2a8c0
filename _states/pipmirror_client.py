"""
Have this machine's pip and uv install from a mirror.

.. code-block:: yaml

    pip and uv:
      pipmirror_client.configured
"""

from salt.exceptions import SaltException

__virtualname__ = "pipmirror_client"


def __virtual__():
    if "pipmirror_client.configure" in __salt__:
        return __virtualname__
    return False, "the execution module pipmirror_client is not available; run saltutil.sync_all"


def configured(name, **settings):
    """
    Have the system-wide configuration of pip and uv point at the mirror of this machine's platform.

    name
        A name (str) for the state, used for nothing else.

    settings
        Any setting of the pillar key ``pipmirror_client``, see ``pipmirror_client.configure``.

    Returns Salt's usual dictionary; ``changes`` hold a diff for each file.
    """
    return _have(name, settings, "pip and uv install from the mirror")


def absent(name):
    """
    Take back what ``configured`` has written; what the administrator had written there before comes back.

    name
        A name (str) for the state, used for nothing else.

    Returns Salt's usual dictionary; ``changes`` hold a diff for each file.
    """
    return _have(name, {"absent": True}, "Nothing of pipmirror is in the configuration of pip and uv")


def _have(name, settings, comment):
    ret = {"name": name, "changes": {}, "result": True, "comment": comment}
    own = {key: value for key, value in settings.items() if not key.startswith("__")}
    try:
        ret["changes"] = __salt__["pipmirror_client.configure"](test=__opts__["test"], **own)
    except SaltException as error:
        ret.update(result=False, comment=str(error))
        return ret
    if ret["changes"] and __opts__["test"]:
        ret.update(result=None, comment=f"To be written: {', '.join(ret['changes'])}")
    return ret
