"""Why a project lies in the mirror: every chain from a declared requirement to it, told from the directory alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

from pipmirror_lib import local, plan, references, resolve
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import ResolutionError, SettingsError, WheelError
from pipmirror_lib.local import LocalSource
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.paths import Graph
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Mirror, Platform, RequirementSet
from pipmirror_lib.wheels import parse_name
from pipmirror_lib.world import Question, World
from pipmirror_lib.yanks import marked

Report = dict[str, Any]
# Where a project shows that somebody has heard of it.
KNOWN = ("sets", "files", "broken", "not_here")
_PROJECT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def why(mirror: Mirror, name: str | None, *, project: str) -> dict[str, Report]:
    """{platform: who wants the project there, and which file it is}; see `check_known`."""
    wanted = project_of(project)
    return {platform.name: _why(mirror, platform, wanted) for platform in mirror.selected(name)}


def project_of(text: str) -> NormalizedName:
    """The project that somebody asks for, by its name or by the file name of one of its wheels."""
    if text.endswith(".whl"):
        try:
            return parse_name(text).project
        except WheelError as error:
            raise SettingsError(arguments=[f"project: {error}"]) from error
    if not _PROJECT.fullmatch(text):
        fault = f"project: {text!r} is not the name of a project; give it without version and extras"
        raise SettingsError(arguments=[fault])
    return canonicalize_name(text)


def check_known(project: str, reports: Mapping[str, Report]) -> None:
    """SettingsError, with the nearest names, where no platform has heard of the project."""
    if any(report[key] for report in reports.values() for key in KNOWN):
        return
    near = sorted({name for report in reports.values() for name in report["similar"]})
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    unknown = [name for name, report in reports.items() if report["note"] or report["undecided"]]
    if unknown:
        fault = (
            f"{project!r} is not declared and lies nowhere; whether anything needs it, only a sync can tell of "
            f"{', '.join(unknown)}: run pipmirror.sync, or pipmirror.plan resolve=True (after pipmirror.prepare)"
        )
    else:
        fault = f"{project!r} is wanted by nobody and lies nowhere"
        hint = hint or "pipmirror.wheels lists what is there"
    raise SettingsError(arguments=["; ".join(filter(None, (f"project: {fault}", hint)))])


def _why(mirror: Mirror, platform: Platform, project: NormalizedName) -> Report:
    directory = PlatformDirectory.of(mirror, platform.name)
    records = directory.manifest()["wheels"]
    source = local.scan(directory.public, directory.scan_cache, records)
    profile = directory.profile()
    sets, names = _sets(mirror, platform, project, source, profile, references.known(records, source.files))
    undecided = [name for name, report in sets.items() if not report["satisfied"]]
    leading = {name: report for name, report in sets.items() if report["chains"]}
    found = {
        **_lying(mirror, source, records, project),
        # While a set is not satisfied, nobody can say what a wheel is not needed for.
        "orphans": [] if undecided else _needless(source, project, leading),
        "sets": leading,
        "undecided": undecided,
        "not_here": _not_here(platform, profile, project),
    }
    known = any(found[key] for key in KNOWN)
    return {
        **found,
        "project": str(project),
        "similar": [] if known else difflib.get_close_matches(project, sorted({*source.by_project, *names}), n=3),
        "note": "" if profile else plan.NEVER_PROFILED,
    }


def _sets(
    mirror: Mirror,
    platform: Platform,
    project: NormalizedName,
    source: LocalSource,
    profile: TargetProfile | None,
    direct: Mapping[str, Candidate],
) -> tuple[dict[str, Report], set[NormalizedName]]:
    """({set: who wants the project there}, every project that is declared or that the sets lead to)."""
    names = {canonicalize_name(r.name) for wanted in platform.sets for r in wanted.requirements}
    sets = {}
    for wanted in platform.sets:
        if profile is None:
            missing = dict.fromkeys(map(str, wanted.requirements), plan.NEVER_PROFILED)
            sets[wanted.name] = _declared(wanted, project, missing)
        else:
            question = plan.question(mirror, wanted, profile, direct)
            sets[wanted.name], seen = _of_set(wanted, question, source, project)
            names |= seen
    return sets, names


def _lying(mirror: Mirror, source: LocalSource, records: Mapping[str, Record], project: NormalizedName) -> Report:
    """The project's files, those that pip could not use apart."""
    files = sorted(source.files(project), key=lambda candidate: candidate.filename)
    return {
        "files": {
            candidate.filename: {
                "version": str(candidate.version),
                "size": candidate.size,
                "origin": records.get(candidate.filename, {}).get("origin", ""),
                "yanked": next((c.yanked for c in marked([candidate], mirror.yanked, project)), None),
            }
            for candidate in files
        },
        "broken": {
            file: reason for file, reason in sorted(source.broken.items()) if parse_name(file).project == project
        },
    }


def _needless(source: LocalSource, project: NormalizedName, sets: Mapping[str, Report]) -> list[str]:
    needed = {report["file"] for report in sets.values()}
    return sorted({candidate.filename for candidate in source.files(project)} - needed)


def _of_set(
    wanted: RequirementSet, question: Question, source: LocalSource, project: NormalizedName
) -> tuple[Report, set[NormalizedName]]:
    """(who wants the project in this set, every project that the set leads to).

    Where the set is not satisfied, the chains are those of the best candidates, as far as they lead.
    """
    try:
        answer = resolve.resolve(question, source)
    except ResolutionError as error:
        answer = resolve.Answer(missing=dict.fromkeys(map(str, wanted.requirements), str(error)))
    world = World(source, question)
    try:
        if world.unserved():
            return _declared(wanted, project, answer.missing), set()
        graph = Graph(world, answer.closure)
    except ValueError:  # a declared marker makes no sense; the answer says so
        return _declared(wanted, project, answer.missing), set()
    chains, more = graph.chains(project)
    candidate = answer.closure.get(project)
    file = candidate.filename if candidate else None
    return _report(answer.satisfied, file, chains, more, answer.missing), graph.projects


def _declared(wanted: RequirementSet, project: NormalizedName, missing: Mapping[str, str]) -> Report:
    """Where nothing can be followed, only what is declared by that very name is known."""
    chains = [[str(r)] for r in wanted.requirements if canonicalize_name(r.name) == project]
    return _report(not wanted.requirements, None, chains, False, missing)


def _report(
    satisfied: bool, file: str | None, chains: list[list[str]], more: bool, missing: Mapping[str, str]
) -> Report:
    heads = {chain[0] for chain in chains}
    reasons = {requirement: reason for requirement, reason in missing.items() if requirement in heads}
    return {"satisfied": satisfied, "file": file, "chains": chains, "more": more, "missing": reasons}


def _not_here(platform: Platform, profile: TargetProfile | None, project: NormalizedName) -> list[str]:
    """Declared requirements of the project whose markers do not hold on this platform."""
    if profile is None:
        return []
    declared = [r for wanted in platform.sets for r in wanted.requirements if canonicalize_name(r.name) == project]
    return sorted({str(requirement) for requirement in declared if not profile.may_apply(requirement.marker)})
