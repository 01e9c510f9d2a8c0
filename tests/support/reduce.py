"""A world that pip and we disagree on, made as small as it can be while they still disagree."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tests.support.worlds import Case, File

# Real pip is asked of hundreds of simpler worlds in every round.
SECONDS = 180
_SIMPLER = (
    (r"\s*;.*", ""),
    (r"\[[^]]*\]", ""),
    (r",[<>=!~][^,;\s]+", ""),
    (r"[<>=!~]=?=?[^,;\s]+,", ""),
    (r"[<>=!~].*", ""),
)


def smallest(case: Case, disagree: Callable[[Sequence[Case]], Sequence[bool]]) -> Case:
    """Greedily: the first simpler world on which they still disagree, and so on."""
    end = time.monotonic() + SECONDS
    while True:
        simpler = [replace(one, name=f"{case.name} {number}") for number, one in enumerate(_simpler(case))]
        found = [one for one, bad in zip(simpler, disagree(simpler), strict=True) if bad]
        if found:
            case = replace(found[0], name=case.name)
        if not found or time.monotonic() > end:
            return case


def _simpler(case: Case) -> Iterator[Case]:
    """Every world that lacks one thing, those that lack most first."""
    for project in dict.fromkeys(file.project for file in case.files):
        yield replace(case, files=tuple(file for file in case.files if file.project != project))
    for position in range(len(case.files)):
        yield replace(case, files=_without(case.files, position))
    for position in range(len(case.want) if len(case.want) > 1 else 0):
        yield replace(case, want=_without(case.want, position))
    for position in range(len(case.constraints)):
        yield replace(case, constraints=_without(case.constraints, position))
    for position, file in enumerate(case.files):
        for simpler in _simpler_files(file):
            yield replace(case, files=(*case.files[:position], simpler, *case.files[position + 1 :]))
    for name in ("want", "constraints"):
        for texts in _simpler_texts(getattr(case, name)):
            yield replace(case, **{name: texts})
    for name, plain in (("prereleases", False), ("html", False), ("core_metadata", True)):
        if getattr(case, name) != plain:
            yield replace(case, **{name: plain})


def _simpler_files(file: File) -> Iterator[File]:
    for position in range(len(file.requires)):
        yield replace(file, requires=_without(file.requires, position))
    for texts in _simpler_texts(file.requires):
        yield replace(file, requires=texts)
    for name in file.extras:
        yield replace(file, extras={key: value for key, value in file.extras.items() if key != name})
        for position in range(len(file.extras[name])):
            yield replace(file, extras={**file.extras, name: _without(file.extras[name], position)})
        for texts in _simpler_texts(file.extras[name]):
            yield replace(file, extras={**file.extras, name: texts})
    for name in ("python", "yanked"):
        if getattr(file, name) is not None:
            yield replace(file, **{name: None})


def _without(items: Sequence[object], position: int) -> tuple[object, ...]:
    return (*items[:position], *items[position + 1 :])


def _simpler_texts(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for position, text in enumerate(texts):
        for pattern, replacement in _SIMPLER:
            simpler = re.sub(pattern, replacement, text, count=1)
            if simpler != text:
                yield (*texts[:position], simpler, *texts[position + 1 :])
