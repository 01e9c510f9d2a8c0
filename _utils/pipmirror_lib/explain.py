"""Why a set is not satisfied, for people: one line for each declared requirement that is not met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Candidate
from pipmirror_lib.logs import harmless
from pipmirror_lib.world import Want, World

SHOWN = 5


def lines(missing: Mapping[str, str]) -> list[str]:
    """A line for each requirement that is not met; its name is not said twice."""
    return [why if why.startswith(f"{wanted}: ") else f"{wanted}: {why}" for wanted, why in missing.items()]


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def failure(world: World, absent: Sequence[NormalizedName], causes: Sequence[Want]) -> dict[str, str]:
    """{declared requirement: reason}: what nothing serves if there is any such project, else the conflict."""
    missing: dict[str, str] = {}
    hopeless = [name for name in absent if _is_hopeless(world, name)]
    for name in hopeless:
        blame(world, missing, [name], nothing_serves(world, name))
    if not missing:
        text = conflict(world, causes)
        blame(world, missing, [w.parent.project if w.parent else w.project for w in causes], text)
    return missing


def failed_builds(world: World, unhappy: Sequence[NormalizedName]) -> dict[str, str]:
    """{declared requirement: why a project that it leads to did not build, or whom it cannot agree with}."""
    missing: dict[str, str] = {}
    for name in set(unhappy) & world.failed.keys():
        wants = list(world.wants[name].values())
        text = f"{conflict(world, wants)}; an older version was tried: {world.failed[name]}"
        blame(world, missing, [w.parent.project if w.parent else w.project for w in wants], text)
    if missing:
        return missing
    for project, reason in world.failed.items():
        blame(world, missing, [project], reason)
    return missing


def _is_hopeless(world: World, name: NormalizedName) -> bool:
    """Whether some single want of the project can be met by nothing, whatever the others say."""
    wants = list(world.wants.get(name, {}).values())
    return any(
        want.requirement.url or next(world.matching(name, [want.requirement.specifier]), None) is None for want in wants
    )


def blame(world: World, missing: dict[str, str], projects: Iterable[NormalizedName], text: str) -> None:
    text = harmless(text)  # versions, specifiers and reasons may be a stranger's words
    for project in dict.fromkeys(projects):
        for root, path in chains(world, project):
            way = f" ({' -> '.join(path)})" if len(path) > 1 else ""
            before = missing.get(root.declared)
            missing[root.declared] = f"{before}; {text}" if before and text not in before else text + way


def chains(world: World, project: NormalizedName) -> list[tuple[Want, list[str]]]:
    """For each declared requirement that leads to the project, one shortest path of names."""
    found: dict[str, tuple[Want, list[str]]] = {}
    seen = {project}
    level: list[tuple[NormalizedName, list[str]]] = [(project, [str(project)])]
    while level:
        following = []
        for name, path in level:
            for want in world.wants.get(name, {}).values():
                if want.parent is None:
                    found.setdefault(want.declared, (want, path))
                elif want.parent.project not in seen:
                    seen.add(want.parent.project)
                    following.append((want.parent.project, [str(want.parent), *path]))
        level = following
    return list(found.values())


def nothing_serves(world: World, name: NormalizedName) -> str:
    """Why no candidate of a project meets what is wanted of it."""
    wants = list(world.wants.get(name, {}).values())
    urls = [want for want in wants if want.requirement.url]
    if urls:
        return f"{name} is wanted from a URL by {urls[0].parent}; nothing but that URL would do"
    shelf, profile = world.shelf(name), world.question.profile
    withheld = world.source.withheld(name)
    if not shelf.best_first and not any(shelf.rejected.values()):
        return f"{name}: {withheld or f'nothing of that name {world.source.where}'}"
    combined = world.constraint(name)
    for want in wants:
        combined &= want.requirement.specifier
    reasons = []
    needs_python = _within(shelf.rejected["python"], combined)
    if needs_python:
        newest = max(needs_python, key=lambda c: c.version)
        reasons.append(f"{newest} needs Python {newest.requires_python}, this is {profile.python_version}")
    if tagged := _within(shelf.rejected["tags"], combined):
        reasons.append(f"no wheel of {_versions(tagged)} fits this platform and no sdist is there")
    if binary := _within(shelf.rejected["binary"], combined):
        reasons.append(f"{_versions(binary)} only as wheels, which no_binary excludes")
    reasons += list(world.unusable.get(name, {}).values())[:SHOWN]
    if not reasons:
        there = _versions([*shelf.best_first, *shelf.rejected["python"]]) or "none that fits"
        asked = ", ".join(str(want) for want in wants[:SHOWN])
        limit = f", constraint {world.constraint(name)}" if world.constraint(name) else ""
        reasons.append(f"there is {there}, wanted is {asked}{limit}")
    return f"{name}: " + "; ".join([*reasons, *([withheld] if withheld else [])])


def conflict(world: World, causes: Sequence[Want]) -> str:
    """The wants that cannot be met together, each with who has it."""
    # Dozens of releases want the same; the first of them stands for all.
    unique = list({str(want.requirement): str(want) for want in reversed(causes)}.values())[::-1]
    constraints = {want.project: world.constraint(want.project) for want in causes}
    unique += [f"constraint {name}{specifier}" for name, specifier in constraints.items() if specifier]
    return "conflict: " + " against ".join(unique[:SHOWN])


def _within(candidates: Iterable[Candidate], specifier: SpecifierSet) -> list[Candidate]:
    return [c for c in candidates if specifier.contains(c.version, prereleases=True)]


def _versions(candidates: Iterable[Candidate]) -> str:
    versions = sorted({candidate.version for candidate in candidates}, reverse=True)
    more = f" and {len(versions) - SHOWN} more" if len(versions) > SHOWN else ""
    return ", ".join(str(version) for version in versions[:SHOWN]) + more
