"""Worlds by Hypothesis: files, requirements, constraints, extras and markers, small and full of conflicts.

Everything is drawn from short lists, in which the likely stands more than once, so that projects, versions and
specifiers meet often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.worlds import PURE, Case, File, as_json

Draw = Any

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


class World:
    """One world being drawn."""

    def __init__(self, draw: Draw, index: bool) -> None:
        self.draw = draw
        self.index = index
        self.projects = PROJECTS[: draw(st.integers(3, len(PROJECTS)))]

    def one(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(choices))

    def happens(self, percent: int) -> bool:
        # Counted from above, because small examples prefer zero.
        return bool(self.draw(st.integers(0, 99)) >= 100 - percent)

    def named(self, project: str) -> str:
        return str(self.one(SPELLINGS[project]) if project in SPELLINGS else project)

    def requirement(self, projects: Sequence[str]) -> str:
        project, specifier, (extras, marker) = self.one(projects), self.one(SPECIFIERS), self.one(ADORNMENTS)
        return f"{self.named(project)}{extras}{specifier}{marker}"

    def requirements(self, projects: Sequence[str], counts: Sequence[int]) -> list[str]:
        return [self.requirement(projects) for _ in range(self.one(counts))]

    def extras(self, project: str) -> dict[str, list[str]]:
        # Extras that refer to their own project are common.
        wanted = (*self.projects, project, project)
        names = dict.fromkeys(self.one(EXTRAS) for _ in range(self.one((0, 0, 0, 0, 1, 2, 3))))
        return {name: self.requirements(wanted, (0, 1, 1, 2)) for name in names}

    def versions(self) -> list[str]:
        usual = self.draw(st.lists(st.sampled_from(FINALS), min_size=2, max_size=5, unique=True))
        return usual + [self.one(UNUSUAL) for _ in range(self.one((0, 0, 1, 2)))]

    def files(self, project: str) -> list[File]:
        """One to six versions of a project, mostly of one file each."""
        found = []
        for version in dict.fromkeys(self.versions()):
            said: dict[str, Any] = {"extras": self.extras(project)}
            said["requires"] = self.requirements(self.projects, (0, 0, 1, 1, 2, 2, 3))
            said["python"] = self.one(PYTHONS) if self.happens(12) else None
            said["yanked"] = self.one(("", "broken")) if self.index and self.happens(10) else None
            kind = self.one(("", "", "", "", "", "", "native", "both", "build", "sdist"))
            if kind in ("", "both", "build"):
                found.append(File(project, version, **said))
            if kind in ("native", "both"):
                tags = {self.one(TAGS), self.one(TAGS)} - {PURE}
                found += [File(project, version, tag=tag, **said) for tag in sorted(tags)]
            if kind == "build":
                found.append(File(project, version, build=self.one(("1", "2b", "10")), **said))
            if kind == "sdist" and self.index and self.happens(25):
                found.append(File(project, version, sdist=True, **said))
        return found


@st.composite
def worlds(draw: Draw, index: bool) -> Case:
    world = World(draw, index)
    # A project that is wanted and not there.
    absent = world.projects[-1] if world.happens(8) else ""
    files = [file for project in world.projects if project != absent for file in world.files(project)]
    constrained = [world.named(world.one(world.projects)) for _ in range(world.one((0, 0, 0, 1, 2)))]
    return Case(
        name="",
        files=tuple(files),
        want=tuple(world.requirements(world.projects, (1, 1, 2, 2, 3, 4))),
        constraints=tuple(f"{project}{world.one(SPECIFIERS) or '>0'}" for project in constrained),
        prereleases=world.happens(7),
        html=index and world.happens(25),
        core_metadata=not (index and world.happens(25)),
    )


# Hypothesis follows each example with some that differ little from it.
ALIKE = 3


def generate(count: int, seed: int, *, index: bool) -> list[Case]:
    """So many different worlds; the same ones for the same seed and the same Hypothesis."""
    found: dict[str, Case] = {}

    @hypothesis.seed(seed)
    @settings(
        max_examples=count * (ALIKE + 1),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds(index))
    def collect(case: Case) -> None:
        found.setdefault(as_json(case), case)

    collect()
    kept = list(found.values())[::ALIKE][:count]
    return [replace(case, name=f"world {number}") for number, case in enumerate(kept)]
