"""What requirements are made of, each distinct part read once.

Thousands of wheels share a few hundred specifiers and markers. Reading one, or comparing a version with one, costs
packaging tens of microseconds, and whoever decides for many platforms asks the same again for each of them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

P = ParamSpec("P")
T = TypeVar("T")
REMEMBERED = 1 << 16
# Of a requirement; the longest known have some 500 characters. A million would be read for minutes.
LONGEST = 20_000
_COMPARISONS: dict[str, Callable[[Version, Version], bool]] = {
    **{">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt},
    **{"==": operator.eq, "!=": operator.ne},
}
_NAME = re.compile(r"[ \t]*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?![A-Za-z0-9._-])")
_CLAUSE = r"(?:~=|[=!<>]=|[<>])[ \t]*[A-Za-z0-9.*+!_-]+"
_CLAUSES = re.compile(rf"{_CLAUSE}(?:[ \t]*,[ \t]*{_CLAUSE})*")


def by_identity(function: Callable[P, T]) -> Callable[P, T]:
    """Remember answers about objects that are shared, never changed, and slow to hash.

    By identity also because equal is not the same here: `===` tells 1.0 from 1.0.0. An answer keeps its objects
    alive, so that no other ones can take their identities.
    """
    answers: dict[tuple[int, ...], tuple[T, object]] = {}

    @wraps(function)
    def remembering(*objects: P.args, **none: P.kwargs) -> T:
        key = tuple(map(id, objects))
        answer = answers.get(key)
        if answer is None:
            if len(answers) >= REMEMBERED:
                answers.clear()
            answer = answers[key] = function(*objects, **none), objects
        return answer[0]

    return remembering


@lru_cache(maxsize=REMEMBERED)
def canonical(name: str) -> NormalizedName:
    """A project's or an extra's name, normalised."""
    return canonicalize_name(name)


@lru_cache(maxsize=REMEMBERED)
def requirement(text: str) -> Requirement:
    """Parse a dependency specifier (PEP 508) as packaging does; InvalidRequirement where it would raise that."""
    if len(text) > LONGEST:
        raise InvalidRequirement(f"it has {len(text)} characters, which is beyond any sense")
    head, semicolon, marker = text.partition(";")
    name = _NAME.match(head)
    # A semicolon may belong to a URL or follow `===`; neither is worth a rule of its own.
    if name is None or "@" in head or "===" in head:
        return _whole(text)
    try:
        extras, specifier = _details(head[name.end() :].strip(" \t"))
        condition = _marker(marker.strip(" \t")) if semicolon else None
    except (InvalidRequirement, InvalidSpecifier):
        return _whole(text)  # which says what is wrong with the whole of it
    found = Requirement.__new__(Requirement)  # its own copies are parsed anew
    found.name, found.url, found.marker = name[1], None, condition
    found.extras, found.specifier = extras, specifier
    return found


@lru_cache(maxsize=REMEMBERED)
def condition(text: str) -> Marker | None:
    """The marker of a dependency specifier that is known to be valid; most need not be read any further."""
    head, semicolon, marker = text.partition(";")
    if "@" in head or "===" in head:
        return requirement(text).marker
    return _marker(marker.strip(" \t")) if semicolon else None


@lru_cache(maxsize=REMEMBERED)
def _details(text: str) -> tuple[set[str], SpecifierSet]:
    """What follows any name: extras and versions."""
    if _CLAUSES.fullmatch(text):
        return set(), SpecifierSet(text)
    nameless = _whole(f"name {text}")
    return nameless.extras, nameless.specifier


@lru_cache(maxsize=REMEMBERED)
def _marker(text: str) -> Marker | None:
    return _whole(f"name;{text}").marker


def _whole(text: str) -> Requirement:
    try:
        return Requirement(text)
    except RecursionError as error:  # strangers write parentheses by the thousand
        raise InvalidRequirement("it is nested too deeply") from error


@by_identity
def without_marker(wanted: Requirement) -> str:
    """A requirement as people read it, without its marker."""
    if wanted.url:
        return str(wanted).split(";")[0].strip()
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    return f"{wanted.name}{extras}{_text(wanted.specifier)}"


@by_identity
def _text(specifier: SpecifierSet) -> str:
    return str(specifier)


def within(specifier: SpecifierSet, version: Version) -> bool:
    """Whether a version, be it a prerelease, is within a specifier."""
    return all(_meets(clause, version) for clause in specifier)


@by_identity
def _meets(clause: Specifier, version: Version) -> bool:
    compare, bound = _COMPARISONS.get(clause.operator), _release(clause.version)
    if compare and bound and _is_plain(version):
        return compare(version, bound)
    return clause.contains(version, prereleases=True)


@lru_cache(maxsize=REMEMBERED)
def _release(text: str) -> Version | None:
    try:
        version = Version(text)
    except InvalidVersion:  # `1.*`, or anything after `===`
        return None
    return version if _is_plain(version) else None


def _is_plain(version: Version) -> bool:
    """Whether it is nothing but a release: between such, PEP 440 knows no exceptions from their order."""
    return not (version.is_prerelease or version.is_postrelease or version.local)


def combined(specifiers: Iterable[SpecifierSet]) -> SpecifierSet:
    """What is within all of them."""
    return _combined(*{id(specifier): specifier for specifier in specifiers}.values())


@by_identity
def _combined(*specifiers: SpecifierSet) -> SpecifierSet:
    found = SpecifierSet()
    for specifier in specifiers:
        found &= specifier
    return found
