"""
Let this machine's pip and uv install from a mirror.

Where the mirror is stands in pillar under ``pipmirror_client``, apart from the mirror's own settings, so that no
password of an index travels to those who only install. Nothing but Salt itself is needed here.
"""

import difflib
import os
import re

from salt.exceptions import CommandExecutionError

try:
    import pipmirror_lib

    pipmirror_lib.renew()
    HAS_LIBRARY = True
except (ImportError, OSError):
    HAS_LIBRARY = False

__virtualname__ = "pipmirror_client"


def __virtual__():
    if not HAS_LIBRARY:
        return False, "pipmirror_lib is not synced: run saltutil.sync_all"
    return __virtualname__


def platform():
    """
    The platform's name (str) that is tried where pillar names none: ``debian-bookworm``, ``rocky-9``.

    CLI Example:

    .. code-block:: bash

        salt '*' pipmirror_client.platform
    """
    release = __grains__.get("oscodename") if __grains__.get("os_family") == "Debian" else None
    release = release or __grains__.get("osmajorrelease") or __grains__.get("osrelease", "")
    return re.sub(r"[^a-z0-9.-]+", "-", f"{__grains__.get('os', '')}-{release}".lower()).strip("-")


def configure(test=False, absent=False, **settings):
    """
    Write the system-wide configuration of pip and uv; what an administrator has written beside ours stays.

    An option of the administrator's that ours takes the place of is kept as a comment, and comes back with ``absent``.

    test : False
        True tells what would be written, and writes nothing.

    absent : False
        True takes back what earlier calls have written; the pillar may say so too.

    settings
        Any setting of the pillar key ``pipmirror_client``: ``url`` (str, of the web server; PLATFORM/simple/ is below)
        or ``find_links`` (str, a directory that has PLATFORM below), ``platform`` (str; default: by grains),
        ``platforms`` ({what grains say: name of the platform}), ``ca_cert`` (str, a file; uv needs it in the system's
        store), ``trusted`` (bool: do not check the server's certificate), ``pip`` and ``uv`` (bool: configure them).

    Returns ``{FILE: diff}`` (str: str), without passwords; empty where there is nothing to do.

    Raises CommandExecutionError with every fault of the settings, or where a file cannot be read or written.

    CLI Example:

    .. code-block:: bash

        salt '*' pipmirror_client.configure test=True url=http://mirror.example.com
        salt '*' pipmirror_client.configure absent=True
    """
    from pipmirror_lib import client_files, clients
    from pipmirror_lib.errors import raised_as

    with raised_as(CommandExecutionError):
        machine = (__grains__.get("kernel", ""), os.environ)
        changes = clients.drift(None if absent else _client(settings), client_files.paths(*machine))
        for path in client_files.unread(*machine):
            changes.update(clients.drift(None, {"uv": path}))
        if not test:
            for path, (_, content) in changes.items():
                client_files.store(path, content)
    return {str(path): _diff(path, old, new) for path, (old, new) in changes.items()}


def _client(settings):
    from pipmirror_lib import clients
    from pipmirror_lib.errors import SettingsError

    if __pillar__.get("_errors"):
        raise SettingsError(f"pillar: did not render: {error}" for error in __pillar__["_errors"])
    declared = __pillar__.get("pipmirror_client", __opts__.get("pipmirror_client"))
    own = {key: value for key, value in settings.items() if not key.startswith("__")}
    if declared is None or isinstance(declared, dict):
        declared = {**(declared or {}), **own}
    return clients.load(declared, platform())


def _diff(path, old, new):
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), lineterm="", n=1)
    return re.sub(r"://[^/\s]*@", "://***@", "\n".join(lines))
