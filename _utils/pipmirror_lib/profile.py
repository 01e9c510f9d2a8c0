"""The target profile: what a platform's own interpreter and pip say of themselves, and what follows from it.

Markers and tags are never evaluated for the machine that runs Salt, always for the profile.
https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers
https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

from packaging.markers import Marker, UndefinedEnvironmentName
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, parse_tag
from packaging.version import InvalidVersion, Version

from pipmirror_lib.parts import LONGEST

MARKER_VARIABLES = (
    *("implementation_name", "implementation_version", "os_name", "platform_machine"),
    *("platform_python_implementation", "platform_release", "platform_system", "platform_version"),
    *("python_full_version", "python_version", "sys_platform"),
)


@dataclass(frozen=True)
class TargetProfile:
    """One interpreter, described well enough to decide for it from afar.

    `paths` are the installation paths of a virtual environment, relative to its root; `base_executable` is
    the interpreter that such an environment's `bin/python` points to.
    """

    markers: Mapping[str, str]
    tags: tuple[str, ...]
    pip_version: str
    base_executable: str
    paths: Mapping[str, str]
    image: str = ""
    image_source: str = ""
    made: str = ""

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> TargetProfile:
        """Read what a container printed, or what we stored; ValueError names what is missing."""
        markers = {name: str(data["markers"][name]) for name in MARKER_VARIABLES if name in data.get("markers", {})}
        missing = [name for name in MARKER_VARIABLES if name not in markers]
        if missing or not data.get("tags"):
            raise ValueError(f"the profile lacks {', '.join(missing) or 'tags'}")
        return cls(
            markers=markers,
            tags=tuple(str(tag) for tag in data["tags"]),
            pip_version=str(data.get("pip_version", "")),
            base_executable=str(data.get("base_executable", "")),
            paths={str(k): str(v) for k, v in data.get("paths", {}).items()},
            image=str(data.get("image", "")),
            image_source=str(data.get("image_source", "")),
            made=str(data.get("made", "")),
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @cached_property
    def python_version(self) -> Version:
        """Of a Python that is not released yet (`3.15.0rc1`, `3.14.0+`) its release, which is what pip compares."""
        release = re.match(r"\d+(\.\d+)*", self.markers["python_full_version"])
        return Version(release[0] if release else "0")

    @cached_property
    def _ranks(self) -> dict[Tag, int]:
        ranks: dict[Tag, int] = {}
        for text in self.tags:
            for tag in parse_tag(text):
                ranks.setdefault(tag, len(ranks))
        return ranks

    def rank(self, tags: frozenset[Tag]) -> int | None:
        """How well a wheel fits: 0 is best, None does not fit."""
        if tags not in self._rank_cache:
            ranks = [self._ranks[tag] for tag in tags if tag in self._ranks]
            self._rank_cache[tags] = min(ranks, default=None)
        return self._rank_cache[tags]

    @cached_property
    def _rank_cache(self) -> dict[frozenset[Tag], int | None]:
        return {}

    def allows(self, requires_python: str | None) -> bool:
        """Whether this Python is within Requires-Python; an invalid one is ignored, as pip does."""
        return not requires_python or self._within(requires_python)

    def _within(self, requires_python: str) -> bool:
        found = self._python_cache.get(requires_python)
        if found is None:
            found = specifier_of(requires_python).contains(self.python_version, prereleases=True)
            self._python_cache[requires_python] = found
        return found

    @cached_property
    def _python_cache(self) -> dict[str, bool]:
        return {}

    def applies(self, marker: Marker | None, extra: str = "") -> bool:
        """Whether a dependency with this marker is wanted here, by the base ('') or by one extra.

        Raises ValueError for a comparison that makes no sense (`sys_platform ~= "x"`).
        """
        if marker is None:
            return True
        # By identity: wheels share their markers, and to write one out takes as long as to evaluate it. The answer
        # keeps its marker alive, so that no other one can take its identity.
        key = (id(marker), extra)
        found = self._marker_cache.get(key)
        if found is None:
            try:
                found = self._marker_cache[key] = _evaluate(marker, {**self.markers, "extra": extra}), marker
            except UndefinedEnvironmentName as error:
                raise ValueError(str(error)) from error
        return found[0]

    def may_apply(self, marker: Marker | None) -> bool:
        """The same for reports; what makes no sense may, because it is for the plan to tell that."""
        try:
            return self.applies(marker)
        except ValueError:
            return True

    @cached_property
    def _marker_cache(self) -> dict[tuple[int, str], tuple[bool, Marker]]:
        return {}


@lru_cache(maxsize=4096)
def specifier_of(requires_python: str | None) -> SpecifierSet:
    """Requires-Python; an invalid one says nothing, as in pip."""
    try:
        return SpecifierSet(requires_python or "") if len(requires_python or "") <= LONGEST else SpecifierSet()
    except ValueError:
        return SpecifierSet()


# How texts compare that are no versions: nothing is more, or less, than another.
_TEXTS: dict[str, Callable[[str, str], bool]]
_TEXTS = {"==": operator.eq, "<=": operator.eq, ">=": operator.eq, "!=": operator.ne}


def _evaluate(marker: Marker, environment: dict[str, str]) -> bool:
    """As pip: a kernel's release (`6.1.0-18-amd64`) is no version, and compares with one as false; its build is a text.

    packaging 24.0, which many releases of Salt pin, raises for both, even where the rest of the marker has decided.
    """
    try:
        return marker.evaluate(environment)
    except InvalidVersion:
        return _holds(marker._markers, environment)


def _holds(parts: Any, environment: dict[str, str]) -> bool:
    """A marker's parts one by one: lists are parentheses, tuples comparisons."""
    alternatives: list[list[bool]] = [[]]
    for part in parts:
        if part == "or":
            alternatives.append([])
        elif isinstance(part, list):
            alternatives[-1].append(_holds(part, environment))
        elif part != "and":
            alternatives[-1].append(_compares(part, environment))
    return any(all(group) for group in alternatives)


def _compares(part: tuple[Any, Any, Any], environment: dict[str, str]) -> bool:
    try:
        return Marker(" ".join(word.serialize() for word in part)).evaluate(environment)
    except InvalidVersion:
        one, sign, other = (word.value for word in part)
        if "platform_version" not in (one, other) or sign not in _TEXTS:
            return False
        return _TEXTS[sign](environment.get(one, one), environment.get(other, other))
