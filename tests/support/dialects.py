"""Worlds on which older pips come to something else than current pip, and what we warn of then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.worlds import Case, read_case

FILE = Path(__file__).parents[1] / "unit" / "dialects.json"
PIPS = ("20.3.4", "23.0.1", "25.1.1", "26.3")


@dataclass(frozen=True)
class Difference:
    """A world, the versions of pip that differ on it, and a part of the warning."""

    case: Case
    pips: tuple[str, ...]
    said: str


def load_differences() -> list[Difference]:
    return [_difference(number, said) for number, said in enumerate(json.loads(FILE.read_text()))]


def _difference(number: int, said: Mapping[str, Any]) -> Difference:
    world = {key: value for key, value in said.items() if key not in ("pips", "said")}
    return Difference(read_case(f"dialects {number}", world), tuple(said["pips"]), said["said"])
