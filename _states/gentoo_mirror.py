"""
Keep Gentoo's distfiles mirrored, and the snapshot of the tree that names them.

.. code-block:: yaml

    gentoo-mirror:
      gentoo_mirror.synced

What is mirrored is declared in pillar under ``gentoo_mirror``.
"""

from salt.exceptions import SaltException

__virtualname__ = "gentoo_mirror"

# Beyond this a highstate's output would drown in names.
SHOWN = 50


def __virtual__():
    if "gentoo_mirror.plan" in __salt__:
        return __virtualname__
    return False, "the execution module gentoo_mirror is not available; see salt-call sys.doc gentoo_mirror"


def synced(name, **settings):
    """
    Have every distfile that the declared packages need in the mirror, and the tree that names them.

    Whether anything is due is told by what lies there and what is recorded: then no container is started, and neither
    engine nor network is needed. With ``test=True`` none is ever started; what a newer tree would bring, or Portage
    would name, is then not known, and the comment says so.

    name
        Any text (str) for people.

    settings
        Any setting of the pillar, to be overridden for this state.

    Returns Salt's usual dictionary; ``changes`` hold ``snapshot`` (``{old, new}``), and the paths that were ``added``
    and ``removed``, beyond 50 a count.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        plan = __salt__["gentoo_mirror.plan"](**settings)
        if plan["nothing_to_do"]:
            ret["comment"] = plan["comment"]
        elif __opts__["test"]:
            ret.update(result=None, changes=_pending(plan), comment=plan["comment"])
        else:
            done = __salt__["gentoo_mirror.sync"](**settings)
            ret.update(result=done["result"], changes=_changes(done), comment=done["comment"])
    except SaltException as error:
        ret.update(result=False, changes={}, comment=str(error))
    return ret


def _pending(plan):
    due = {"snapshot": plan["snapshot"], "asking Portage": plan["question"]}
    lists = {"missing": sorted(plan["missing"]), "removed": plan["expired"]}
    return {**{what: why for what, why in due.items() if why}, **_brief(lists)}


def _changes(done):
    changes = _brief({"added": sorted(done["added"]), "removed": sorted(done["removed"])})
    if done["snapshot"]["old"] != done["snapshot"]["new"]:
        changes["snapshot"] = done["snapshot"]
    return changes


def _brief(lists):
    return {key: names if len(names) <= SHOWN else f"{len(names)} files" for key, names in lists.items() if names}
