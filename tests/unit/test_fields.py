"""Reading a declaration key by key."""

from __future__ import annotations

from typing import Any

import pytest
from pipmirror_lib.fields import Fields, kind_of, seconds


def read(**values: Any) -> Fields:
    return Fields(values, "place", [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [("90s", 90), ("15m", 900), ("12h", 43200), ("3d", 259200), ("2w", 1209600), (" 2 d ", 172800), (0, 0), ("0s", 0)],
)
def test_a_duration(value: object, expected: int) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize("value", [None, True, False, 5, -1, "5", "d", "1y", "-1d", "1.5h", "1d2h", [], "1d\n2d"])
def test_no_duration(value: object) -> None:
    assert seconds(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1024, 1024), ("512m", 512 << 20), ("4g", 4 << 30), ("4GiB", 4 << 30), ("2 k", 2048), ("1t", 1 << 40)],
)
def test_a_size(value: object, expected: int) -> None:
    assert read(memory=value).size("memory", 1, least=1) == expected


@pytest.mark.parametrize("value", [True, "much", -1, "1.5g", [], "4x"])
def test_no_size(value: object) -> None:
    fields = read(memory=value)
    assert fields.size("memory", 7, least=1) == 7
    assert len(fields.faults) == 1


@pytest.mark.parametrize(("value", "expected"), [("0644", 0o644), ("644", 0o644), (644, 0o644), ("2755", 0o2755)])
def test_a_mode(value: object, expected: int) -> None:
    assert read(mode=value).mode("mode", 0) == expected


@pytest.mark.parametrize("value", [True, 888, "rwx", 64, "07777777", "-644"])
def test_no_mode(value: object) -> None:
    fields = read(mode=value)
    assert fields.mode("mode", 0o600) == 0o600
    assert len(fields.faults) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        (True, "the boolean true"),
        (5, "the number 5"),
        (1.5, "the number 1.5"),
        ("x", "the string 'x'"),
        ({}, "a mapping"),
        ([], "a list"),
        (object(), "a object"),
    ],
)
def test_kinds(value: object, said: str) -> None:
    assert kind_of(value) == said


@pytest.mark.parametrize("value", [True, 8675309, 8675.309, "hunter2", ["hunter2"], {"x": "hunter2"}])
def test_the_kind_of_a_secret_tells_nothing_of_it(value: object) -> None:
    said = kind_of(value, secret=True)
    assert said.startswith("a ")
    assert "hunter2" not in said
    assert "8675" not in said
    assert "true" not in said


def test_a_null_is_as_good_as_nothing() -> None:
    fields = read(text=None, flag=None, list=None)
    assert (fields.text("text", "x"), fields.flag("flag", True), fields.strings("list")) == ("x", True, [])
    assert fields.faults == []


def test_reading_goes_on_after_a_fault() -> None:
    fields = read(a=1, b="no", c="x", d="x", e="x", f=-2)
    assert (fields.text("a"), fields.flag("b", True), fields.choice("c", "y", ("y", "z"))) == ("", True, "y")
    assert (fields.whole("d", 3), fields.number("e", 1.5, 1, 2), fields.whole("f", 4)) == (3, 1.5, 4)
    assert [fault.partition(": ")[0] for fault in fields.faults] == [f"place:{key}" for key in "abcdef"]


def test_strings_of_a_list_and_of_a_mapping_know_their_place() -> None:
    fields = read(flat=["a", "b"], merged={"x": ["c"], "y": ["d"]})
    assert fields.strings("flat") == [("place:flat[0]", "a"), ("place:flat[1]", "b")]
    assert fields.strings("merged") == [("place:merged:x[0]", "c"), ("place:merged:y[0]", "d")]


def test_bytes_are_no_list() -> None:
    fields = read(flat=b"ab")
    assert fields.strings("flat") == []
    assert fields.faults == ["place:flat: must be a list of strings, not a list"]


def test_an_unknown_key_names_the_nearest() -> None:
    fields = read(platfroms=1, zz=2, known=3)
    fields.refuse_unknown(("platforms", "known"))
    assert fields.faults == [
        "place:platfroms: unknown key; did you mean 'platforms'?",
        "place:zz: unknown key; remove it",
    ]


def test_keys_that_are_no_strings_are_read_as_text() -> None:
    fields = Fields({1: "x", None: "y"}, "place", [])
    assert set(fields.values) == {"1", "None"}


def test_a_whole_that_is_no_mapping() -> None:
    faults: list[str] = []
    fields = Fields("x", "place", faults)
    assert fields.values == {}
    assert faults == ["place: must be a mapping, not the string 'x'"]
