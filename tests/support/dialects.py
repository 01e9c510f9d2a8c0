"""Worlds on which older pips come to something else than current pip, and what we warn of then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from tests.support.worlds import Case, read_case

FILE = Path(__file__).parents[1] / "unit" / "dialects.json"
# Those of the images, and of others that are in use (21.3 in RedHat's 9th, 24.0 in Ubuntu 24.04); the last is current.
OWN = ("20.3.4", "23.0.1", "25.1.1")
OTHERS = ("21.3.1", "23.3.2", "24.0", "24.1", "24.3.1", "25.0.1", "25.3", "26.0")
PIPS = (*OWN, *OTHERS, "26.3")


@dataclass(frozen=True)
class Difference:
    """A world, those of our pips that differ on it, and a part of the warning."""

    case: Case
    pips: tuple[str, ...]
    said: str


def load_differences() -> list[Difference]:
    return [_difference(number, said) for number, said in enumerate(json.loads(FILE.read_text()))]


def _difference(number: int, said: Mapping[str, Any]) -> Difference:
    world = {key: value for key, value in said.items() if key not in ("pips", "said")}
    return Difference(read_case(f"dialects {number}", world), _versions(said["pips"]), said["said"])


def _versions(specifier: str) -> tuple[str, ...]:
    return tuple(SpecifierSet(specifier).filter(PIPS)) if specifier else ()
