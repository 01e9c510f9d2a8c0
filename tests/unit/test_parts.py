"""What is read once: it must be what packaging reads, for every text."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pipmirror_lib import parts

NAMES = [
    "demo",
    "Demo.Pkg",
    "d",
    "2to3",
    "a-_.b",
    " demo",
    "\tdemo",
    "demo-",
    "_demo",
    "demo_",
    "dé",
    "-",
    "",
    "\ndemo",
]
DETAILS = [
    *(
        "",
        " ",
        ">=1",
        " >=1.0, <2",
        "(>=1)",
        " ( ~=1.4.2 )",
        "==1.*",
        "!=1.0,",
        "===1.0",
        "===1;0",
        "<1.0rc1",
        ">=1.0.*",
    ),
    *(
        "[x]",
        "[x, Y.z] >1",
        "[]",
        " [x]",
        "[x",
        "[x,]",
        "other",
        " other",
        ".",
        "-",
        "=1",
        ">=",
        ">=x",
        "\n>=1",
        "\u00a0>=1",
    ),
    *("@ https://index.invalid/d.whl", " @ https://index.invalid/d;x.whl", "@", " @ git+https://index.invalid/d@main"),
]
MARKERS = [
    *(
        "",
        ";",
        "; ",
        ";python_version<'3'",
        " ; python_version < '3' and extra == 'Dev_x' ",
        ";extra=='x' or (os_name=='a')",
    ),
    *(
        "; python_version",
        ";; os_name == 'a'",
        "; os_name == ';'",
        "; os_name == 'a' x",
        ";os_name=='@'",
        "; 'a' in os_name#",
    ),
]


def read(reader: Callable[[str], Requirement], text: str) -> tuple[object, ...] | str:
    """Everything that a requirement says, or why it is none."""
    try:
        wanted = reader(text)
    except InvalidRequirement as error:
        return str(error)
    return wanted.name, wanted.url, wanted.extras, str(wanted.specifier), str(wanted.marker), str(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_requirements_are_read_as_packaging_reads_them(name: str) -> None:
    for details, marker in itertools.product(DETAILS, MARKERS):
        text = f"{name}{details}{marker}"
        assert read(parts.requirement, text) == read(Requirement, text), text


def test_version_specifiers_are_read_as_packaging_reads_them() -> None:
    operators = ["~=", "==", "!=", "<=", ">=", "<", ">", "===", "=", "=>", "", "> ", "= ="]
    versions = ["1", "1.*", "1.0.*", "*", "1.0+x", "1!2.0", "1.0rc1", "1.0-1", "v1.0", "1.0.", "x", "", "1 0", "1_0"]
    clauses = [f"{one}{version}" for one, version in itertools.product(operators, versions)]
    for clause, joint, other in itertools.product(clauses, [",", " , ", " ", ",,"], [">=1", "!=2.*", ""]):
        text = f"demo{clause}{joint}{other}"
        assert read(parts.requirement, text) == read(Requirement, text), text


def test_the_texts_are_of_both_kinds() -> None:
    kinds = [type(read(Requirement, "".join(text))) for text in itertools.product(NAMES, DETAILS, MARKERS)]
    assert kinds.count(str) > 500
    assert kinds.count(tuple) > 500


def test_parts_are_shared_and_names_are_not() -> None:
    one, other = parts.requirement("one >=1.5; os_name == 'x'"), parts.requirement("other>=1.5;os_name == 'x'")
    assert (one.name, other.name) == ("one", "other")
    assert one.specifier is other.specifier
    assert one.marker is other.marker
    assert parts.requirement("one>=1.5").marker is None


VERSIONS = ["1", "1.0", "1.0.0", "1.0rc1", "1.0.post1", "1.0.dev2", "1.0+local", "1.0.1", "2!1.0", "0.9", "1.10"]
CLAUSES = [
    *(
        "",
        ">=1",
        ">1",
        "<1.0",
        "<=1.0",
        "==1",
        "==1.0.*",
        "!=1.0",
        "~=1.0",
        "~=1.0.0",
        "===1",
        "===1.0",
        "===1.0+local",
    ),
    *("<1.0rc2", ">1.0.post0", "==1.0+local", ">=2!0", "!=1.*", ">=1.0.dev1", "<=1.0.1", ">0.9", "!=1.0+local", "<2!0"),
]


def test_a_version_is_within_a_specifier_when_packaging_says_so() -> None:
    for one, other, version in itertools.product(CLAUSES, CLAUSES, map(Version, VERSIONS)):
        specifier = SpecifierSet(f"{one},{other}")
        expected = specifier.contains(version, prereleases=True)
        assert parts.within(specifier, version) is expected
        assert parts.within(specifier, version) is expected, "remembered"


def test_equal_versions_are_told_apart_where_they_must_be() -> None:
    specifier = SpecifierSet("===1.0")
    found = [parts.within(specifier, Version(text)) for text in ("1.0", "1.0.0", "1")]
    assert found == [True, False, False]


def test_specifiers_are_combined() -> None:
    sets = [SpecifierSet(text) for text in (">=1", "", "<2", ">=1")]
    assert parts.combined(sets) == SpecifierSet(">=1,<2")
    assert parts.combined(sets) is parts.combined(iter(sets))
    assert parts.combined([]) == SpecifierSet()
    assert parts.combined(sets[:1]) == SpecifierSet(">=1")


def test_answers_are_given_once_and_never_for_another_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that went away gives its identity to the next one; the answer must not go with it."""
    monkeypatch.setattr(parts, "REMEMBERED", 5)
    asked: list[str] = []

    @parts.by_identity
    def texts(*versions: Version) -> str:
        asked.append("/".join(map(str, versions)))
        return asked[-1]

    for number in range(100):
        assert texts(Version(f"1.{number}"), Version("2")) == f"1.{number}/2"
    one = Version("3")
    assert (texts(one), texts(one), texts(one, one)) == ("3", "3", "3/3")
    assert asked[100:] == ["3", "3/3"]


@pytest.mark.parametrize("name", ["demo", "Demo.Pkg"])
def test_the_condition_of_a_valid_requirement_is_its_marker(name: str) -> None:
    compared = 0
    for details, marker in itertools.product(DETAILS, MARKERS):
        text = f"{name}{details}{marker}"
        if isinstance(expected := read(Requirement, text), tuple):
            compared += 1
            assert str(parts.condition(text)) == expected[4], text
    assert compared > 50


@pytest.mark.parametrize("details", DETAILS)
def test_a_requirement_without_its_marker(details: str) -> None:
    if isinstance(expected := read(Requirement, f"demo{details}"), tuple):
        for marker in ("", " ; os_name == 'posix'"):
            assert parts.without_marker(Requirement(f"demo{details}{marker}")) == str(expected[5]).split(";")[0].strip()
