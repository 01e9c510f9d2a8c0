"""Worlds by chance: files, requirements, constraints, extras and markers, small and full of conflicts.

Everything is drawn from short lists, in which the likely stands more than once, so that projects, versions and
specifiers meet often. They are drawn by `random` alone, because Hypothesis also draws constants of whatever code is
loaded, and the worlds would be others after every change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

from packaging.specifiers import SpecifierSet

from tests.support.worlds import PURE, Case, File, as_json

PROJECTS = ("a", "b", "c", "d", "e", "Zope.F")
SPELLINGS = {"Zope.F": ("Zope.F", "zope-f", "zope_f")}
FINALS = ("1.0", "1.1", "1.5", "2.0", "2.1", "3.0")
UNUSUAL = (
    *("0.9", "1.0.post1", "1.5rc1", "2.0rc1", "2.0b2", "2.1.dev1", "3.0a1", "4.0rc1", "1!0.5", "1.0+local.1"),
    *("2.0+cpu", "1.1.post2.dev3", "3.0.0"),
)
EXTRAS = ("x", "y", "all", "Some_Extra", "a.b", "two-words")
TAGS = (
    *("py2.py3-none-any", "cp27-cp27mu-linux_x86_64", "cp39-cp39-linux_x86_64", "cp311-cp311-linux_x86_64"),
    *("cp313-cp313-manylinux_2_17_x86_64", "cp39-abi3-manylinux_2_17_x86_64", "cp312-abi3-manylinux2014_x86_64"),
    *("py3-none-manylinux_2_31_x86_64", "py311-none-any", "cp310-abi3-manylinux_2_34_x86_64.manylinux_2_36_x86_64"),
    *("py3-none-macosx_11_0_arm64", "cp39-cp39-musllinux_1_2_x86_64", "py3-none-any.linux_x86_64"),
)
PYTHONS = (
    *(None,) * 80,
    *(">=3.6", ">=3.10", "<3.12", ">=3.12", "!=3.11.2", "==3.*", ">=3.99", "<3.9", ">=3.6.*", "three", "~=3.9"),
    ">=3.9,!=3.13.*",
)
MARKERS = (
    *("python_version < '3.10'", "python_version >= '3.10'", "sys_platform == 'win32'", "sys_platform == 'linux'"),
    *("python_full_version >= '3.11.2'", "platform_python_implementation == 'CPython'", "os_name == 'nt'"),
    *("python_version in '3.9 3.11'", "platform_machine == 'x86_64' and python_version > '3.9'", "extra == 'x'"),
    *("(os_name == 'nt' or sys_platform == 'linux') and python_version >= '3.11'", "implementation_name != 'pypy'"),
    *("extra != 'x'", "platform_release >= '5'", "extra == 'Some_Extra' or extra == 'y'", "'3.1' in python_version"),
)


def _specifiers(versions: Sequence[str]) -> list[str]:
    public = [version for version in versions if "+" not in version]
    found = [operator + version for operator, version in product((">=", ">=", "<", "<", "~=", ">", "<="), public)]
    found += [operator + version for operator, version in product(("==", "!=", "==="), versions)]
    found += [f"{operator}{version.split('.')[0]}.*" for operator, version in product(("==", "!="), public)]
    pairs = product(public, ("<", "<=", "!="), public)
    return found + [f">={low},{operator}{high}" for low, operator, high in pairs if low < high]


_USUAL, _ODD = _specifiers(FINALS), _specifiers(UNUSUAL)
# Two in seven have none, one in seven has an odd one.
SPECIFIERS = (*[""] * (len(_USUAL) // 2), *_USUAL, *_ODD[:: len(_ODD) * 4 // len(_USUAL) or 1])
_TWO = [f"[{one},{other}]" for one, other in product(EXTRAS, EXTRAS) if one < other]
# What stands between name and specifier, and after it.
ADORNMENTS = (
    *[("", "")] * 80,
    *((f"[{extra}]", "") for extra in (*EXTRAS, "x")),
    *((extras, "") for extras in _TWO[::3]),
    *(("", f" ; {marker}") for marker in MARKERS),
    ("[x]", " ; python_version >= '3.10'"),
)
COUNTS_OF_EXTRAS = (0, 0, 0, 0, 1, 2, 3)
COUNTS_OF_WANTS = (0, 0, 1, 1, 2, 2, 3)
HARDLY_EVER = ("",) * len(UNUSUAL) * 2 + UNUSUAL
YANKED = (None,) * 18 + ("", "broken")
KINDS = (*("",) * 24, *("native", "both", "build") * 4, "sdist")
TANGLED = ("a", "b", "c", "d", "e", "f", "g", "h")
TANGLED_EXTRAS = (*("",) * 9, "[x]", "[x,y]", "[y]")
TANGLED_MARKERS = (*("",) * 15, " ; python_version >= '3.10'")
TANGLED_PYTHONS = (None, None, None, None, ">=3.6", ">=3.99")
USUAL = ("", "", *_USUAL)
FITTING = {version: [text for text in USUAL if SpecifierSet(text).contains(version)] for version in FINALS}


class World:
    """One world being drawn."""

    def __init__(self, random: Random, index: bool) -> None:
        self.random = random
        self.index = index
        self.projects = PROJECTS[: self.pick(range(3, len(PROJECTS) + 1))[0]]

    def pick(self, *choices: Sequence[Any]) -> list[Any]:
        """One of each."""
        return [self.random.choice(sequence) for sequence in choices]

    def some(self, least: int, most: int) -> list[str]:
        """So many usual versions."""
        return self.random.sample(FINALS, self.random.randint(least, most))

    def others(self, project: str) -> Sequence[str]:
        """Whom it may want: cycles are there, but they are not the rule."""
        return self.projects[self.projects.index(project) + 1 :] * 4 + self.projects

    def named(self, project: str) -> str:
        return str(self.pick(SPELLINGS[project])[0]) if project in SPELLINGS else project

    def requirement(self, projects: Sequence[str]) -> str:
        project, specifier, (extras, marker) = self.pick(projects, SPECIFIERS, ADORNMENTS)
        return f"{self.named(project)}{extras}{specifier}{marker}"

    def requirements(self, projects: Sequence[str], count: int) -> list[str]:
        return [self.requirement(projects) for _ in range(count)]

    def extras(self, project: str, count: int) -> dict[str, list[str]]:
        # Extras that refer to their own project are common.
        wanted = (*self.others(project), project, project, project)
        drawn = dict(self.pick(EXTRAS, (0, 1, 1, 2)) for _ in range(count))
        return {name: self.requirements(wanted, few) for name, few in drawn.items()}

    def versions(self) -> list[str]:
        return list(dict.fromkeys([*self.some(2, 5), *self.pick(HARDLY_EVER, HARDLY_EVER)]))

    def files(self, project: str) -> list[File]:
        """Up to seven versions of a project, mostly of one file each."""
        found = []
        for version in filter(None, self.versions()):
            extras, wants, python, yanked, kind = self.pick(COUNTS_OF_EXTRAS, COUNTS_OF_WANTS, PYTHONS, YANKED, KINDS)
            said: dict[str, Any] = {"extras": self.extras(project, extras), "python": python}
            said["requires"] = self.requirements(self.others(project), wants)
            said["yanked"] = yanked if self.index else None
            if kind in ("", "both", "build"):
                found.append(File(project, version, **said))
            if kind in ("native", "both"):
                tags = set(self.pick(TAGS, TAGS)) - {PURE}
                found += [File(project, version, tag=tag, **said) for tag in sorted(tags)]
            if kind == "build":
                found.append(File(project, version, build=self.pick(("1", "2b", "10"))[0], **said))
            if kind == "sdist" and self.index:
                found.append(File(project, version, sdist=True, **said))
        return found


class Tangle(World):
    """A world with a hidden solution, which the newest versions lead away from, so that pip must turn back.

    What belongs to the solution is compatible with it, and with nothing else on purpose.
    """

    def __init__(self, random: Random, index: bool) -> None:
        super().__init__(random, index)
        self.projects = TANGLED[: self.pick(range(5, len(TANGLED) + 1))[0]]
        older = FINALS[: -len(FINALS) // 3]
        self.solution = dict(zip(self.projects, self.pick(*[older] * len(self.projects)), strict=True))

    def wish(self, fits: bool, projects: Sequence[str] = ()) -> str:
        """A requirement that the solution meets, or any."""
        project, extras, marker = self.pick(projects or self.projects, TANGLED_EXTRAS, TANGLED_MARKERS)
        specifiers = FITTING[self.solution[project]] if fits else USUAL
        return f"{project}{extras}{self.pick(specifiers)[0]}{marker}"

    def files(self, project: str) -> list[File]:
        found = []
        others = self.others(project)
        for version in dict.fromkeys([self.solution[project], *self.some(2, 6)]):
            own, more, python, tempting = self.pick((1, 2, 2, 3, 3), (0, 0, 1), TANGLED_PYTHONS, (0, 1, 2))
            # Most newer versions want one thing only that cannot be had with the rest.
            fits = version == self.solution[project]
            found.append(
                File(
                    project,
                    version,
                    requires=[self.wish(fits or number != tempting, others) for number in range(own)],
                    extras={"x": [self.wish(fits, others) for _ in range(more)], "y": []},
                    python=None if fits else python,
                )
            )
        return found

    def case(self) -> Case:
        roots, bound = self.pick((2, 3, 4, 5, 6), (0, 0, 0, 1))
        return Case(
            name="",
            files=tuple(file for project in self.projects for file in self.files(project)),
            want=tuple(self.wish(True) for _ in range(roots)),
            constraints=tuple(re.sub(r"\[.*]", "", self.wish(True)) for _ in range(bound)),
        )


def draw(random: Random, index: bool) -> Case:
    world = World(random, index)
    if world.pick((True, False))[0]:
        return Tangle(random, index).case()
    wants, constraints = world.pick((1, 1, 2, 2, 3, 4), (0, 0, 0, 1, 2))
    absent, prereleases, html, no_metadata = (happens == 0 for happens in world.pick(*map(range, (12, 14, 4, 4))))
    # The last project may be wanted and not there.
    there = world.projects[:-1] if absent else world.projects
    constrained = [world.pick(world.projects, SPECIFIERS) for _ in range(constraints)]
    return Case(
        name="",
        files=tuple(file for project in there for file in world.files(project)),
        want=tuple(world.requirements(world.projects, wants)),
        constraints=tuple(f"{project}{specifier or '>0'}" for project, specifier in constrained),
        prereleases=prereleases,
        html=index and html,
        core_metadata=not (index and no_metadata),
    )


def generate(count: int, seed: int, *, index: bool) -> list[Case]:
    """So many different worlds; the same ones for the same seed."""
    random = Random(f"{seed} {index}")  # of a number it would take the magnitude alone
    found: dict[str, Case] = {}
    while len(found) < count:
        case = draw(random, index)
        found.setdefault(as_json(case), case)
    return [replace(case, name=f"world {number}") for number, case in enumerate(found.values())]
