"""Where the target's own, older pip reads a set otherwise than current pip, which is what we decide by.

Seen with the pips of tests/support/dialects.py (tests/unit/dialects.json has a case for each difference). The limits
are those of the packaging that pip carries: 24.1 brought its strict parsing, 25.0 the prereleases that `<` and `>`
name, 26.0 prereleases where no final release fits. Before 23.3 an extra was compared as it is spelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import InvalidVersion, Version

from pipmirror_lib.candidates import Candidate
from pipmirror_lib.parts import canonical
from pipmirror_lib.world import Want, World

NORMALIZED_ASKING, STRICT = Version("23.3"), Version("24.1")
NAMED_BY_BOUNDS, PROMOTING = Version("25.0"), Version("26.0")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")
_LEGACY = re.compile(r"(?:>=|<=|~=|(?<![=!~<>])[<>])\s*[\w.!+]*\.\*")
_RELEASE = re.compile(r"platform_(?:release|version)\s*[<>]|[<>]=?\s*platform_(?:release|version)")


def differences(
    world: World, closure: Mapping[NormalizedName, Candidate], wanted: Mapping[NormalizedName, Sequence[Want]]
) -> Iterator[str]:
    """A line for each thing of a closure that the target's pip reads otherwise, with what to do about it."""
    pip = _version(world.question.profile.pip_version)
    if pip is None or pip >= PROMOTING:
        return
    for project, wants in wanted.items():
        candidate = closure[project]
        if _would_not_take(world, candidate, wants, pip):
            asking = ", ".join(sorted({want.written for want in wants}))
            yield (
                f"pip {pip} of the target does not take the prerelease {candidate} for {asking}; "
                f"name it (>={candidate.version}), or use --pre there"
            )
        if pip < STRICT:
            for asked, spelled in sorted(_misspelt(world, candidate, wants, pip)):
                yield (
                    f"pip {pip} of the target does not find the extra {asked!r} of {candidate}, which spells it "
                    f"{spelled!r}; what that requires is not installed unless it is declared as well"
                )
        elif _needs_release(world, candidate):
            yield (
                f"pip {pip} of the target fails on a marker of {candidate}, which compares platform_release or "
                "platform_version with a version; use another pip there"
            )


def unread(world: World) -> Iterator[str]:
    """A line for each file that current pip discards and the target's would take."""
    pip = _version(world.question.profile.pip_version)
    if pip is None or pip >= STRICT:
        return
    for reasons in world.unusable.values():
        for filename, reason in reasons.items():
            if "invalid Requires-Dist" in reason and _LEGACY.search(reason):
                yield f"pip {pip} of the target would take {filename}, which current pip discards: {reason}"


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _would_not_take(world: World, candidate: Candidate, wants: Sequence[Want], pip: Version) -> bool:
    """Older pips take prereleases only where a specifier names one, or where there is no specifier at all."""
    if not candidate.version.is_prerelease or world.prereleases(candidate.project):
        return False
    constraint = world.constraint(candidate.project)
    if _none_named([*(want.requirement.specifier for want in wants), constraint], pip):
        return True
    # What is declared has to be met before pip sees what others want.
    declared = [*(want.requirement.specifier for want in wants if want.parent is None), constraint]
    first = next(world.offered(candidate.project, declared), candidate)
    return first.version.is_prerelease and _none_named(declared, pip)


def _none_named(specifiers: Sequence[SpecifierSet], pip: Version) -> bool:
    bound = [one for one in specifiers if one]
    return bool(bound) and not any(_names_prerelease(one, pip) for one in bound)


def _names_prerelease(specifier: SpecifierSet, pip: Version) -> bool:
    operators = {"==", "===", ">=", "<=", "~="} | ({"<", ">"} if pip >= NAMED_BY_BOUNDS else set())
    found = (_version(one.version.removesuffix(".*")) for one in specifier if one.operator in operators)
    return any(version is not None and version.is_prerelease for version in found)


def _misspelt(world: World, candidate: Candidate, wants: Sequence[Want], pip: Version) -> set[tuple[str, str]]:
    """(extra as it is asked for, as the metadata spells it): those pips lower or normalize the first and compare."""
    asked = {extra for want in wants for extra in want.requirement.extras}
    metadata = world.metadata(candidate) if asked else None
    spelled = set(_EXTRA.findall(" ".join(metadata.requires_dist) if metadata else ""))
    return {
        (extra, other)
        for extra in asked
        for other in spelled
        if canonical(other) == canonical(extra)
        and other != extra.lower()
        and not (pip >= NORMALIZED_ASKING and other == canonical(extra))
    }


def _needs_release(world: World, candidate: Candidate) -> bool:
    metadata = world.metadata(candidate)
    markers = world.question.profile.markers
    values = (markers["platform_release"], markers["platform_version"])
    odd = any(_version(value) is None for value in values)
    return metadata is not None and odd and any(_RELEASE.search(text) for text in metadata.requires_dist)
