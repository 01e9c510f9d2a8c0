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
        Any setting of the pillar, to be overridden for this state. Requirements that stand here and not in pillar
        add wheels and let none be pruned; where the pillar has no requirement of the mirror at all, they are the
        whole declaration of the platform, and ``prune: true`` has to stand here as well.

    Returns Salt's usual dictionary, with the mirror's name before that of the platform unless it is ``default``;
    ``changes`` hold ``{PROJECT: {old, new}}`` (versions), beyond 50 a count.
    """
    shown = name if mirror in (None, "default") else f"{mirror}:{name}"
    ret = {"name": shown, "changes": {}, "result": True, "comment": ""}
    try:
        plan = _only(__salt__["pipmirror.plan"](mirror=mirror, platform=name, **settings))
        if plan["nothing_to_do"]:
            ret["comment"] = "\n".join([f"Every set is satisfied, by {_wheels(plan['closure'])}", *plan["warnings"]])
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
    Have the pages of every platform, for programs and for people, say what lies there; repairs what was altered.

    name
        A name (str) for the state, used for nothing else.

    mirror
        Name (str) of the mirror. Default: all of them.

    settings
        Any setting of the pillar, to be overridden for this state.

    Returns Salt's usual dictionary; ``changes`` hold the pages written and removed for each platform, by their paths
    below its directory (``../index.html`` is the page of all platforms).
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


def pruned(name, mirror=None, platform=None, force=False, **settings):
    """
    Have nothing in the mirror that has outlived its use: wheels, builder images, logs and caches.

    ``prune: true`` in pillar lets ``pipmirror.synced`` remove wheels by itself; this state is for mirrors without it,
    and for everything that is no wheel. What is removed, and what holds it, is told by ``pipmirror.prune``. A guard
    that holds does not fail the state: the comment names it, and what is missing is for ``synced`` to say.

    name
        A name (str) for the state, used for nothing else.

    mirror
        Name (str) of the mirror. Default: all of them.

    platform
        Name (str) of a platform. Default: all of them, and what they share.

    force : False
        True overrides guards as in ``pipmirror.prune``; meant for a single call, not for a highstate.

    settings
        Any setting of the pillar, to be overridden for this state, e.g. ``keep_days``. Other requirements than those
        of the pillar fail the state, unless the pillar has none: then give those of the platform's ``synced``.

    Returns Salt's usual dictionary; ``changes`` hold for each platform the wheels and leftovers that were removed and
    the wheels that are newly ``unneeded``, and under ``(shared)`` caches and builder images.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    wanted = {"mirror": mirror, "platform": platform, "force": force, **settings}
    try:
        found = __salt__["pipmirror.prune"](test=True, **wanted)
        ret["changes"] = _removals(found)
        if found["result"] and not ret["changes"]:
            ret["comment"] = f"Nothing may go\n{_told(found)}"
            return ret
        if __opts__["test"]:
            ret.update(result=None if found["result"] else False, comment=_told(found))
            return ret
        done = __salt__["pipmirror.prune"](**wanted)
    except SaltException as error:
        ret.update(result=False, changes={}, comment=str(error))
        return ret
    ret.update(result=done["result"], comment=_told(done), changes=_removals(done))
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
    missing = plan["missing"].items()
    lines = [why if why.startswith((f"{wanted}: ", f"{wanted} ")) else f"{wanted}: {why}" for wanted, why in missing]
    lines += plan["due"]
    if plan["unrecorded"]:
        lines.append(f"record what lies there: {_wheels(plan['unrecorded'])}")
    if plan["vanished"]:
        lines.append(f"forget what is gone: {_wheels(plan['vanished'])}")
    return lines


def _wheels(names):
    return "1 wheel" if len(names) == 1 else f"{len(names)} wheels"


def _pending(plan):
    due = _work({**plan, "missing": {}})
    return {key: value for key, value in (("missing", plan["missing"]), ("due", due)) if value}


def _pages(pages):
    """Counts, where there are too many to read."""
    return {key: names if len(names) <= SHOWN else f"{len(names)} pages" for key, names in pages.items() if names}


def _changes(result):
    versions = {}
    for record in result["added"].values():
        entry = versions.setdefault(record["project"], {"old": ", ".join(record["old"]), "new": set()})
        # As Salt tells of packages with several versions installed: what is still needed has given way to nothing.
        entry["new"].update([record["version"], *record["beside"]])
    changes = {project: {**entry, "new": ", ".join(sorted(entry["new"]))} for project, entry in versions.items()}
    if len(changes) > SHOWN:
        changes = {"wheels": {"old": "", "new": f"{len(result['added'])} added; pipmirror.wheels lists them"}}
    for key in ("profile", "recorded", "recovered", "removed", "unneeded", "published"):
        if result.get(key):
            changes[f"({key})"] = _brief(result[key])
    if result.get("image") and not result["image"]["reused"]:
        changes["(builder image)"] = result["image"]
    return changes


def _brief(what):
    """A count, where there is a list, or too much to read."""
    if isinstance(what, dict):
        what = {key: _brief(value) if isinstance(value, list) else value for key, value in what.items() if value != []}
    if isinstance(what, list) or len(what) > SHOWN:
        return _wheels(what)
    return what


def _removals(answer):
    """What was or would be removed, by platform; nothing of one that loses nothing."""
    changes = {}
    for platform, result in answer["platforms"].items():
        parts = {"wheels": result["removed"], "unneeded": result.get("unneeded"), **result.get("leftovers", {})}
        found = {part: _brief(what) for part, what in parts.items() if what}
        changes[platform] = {part: what for part, what in found.items() if what}
    changes["(shared)"] = {**answer["leftovers"], **({"images": answer["images"]} if answer["images"] else {})}
    return {part: what for part, what in changes.items() if what}


def _told(answer):
    """The comments of all platforms below that of the whole."""
    said = [f"{platform}: {result['comment']}" for platform, result in answer["platforms"].items() if result["comment"]]
    return "\n".join([answer["comment"], *said])
