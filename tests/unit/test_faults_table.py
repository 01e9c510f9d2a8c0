"""docs/faults.md names the test that shows each fault; each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.salt import REPOSITORY

TABLE = (REPOSITORY / "docs" / "faults.md").read_text()
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith(("| fault |", "| what "))]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_fault_has_a_test(row: str) -> None:
    assert re.search(r"`tests/[\w/]+\.py::test_\w+`", row.split("|")[3])


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_each_named_test_is_there(path: str, name: str) -> None:
    assert name in functions_of(REPOSITORY / path)


def test_the_table_is_read() -> None:
    assert len(ROWS) > 30
    assert len(NAMED) > len(ROWS)
