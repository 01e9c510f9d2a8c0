"""A wheel file: name, METADATA, RECORD, hash; above all the ones that lie."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from pipmirror_lib import wheels
from pipmirror_lib.errors import WheelError
from pipmirror_lib.suspect import check_built
from pipmirror_lib.wheels import (
    Metadata,
    WheelName,
    checked_metadata,
    parse_metadata,
    parse_name,
    read_metadata,
    sha256_of,
)

from tests.support.dists import core_metadata, make_wheel

NAME = "demo-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("filename", "parts"),
    [
        (NAME, ("demo", "1.0", ())),
        (
            "Zope.Interface-1!2.0+local.1-3build-cp311-cp311-linux_x86_64.whl",
            ("zope-interface", "1!2.0+local.1", (3, "build")),
        ),
        ("a_b-1.0rc1-py2.py3-none-any.whl", ("a-b", "1.0rc1", ())),
    ],
)
def test_a_name(filename: str, parts: tuple[str, str, Any]) -> None:
    name = parse_name(filename)
    assert (name.project, str(name.version), name.build) == parts


def test_a_name_holds_all_its_tags() -> None:
    tags = parse_name("demo-1.0-py2.py3-none-manylinux1_x86_64.linux_x86_64.whl").tags
    assert Tag("py2", "none", "linux_x86_64") in tags
    assert len(tags) == 4


@pytest.mark.parametrize(
    "filename",
    [
        "demo.whl",
        "demo-1.0.whl",
        "demo-1.0-py3-none-any.tar.gz",
        "demo-1.0-py3-none-any.whl.metadata",
        "demo-2004d-py3-none-any.whl",
        "demo-1.0-build-py3-none-any.whl",
        "de mo-1.0-py3-none-any.whl",
        "a-b-c-d-e-f-g.whl",
        "de__mo-1.0-py3-none-any.whl",
        ".whl",
        "",
    ],
)
def test_what_pip_would_skip(filename: str) -> None:
    with pytest.raises(WheelError):
        parse_name(filename)


# -- METADATA ------------------------------------------------------------------------------------------------


def test_metadata() -> None:
    text = core_metadata("Demo", "1.0", requires=["a", "b>=1"], extras={"T_x": ["c"]}, requires_python=">=3.6")
    metadata = parse_metadata(text.encode())
    assert (metadata.name, metadata.project, metadata.version) == ("Demo", "demo", "1.0")
    assert metadata.requires_dist == ("a", "b>=1", 'c ; extra == "T_x"')
    assert (metadata.extras, metadata.requires_python) == (("t-x",), ">=3.6")
    assert [r.name for r in metadata.dependencies] == ["a", "b", "c"]


def test_what_follows_the_first_blank_line_is_prose() -> None:
    content = b"Name: demo\r\nVersion: 1.0\r\n\r\nRequires-Dist: evil\r\n"
    assert parse_metadata(content).requires_dist == ()


def test_a_folded_header_is_one_line() -> None:
    content = b"Name: demo\nVersion: 1.0\nRequires-Dist: a>=1;\n python_version\n > '3'\n\n"
    assert parse_metadata(content).requires_dist == ("a>=1; python_version > '3'",)


def test_bytes_that_are_no_text_break_nothing() -> None:
    content = b"Name: demo\nVersion: 1.0\nSummary: caf\xe9\nAuthor: J\xc3\xb6rg\nRequires-Dist: a\n\n\xff\xfe"
    assert parse_metadata(content).requires_dist == ("a",)


def test_fields_that_packaging_rejects_break_nothing() -> None:
    content = (
        b"Metadata-Version: 9.9\nName: demo\nVersion: 1.0\nLicense-File: ../x\nUnknown: y\nKeywords: a\nKeywords: b\n\n"
    )
    assert parse_metadata(content).metadata_version == "9.9"


@pytest.mark.parametrize(
    "content", [b"", b"Name: demo\n\n", b"Version: 1.0\n\n", b"\nName: demo\nVersion: 1\n", b"\x00" * 99]
)
def test_without_name_or_version_there_is_nothing(content: bytes) -> None:
    with pytest.raises(WheelError, match="lacks Name or Version"):
        parse_metadata(content)


def test_an_invalid_requirement_is_told_when_it_is_asked_for() -> None:
    metadata = parse_metadata(core_metadata("demo", "1.0", requires=["a >>> 1"]).encode())
    with pytest.raises(WheelError, match=r"invalid Requires-Dist in demo 1\.0"):
        _ = metadata.dependencies


def test_metadata_survives_being_stored_as_json() -> None:
    metadata = parse_metadata(core_metadata("demo", "1.0", requires=["a"], extras={"x": ["b"]}).encode())
    data = {**metadata.__dict__, "requires_dist": ["a", 'b ; extra == "x"'], "extras": ["x"], "dynamic": []}
    assert Metadata.from_data(data) == metadata


# -- a whole wheel -------------------------------------------------------------------------------------------


def test_an_honest_wheel(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "Demo.Pkg", "1.0", requires=["a"])
    content, metadata = checked_metadata(wheel, wheel.name)
    assert b"Requires-Dist: a" in content
    assert metadata.version == "1.0"
    check_built(wheel)
    assert sha256_of(wheel) == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_wheel_may_come_as_an_open_file(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    assert checked_metadata(io.BytesIO(wheel.read_bytes()), wheel.name)[1].name == "demo"


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "no METADATA": ({"dist_info": "demo-1.0.dist-info/x"}, "lacks METADATA, RECORD or WHEEL"),
    "no dist-info": ({"dist_info": "demo-1.0"}, "holds 0 .dist-info directories"),
    "another's dist-info": ({"dist_info": "evil-1.0.dist-info"}, "belongs to another project"),
    "two dist-infos": ({"extra_members": [("b-1.0.dist-info/METADATA", "")]}, "holds 2 .dist-info directories"),
    "another name in METADATA": ({"metadata": "Name: evil\nVersion: 1.0\n"}, "holds the metadata of evil 1.0"),
    "another version in METADATA": ({"metadata": "Name: demo\nVersion: 2.0\n"}, "holds the metadata of demo 2.0"),
    "an invalid version in METADATA": ({"metadata": "Name: demo\nVersion: new\n"}, "Invalid version: 'new'"),
    "an empty METADATA": ({"metadata": ""}, "lacks Name or Version"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_wheel(tmp_path: Path, lie: str) -> None:
    arguments, said = LIES[lie]
    wheel = make_wheel(tmp_path, filename=NAME, **arguments)
    with pytest.raises(WheelError, match=said) as caught:
        checked_metadata(wheel, NAME)
    assert NAME in str(caught.value)


def test_a_version_may_be_spelled_otherwise(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, filename=NAME, metadata="Name: Demo\nVersion: 1.0.0\n")
    assert checked_metadata(wheel, NAME)[1].version == "1.0.0"


def deflated(path: Path) -> Path:
    """A compressed wheel whose METADATA no longer inflates."""
    text = core_metadata("demo", "1.0") + "x" * 5000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("demo-1.0.dist-info/METADATA", text)
        archive.writestr("demo-1.0.dist-info/RECORD", "")
        start = archive.getinfo("demo-1.0.dist-info/METADATA").header_offset + 30 + len("demo-1.0.dist-info/METADATA")
    content = bytearray(path.read_bytes())
    content[start : start + 12] = b"\xff" * 12
    path.write_bytes(content)
    return path


def test_damage_of_every_kind_is_a_wheel_error(tmp_path: Path) -> None:
    whole = make_wheel(tmp_path).read_bytes()
    for size in (0, 1, 40, len(whole) // 2, len(whole) - 1):
        (tmp_path / NAME).write_bytes(whole[:size])
        with pytest.raises(WheelError):
            checked_metadata(tmp_path / NAME, NAME)
        with pytest.raises(WheelError):
            check_built(tmp_path / NAME)


@pytest.mark.parametrize("check", [lambda path: read_metadata(path, NAME), check_built], ids=["metadata", "record"])
def test_a_member_that_does_not_inflate(tmp_path: Path, check: Any) -> None:
    with pytest.raises(WheelError):
        check(deflated(tmp_path / NAME))


def test_each_flipped_byte_is_a_wheel_error_or_nothing(tmp_path: Path) -> None:
    """No damage of the archive's own structure may surface as anything else."""
    whole = make_wheel(tmp_path).read_bytes()
    for position in range(0, len(whole), 3):
        spoiled = bytearray(whole)
        spoiled[position] ^= 0xFF
        (tmp_path / NAME).write_bytes(spoiled)
        for check in (lambda: checked_metadata(tmp_path / NAME, NAME), lambda: check_built(tmp_path / NAME)):
            try:
                check()
            except WheelError:
                continue


def test_a_wheel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WheelError):
        read_metadata(tmp_path / NAME, NAME)


def test_metadata_beyond_any_sense_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "METADATA_LIMIT", 100)
    wheel = make_wheel(tmp_path, metadata=core_metadata("demo", "1.0") + "x" * 200)
    with pytest.raises(WheelError, match="beyond any sense"):
        read_metadata(wheel, NAME)


def test_versions_are_parsed_once() -> None:
    assert wheels.parse_version("1.0") is wheels.parse_version("1.0")
    assert wheels.parse_version("1.0") == Version("1.0")


def test_names_are_read_as_packaging_reads_them() -> None:
    """A plain name takes a short cut."""
    projects = ["demo", "Demo.Pkg", "a_b", "a__b", "_a", "a_", "a.", ".a", "2to3", "a b", "d\u00e9", "a+b", "a._b", ""]
    for project, build in itertools.product(projects, ["", "-1", "-1a", "-x", "-0"]):
        filename = f"{project}-1.0{build}-py3-none-any.whl"
        try:
            name, version, number, tags = parse_wheel_filename(filename)
        except ValueError:
            with pytest.raises(WheelError):
                parse_name(filename)
        else:
            assert parse_name(filename) == WheelName(name, version, number, tags), filename


def test_requirements_of_extras_are_not_read_before_somebody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("a>=1", "b<2; python_version < '3'", "c; extra == 'x'")
    metadata = parse_metadata(core_metadata("demo", "1.0", requires=texts).encode())
    assert metadata.sound
    monkeypatch.setattr(wheels, "requirement", lambda text: pytest.fail(f"{text} was read"))
    remembered = Metadata.from_data(dataclasses.asdict(metadata))
    assert [(text, str(marker)) for text, marker in remembered.conditions] == [
        ("a>=1", "None"),
        ("b<2; python_version < '3'", 'python_version < "3"'),
        ("c; extra == 'x'", 'extra == "x"'),
    ]


@pytest.mark.parametrize("text", ["a>", "a; python_version", "!"])
def test_metadata_with_an_invalid_requirement_is_not_sound(text: str) -> None:
    metadata = parse_metadata(core_metadata("demo", "1.0", requires=["a", text]).encode())
    assert not metadata.sound
    with pytest.raises(WheelError, match="invalid Requires-Dist"):
        _ = Metadata.from_data(dataclasses.asdict(metadata)).conditions


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"Summary: plain", "plain"),
        ("summary: äöü — 包\n  folded".encode(), "äöü — 包 folded"),
        (b"Summary: no \xff UTF-8", "no \ufffd UTF-8"),
        (b"Summary: " + b"x" * 1000, "x" * 500),
        (b"Keywords: none", ""),
    ],
)
def test_a_summary_is_utf8(written: bytes, read: str) -> None:
    assert parse_metadata(b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n" + written + b"\n\n").summary == read
