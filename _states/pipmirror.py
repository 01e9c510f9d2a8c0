"""
Keep Python packages mirrored, per target platform.

.. code-block:: yaml

    debian-bookworm:
      pipmirror.synced

What is mirrored is declared in pillar under ``pipmirror``; a state only names the platform.
"""

from salt.exceptions import CommandExecutionError, SaltException

__virtualname__ = "pipmirror"

# Beyond this a highstate's output would drown in versions; the manifest has them.
SHOWN = 50


def __virtual__():
    if "pipmirror.plan" in __salt__:
        return __virtualname__
    return False, "the execution module pipmirror is not available; see salt-call sys.doc pipmirror"


def synced(name, mirror=None, **settings):
    """
    Have every requirement set of a platform installable from the mirror, and its index pages published.

    Whether anything is to be done is decided from the wheels that are there: a satisfied platform costs no
    container, no call to the engine and no network. With ``highstate: report`` in pillar the state only compares,
    and fails when something is missing.

    name
        Name (str) of the platform.

    mirror
        Name (str) of the mirror; needed where the pillar declares several.

    settings
        Any setting of the pillar, to be overridden for this state.

    Returns Salt's usual dictionary; ``changes`` hold ``{PROJECT: {old, new}}`` (versions), beyond 50 a count.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        plan = _only(__salt__["pipmirror.plan"](mirror=mirror, platform=name, **settings))
        if plan["nothing_to_do"]:
            ret["comment"] = "\n".join([f"Every set is satisfied, by {len(plan['closure'])} wheels", *plan["warnings"]])
            return ret
        wanted = "\n".join(_work(plan))
        if _mode(mirror, settings) == "report":
            ret["result"] = plan["satisfied"]
            ret["comment"] = f"highstate is 'report': run pipmirror.sync.\n{wanted}"
            return ret
        if __opts__["test"]:
            ret.update(result=None, changes=_pending(plan), comment=f"To be done:\n{wanted}")
            return ret
        done = __salt__["pipmirror.sync"](mirror=mirror, platform=name, **settings)
    except SaltException as error:
        ret.update(result=False, comment=str(error))
        return ret
    result = _only(done)
    ret.update(result=result["result"], comment=result["comment"], changes=_changes(result))
    return ret


def published(name, mirror=None, **settings):
    """
    Have the index pages of every platform say what lies there; repairs pages that were altered or removed.

    name
        A name (str) for the state, used for nothing else.

    mirror
        Name (str) of the mirror. Default: all of them.

    settings
        Any setting of the pillar, to be overridden for this state.

    Returns Salt's usual dictionary; ``changes`` hold the pages written and removed for each platform.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Every page is up to date"}
    try:
        drift = __salt__["pipmirror.publish"](mirror=mirror, test=True, **settings)["platforms"]
        changes = {platform: pages for platform, pages in drift.items() if pages["written"] or pages["removed"]}
        if not changes:
            return ret
        ret["changes"] = {platform: _pages(pages) for platform, pages in changes.items()}
        if __opts__["test"]:
            ret.update(result=None, comment="Pages are to be written")
            return ret
        done = __salt__["pipmirror.publish"](mirror=mirror, **settings)
    except SaltException as error:
        ret.update(result=False, comment=str(error))
        return ret
    ret.update(result=done["result"], comment=done["comment"])
    return ret


def _only(answer):
    """The one platform of an answer that was narrowed to one."""
    if len(answer["platforms"]) > 1:
        found = ", ".join(answer["platforms"])
        raise CommandExecutionError(f"mirror: several have that platform ({found}); name one")
    return next(iter(answer["platforms"].values()))


def _mode(mirror, settings):
    declared = __salt__["pipmirror.platforms"](mirror=mirror, **settings)
    return next(iter(declared.values()))["highstate"]


def _work(plan):
    lines = [why if why.startswith(f"{wanted}: ") else f"{wanted}: {why}" for wanted, why in plan["missing"].items()]
    lines += plan["due"]
    for key, text in (
        ("unrecorded", "record {} wheels that lie there"),
        ("vanished", "forget {} wheels that are gone"),
    ):
        if plan[key]:
            lines.append(text.format(len(plan[key])))
    return lines


def _pending(plan):
    due = _work({**plan, "missing": {}})
    return {key: value for key, value in (("missing", plan["missing"]), ("due", due)) if value}


def _pages(pages):
    """Counts, where there are too many to read."""
    return {key: names if len(names) <= SHOWN else f"{len(names)} pages" for key, names in pages.items() if names}


def _changes(result):
    versions = {}
    for record in result["added"].values():
        entry = versions.setdefault(record["project"], {"old": ", ".join(record["old"]), "new": []})
        entry["new"].append(record["version"])
    changes = {project: {**entry, "new": ", ".join(sorted(entry["new"]))} for project, entry in versions.items()}
    if len(changes) > SHOWN:
        changes = {"wheels": {"old": "", "new": f"{len(result['added'])} added; pipmirror.wheels lists them"}}
    for key in ("profile", "recorded", "recovered", "removed", "published"):
        if result.get(key):
            changes[f"({key})"] = result[key] if not isinstance(result[key], list) else f"{len(result[key])} wheels"
    if result.get("image") and not result["image"]["reused"]:
        changes["(builder image)"] = result["image"]
    return changes
