"""
Mirror Gentoo's distfiles, and the snapshot of the tree that names them, for networks without internet.

What to mirror is declared in pillar under ``gentoo_mirror``; every function also takes any of those settings as an
argument, which then wins over the pillar. Portage itself says what packages need, in a container of the declared image.
"""

import logging
import sys

from salt.exceptions import CommandExecutionError

try:
    import pipmirror_lib

    pipmirror_lib.renew()
    HAS_LIBRARY = True
except (ImportError, OSError):
    HAS_LIBRARY = False

log = logging.getLogger(__name__)

__virtualname__ = "gentoo_mirror"

REQUIRED = ("docker", "packaging", "requests")


def __virtual__():
    if not HAS_LIBRARY:
        return False, "pipmirror_lib is not synced: run saltutil.sync_all"
    if lacking := pipmirror_lib.lacking(REQUIRED):
        return False, lacking
    return __virtualname__


def sync(**settings):
    """
    Have every distfile that the declared packages need in the mirror, and the tree that names them.

    Nothing is started where nothing is due: the tree is younger than ``refresh``, Portage was asked about it, and all
    that it named is there. Else hardened containers bring the tree, ask Portage and fetch what is missing; what they
    leave is checked against the tree's Manifests before it is in the mirror.

    settings
        Any setting of the pillar, e.g. ``packages``, ``target``, ``refresh``.

    Returns ``{result, comment, added: {PATH: bytes}, removed: {PATH: bytes}, missing: {DISTFILE: reason}, snapshot:
    {old, new}, seconds}``, with paths below ``target``. The return code is 1 if anything could not be had; what could
    be is in the mirror all the same.

    Raises CommandExecutionError with every fault of the settings, or where the engine or the directory fails.

    CLI Example:

    .. code-block:: bash

        salt-call gentoo_mirror.sync
        salt-call gentoo_mirror.sync packages='["app-editors/vim"]' refresh=12h
    """
    from pipmirror_lib import gentoo_sync, progress

    with _errors(), progress.shown(sys.stderr, log.info) as tell:
        done = gentoo_sync.sync(_mirror(settings), tell)
    if not done["result"]:
        __context__["retcode"] = 1
    return done


def plan(**settings):
    """
    Tell what a sync would do, and why, and what is there. Nothing is changed, and no container is started.

    What packages need only Portage can say: where it has to be asked, or a newer tree is due, what that brings is not
    known before.

    settings
        Any setting of the pillar, to be overridden.

    Returns ``{nothing_to_do, comment, snapshot, question, missing: {DISTFILE: reason}, expired: [PATH], held, latest,
    looked, distfiles, size, unneeded: {PATH: since}}``: ``snapshot`` and ``question`` say why a tree is to be fetched
    and Portage is to be asked ('' for neither), ``held`` why nothing may be removed, ``latest`` is the archive that the
    mirror has, ``looked`` when a newer one was last looked for, ``distfiles`` and ``size`` (bytes) what is there.

    Raises CommandExecutionError with every fault of the settings.

    CLI Example:

    .. code-block:: bash

        salt-call gentoo_mirror.plan
    """
    from pipmirror_lib import gentoo_plan

    with _errors():
        return gentoo_plan.report(_mirror(settings))


def faults(**settings):
    """
    List what is wrong with the declaration: one line (str) for each fault, none if it is good.

    The return code is 1 if there is any.

    settings
        Any setting of the pillar, to be overridden.

    CLI Example:

    .. code-block:: bash

        salt-call gentoo_mirror.faults
    """
    from pipmirror_lib.errors import faults_of

    found = faults_of(lambda: _mirror(settings))
    if found:
        __context__["retcode"] = 1
    return found


def _mirror(arguments):
    from pipmirror_lib import gentoo_settings

    own = {key: value for key, value in arguments.items() if not key.startswith("__")}
    for key in ("packages", "mirrors"):
        if isinstance(own.get(key), str):  # one on the command line needs no list around it
            own[key] = [own[key]]
    declared = __pillar__.get("gentoo_mirror"), __opts__.get("gentoo_mirror")
    return gentoo_settings.load(*declared, own, __pillar__.get("_errors") or ())


def _errors():
    """The library's errors are written for administrators: Salt shows their text, not a traceback."""
    from pipmirror_lib.errors import raised_as

    return raised_as(CommandExecutionError)
