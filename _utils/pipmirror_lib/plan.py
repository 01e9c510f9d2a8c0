"""The plan: what is declared against what lies there, decided without container, engine or network.

The same function serves `pipmirror.plan`, `test=True`, the no-op highstate and the sync itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import packaging
from packaging.utils import NormalizedName
from packaging.version import Version

from pipmirror_lib import STAMP, interpreter, latecomers, local, prune, references, upstream, verdict, yanks
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import ResolutionError
from pipmirror_lib.explain import count, gather
from pipmirror_lib.garbage import rarely_collected
from pipmirror_lib.local import LocalSource
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.moments import now, older
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.prune import Outlook
from pipmirror_lib.settings import Mirror, Platform, RequirementSet
from pipmirror_lib.verdict import Later, Lists, PlatformPlan
from pipmirror_lib.world import Question

# The kinds of work beside missing wheels, as the administrator reads them and as the sync tells them apart.
ENGINE_NEEDED = "prepare: the builder image's recipe (image, pre_command, python, architecture, image_source) is new"
REBUILD = "prepare: the builder image is older than rebuild_after"
UPGRADE = "look for upgrades on the index"
VERIFY = "verify that every set installs without network"
SET_ASIDE = "set aside wheels that pip could not use"
DESCRIBE = "put METADATA back beside its wheel"
RECOVER = "finish what an interrupted sync has begun"
PUBLISH = "publish the pages"
UNNEEDED = "begin the keep_days of wheels that no set needs"
NEEDED_AGAIN = "end the keep_days of wheels that are needed again, or gone"
FREE = "free the room of wheels that have left the pages an hour ago or longer"
PRUNE = "remove wheels that are not needed any more"
ENGINE_WORK = (ENGINE_NEEDED, REBUILD)
# The same work, as it is told of a platform without an image.
HERE = {
    ENGINE_NEEDED: "prepare: this machine's Python was never profiled, or this Python is new",
    REBUILD: "prepare: the profile of this machine's Python is older than rebuild_after",
}
LONG_WORK = (*ENGINE_WORK, UPGRADE, VERIFY)
# What is remembered of a platform; whatever is of another kind is damage.
_KINDS = {
    **dict.fromkeys(
        ("recipe", "prepared", "image", "base", "image_source", "verify_image", "target", "looked", "synced", "seen"),
        str,
    ),
    **dict.fromkeys(("unneeded", "verified", "failed"), dict),
}
NEVER_PROFILED = "the platform was never profiled; pipmirror.sync or pipmirror.prepare does it"


def question(
    mirror: Mirror,
    wanted: RequirementSet,
    profile: TargetProfile,
    direct: Mapping[str, Candidate],
    preferred: Mapping[NormalizedName, frozenset[Version]] | None = None,
) -> Question:
    """The question that a set asks on a platform, the same for both sources."""
    return Question(
        requirements=wanted.requirements,
        profile=profile,
        constraints=mirror.constraints,
        prereleases=mirror.prereleases,
        no_binary=mirror.no_binary,
        preferred=preferred or {},
        direct=direct,
        yanked=mirror.yanked,
        timeout=mirror.resolve_timeout,
    )


def make(mirror: Mirror, platform: Platform, directory: PlatformDirectory) -> PlatformPlan:
    """The plan of one platform, from the verdict cache where nothing has changed since."""
    key = _key(mirror, platform, directory)

    def decide() -> PlatformPlan | None:
        with rarely_collected():  # until most of what was made is gone again
            return _decided(mirror, platform, directory, key)

    plan = verdict.load(directory, key, decide) or decide()
    if plan is None:
        missing = {str(r): NEVER_PROFILED for s in platform.sets for r in s.requirements}
        return PlatformPlan(satisfied=not missing, missing=missing, due=(ENGINE_NEEDED,))
    state = read_json(directory.state_path)
    due, warnings = _due(mirror, platform, directory, state, plan), plan.warnings
    if plan.satisfied and ENGINE_NEEDED not in due:
        more, held = _unneeded(mirror, platform, directory, state, plan)
        due, warnings = (*due, *more), (*warnings, *held)
    return replace(plan, due=due, warnings=warnings)


def is_long(planned: PlatformPlan) -> bool:
    """Whether a sync would ask the index or start containers."""
    return not planned.satisfied or any(line in planned.due for line in LONG_WORK)


def _decided(mirror: Mirror, platform: Platform, directory: PlatformDirectory, key: str) -> PlatformPlan | None:
    """The plan from what lies there now; None for a platform that was never profiled."""
    profile = directory.profile()
    if profile is None:
        return None
    wheels = directory.manifest()["wheels"]
    source = local.scan(directory.public, directory.scan_cache, wheels)
    plan = _decide(mirror, platform, profile, source, wheels)
    if not source.links:
        verdict.store(directory, key, plan)
    return plan


def _decide(
    mirror: Mirror,
    platform: Platform,
    profile: TargetProfile,
    source: LocalSource,
    wheels: Mapping[str, Record],
) -> PlatformPlan:
    found = _answered(mirror, platform, profile, source, references.known(wheels, source.files))
    # While something is missing, nobody can say what a wheel is not needed for.
    orphans = source.sizes.keys() - found.wanted_by.keys() if not found.missing else ()
    lists = Lists(tuple(sorted(found.wanted_by)), tuple(sorted(orphans)), found.wanted_by)
    return PlatformPlan(
        satisfied=not found.missing,
        missing=found.missing,
        incomplete=tuple(found.incomplete),
        unrecorded=tuple(sorted(_unrecorded(source, wheels))),
        vanished=tuple(sorted(wheels.keys() - source.sizes.keys() - source.broken.keys())),
        bare=tuple(sorted(wheels.keys() & source.sizes.keys() - source.described)),
        broken=source.broken,
        remarked=yanks.differ(wheels, mirror),
        warnings=(
            *found.warnings,
            *upstream.warnings(wheels, found.wanted_by),
            *yanks.warnings(mirror.yanked, found.wanted_by),
            *(f"ignored, as pip does: {why}" for why in source.ignored.values()),
        ),
        closure_digest=_digest(lists.closure) if lists.closure else "",
        orphans_digest=_digest(lists.orphans) if lists.orphans else "",
        lists=Later(lambda: lists),
    )


@dataclass
class _Answers:
    """What the sets of a platform have and lack together."""

    missing: dict[str, str] = field(default_factory=dict)
    wanted_by: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)


def _answered(
    mirror: Mirror, platform: Platform, profile: TargetProfile, source: LocalSource, direct: Mapping[str, Candidate]
) -> _Answers:
    from pipmirror_lib import resolve  # and resolvelib, which a remembered verdict saves

    found = _Answers()
    for wanted in platform.sets:
        try:
            answer = resolve.resolve(question(mirror, wanted, profile, direct), source)
        except ResolutionError as error:
            answer = resolve.Answer(missing={str(r): str(error) for r in wanted.requirements})
        if answer.missing:
            found.incomplete.append(wanted.name)
        gather(found.missing, answer.missing, wanted.name)
        found.warnings.update(dict.fromkeys(answer.warnings))
        for name, candidate in answer.closure.items():
            before = found.wanted_by.get(candidate.filename, ())
            found.wanted_by[candidate.filename] = tuple(dict.fromkeys((*before, *answer.wanted_by[name])))
    return found


def _unrecorded(source: LocalSource, wheels: Mapping[str, Record]) -> Iterable[str]:
    """Wheels that the manifest does not know, or knows with another size (somebody replaced them)."""
    for filename, size in source.sizes.items():
        record = wheels.get(filename)
        if record is None or record.get("size") != size:
            yield filename


def _due(
    mirror: Mirror, platform: Platform, directory: PlatformDirectory, state: Mapping[str, Any], plan: PlatformPlan
) -> tuple[str, ...]:
    """Work beside missing wheels, told from small files and the clock alone."""
    due = []
    if state.get("recipe") != recipe_of(platform):
        due.append(ENGINE_NEEDED)
    elif mirror.rebuild_after and older(state.get("prepared", ""), mirror.rebuild_after):
        due.append(REBUILD)
    if mirror.upgrade is True or (mirror.upgrade and older(state.get("looked", ""), mirror.upgrade)):
        due.append(UPGRADE)
    if plan.broken:
        due.append(f"{SET_ASIDE}: {'; '.join(plan.broken.values())}")
    if plan.bare:
        due.append(f"{DESCRIBE}: {count(len(plan.bare), 'wheel')}")
    if mirror.verify and plan.closure_digest and not proofs(state, proof_key(mirror, platform, directory, state, plan)):
        due.append(VERIFY)
    if directory.interrupted():
        due.append(RECOVER)
    told = mirror.trial or read_json(directory.shown_path).get("shown") == shown(mirror, platform, directory, plan)
    published = read_json(directory.published_path).get("manifest") == manifest_stamp(directory)
    if plan.remarked or not (told and published):
        due.append(PUBLISH)
    if latecomers.due(directory.public):
        due.append(FREE)
    return tuple(due)


def _unneeded(
    mirror: Mirror, platform: Platform, directory: PlatformDirectory, state: Mapping[str, Any], plan: PlatformPlan
) -> tuple[list[str], list[str]]:
    """(what is due, what is to be told) of the wheels that no set needs."""
    if mirror.trial:
        return [], [f"{prune.WOULD_HOLD}: {prune.TRIAL}"] if mirror.prune and plan.orphans_digest else []
    due: list[str] = []
    told: list[str] = []
    said = state.get("unneeded")
    remembered = said if isinstance(said, dict) else {}
    known = _digest(sorted(remembered)) if remembered else ""
    # Their names are read only where they are others than those of the last time.
    if plan.orphans_digest != known or prune.since(remembered, unneeded(state)) != remembered:
        due += _first_days(plan.orphans, prune.since(remembered, unneeded(state)), remembered)
    if mirror.prune and plan.orphans_digest:
        outlook = removable(mirror, platform, directory, state, plan)
        if outlook.going:
            due.append(f"{PRUNE}: {prune.named(outlook.going)}")
        if outlook.held:
            told.append(f"{prune.WOULD_HOLD}: {outlook.held}")
    return due, told


def _first_days(orphans: Collection[str], sound: Mapping[str, str], remembered: Mapping[str, str]) -> Iterator[str]:
    """Lines for the wheels whose days begin now, and for those whose days are at an end before they were over."""
    if begin := [name for name in orphans if name not in remembered or sound.get(name) != remembered[name]]:
        yield f"{UNNEEDED}: {count(len(begin), 'wheel')}"
    if over := remembered.keys() - set(orphans):
        yield f"{NEEDED_AGAIN}: {count(len(over), 'wheel')}"


def removable(
    mirror: Mirror,
    platform: Platform,
    directory: PlatformDirectory,
    state: Mapping[str, Any],
    plan: PlatformPlan,
    *,
    force: bool = False,
) -> Outlook:
    """Which wheels may go, or which guard holds them."""
    if not (plan.satisfied or force):
        return Outlook(held=prune.UNSATISFIED)
    orphans = set(plan.orphans)
    if not plan.satisfied:
        present = {*directory.manifest()["wheels"], *plan.unrecorded} - {*plan.vanished, *plan.broken}
        orphans = present - set(plan.closure)
    total = len(plan.closure) + len(orphans)
    # What the target's own pip has installed to prove the sets is needed, whatever our decision says.
    proved = (state.get("verified") or {}).get("wheels")
    installed = orphans.intersection(map(str, proved if isinstance(proved, list) else ()))
    if installed and proofs(state, proof_key(mirror, platform, directory, state, plan)):
        orphans -= installed
    return prune.outlook(
        prune.since(orphans, unneeded(state) if plan.satisfied else None),
        total=total,
        keep_days=mirror.keep_days,
        declared=any(wanted.requirements for wanted in platform.sets),
        force=force,
    )


def unneeded(state: Mapping[str, Any]) -> Mapping[str, str]:
    """Since when which wheels are not needed, as far as that was remembered."""
    known = state.get("unneeded") or {}
    return prune.by_this_clock(
        {name: when for name, when in known.items() if isinstance(when, str)}, state.get("seen", "")
    )


def recipe_of(platform: Platform) -> str:
    """What makes a builder image, as far as the declaration says it (its base image may change under its name).

    Without an image it is this machine's interpreter that counts.
    """
    if not platform.image:
        return _digest([platform.python, interpreter.stamp(platform.python)])
    return _digest(
        [platform.image, platform.architecture, platform.python, platform.pre_command, platform.image_source]
    )


def proof_key(
    mirror: Mirror, platform: Platform, directory: PlatformDirectory, state: Mapping[str, Any], plan: PlatformPlan
) -> str:
    """Everything that a verification has proved something of: the wheels, what was asked for, and in which image."""
    parts = [
        plan.closure_digest,
        manifest_stamp(directory),
        asked(mirror, platform),
        state.get("image"),
        platform.verify_command,
    ]
    return _digest(parts)


def proofs(state: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What the last verification has shown, by set; empty where it was of something else."""
    verified = state.get("verified") or {}
    sets = verified.get("sets")
    return dict(sets) if verified.get("key") == key and isinstance(sets, dict) else {}


def shown(mirror: Mirror, platform: Platform, directory: PlatformDirectory, plan: PlatformPlan) -> str:
    """Stands for whatever the page for people says; nothing of it is new at a run that has nothing to do."""
    answer = [plan.satisfied, sorted(plan.missing.items()), plan.closure_digest]
    target = read_json(directory.state_path).get("target", "")  # a new image mostly has the same Python and pip
    return _digest([manifest_stamp(directory), asked(mirror, platform), target, *answer])


def manifest_stamp(directory: PlatformDirectory) -> str:
    """Identifies a manifest without reading it: it is always replaced, never written in place."""
    return _stamp(directory.manifest_path)


def read_json(path: Path) -> dict[str, Any]:
    """A small private file, without what is damaged, because all of it can be made anew."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, _KINDS.get(key, object))}


def remember(directory: PlatformDirectory, **changes: Any) -> None:
    """Change what is known of the platform beside its wheels; the lock must be held."""
    state = read_json(directory.state_path)
    if "unneeded" in state:  # before `seen` hides that the clock has jumped
        state["unneeded"] = unneeded(state)
    directory.save(directory.state_path, json.dumps({**state, "seen": now(), **changes}))


# -- the verdict cache -------------------------------------------------------------------------------------


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _stamp(path: Path) -> str:
    try:
        stat = os.stat(path)
    except OSError:
        return ""
    return f"{stat.st_mtime_ns}:{stat.st_ino}:{stat.st_size}"


def _key(mirror: Mirror, platform: Platform, directory: PlatformDirectory) -> str:
    parts = [
        _stamp(directory.public),
        _stamp(directory.manifest_path),
        _stamp(directory.profile_path),
        STAMP,
        packaging.__version__,
        asked(mirror, platform),
        mirror.resolve_timeout,
        [yank.reason for yank in mirror.yanked],
        mirror.trial,
    ]
    return _digest(parts)


def asked(mirror: Mirror, platform: Platform) -> list[Any]:
    """Every setting that the answer depends on."""
    return [
        [[wanted.name, [str(r) for r in wanted.requirements]] for wanted in platform.sets],
        [str(r) for r in mirror.constraints],
        mirror.prereleases,
        mirror.no_binary,
        [[yank.project, str(yank.specifier)] for yank in mirror.yanked],
    ]


def declaration(mirror: Mirror, platform: Platform) -> str:
    """Recognises what was asked for."""
    return _digest(asked(mirror, platform))
