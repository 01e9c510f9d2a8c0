"""The files of a JSON page, cut apart without reading them: never otherwise than reading would tell them apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from pipmirror_lib import pages, slices
from pipmirror_lib.errors import PackageIndexError

URL = "https://index.invalid/simple/demo/"
DEMO = canonicalize_name("demo")
# What could be taken for the end of a file, or for its name, within a text.
TRAPS = ['}, {"filename": "x"', "}, {", '"filename": "', '"files": [{', "},{", "]}", "\\", '"', "ü\u2028", "files"]
FORMS: list[dict[str, Any]] = [{}, {"separators": (",", ":")}, {"indent": 1}, {"sort_keys": True}, {"indent": "\t"}]

texts = st.text(max_size=5) | st.sampled_from(TRAPS)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
files = st.fixed_dictionaries(
    {"filename": st.from_regex(r"demo-[0-9]\.[0-9]-py[23]-none-any\.whl", fullmatch=True), "url": texts},
    optional={"hashes": values, "yanked": values, "size": values, "core-metadata": values, "files": values},
)
listings = st.fixed_dictionaries(
    {"files": st.lists(files | st.fixed_dictionaries({"filename": texts}), max_size=4)},
    optional={"meta": values, "versions": st.lists(texts, max_size=2), "a": values},
)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(listings, st.sampled_from(FORMS), st.permutations(["filename", "url", "hashes", "yanked", "files"]))
def test_what_is_cut_apart_is_what_reading_tells(page: dict[str, Any], form: dict[str, Any], order: list[str]) -> None:
    keys = (*order, "size", "core-metadata")
    page["files"] = [{key: one[key] for key in keys if key in one} for one in page["files"]]
    found = slices.sliced(json.dumps(page, **form).encode())
    if found is not None:
        assert [slices.whole(*one) for one in found.items()] == page["files"]
        assert list(found) == [one["filename"] for one in page["files"]]


def page_of(*said: dict[str, Any], **form: Any) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "files": list(said), "name": "demo"}, **form).encode()


def file(version: str = "1.0", **more: Any) -> dict[str, Any]:
    return {"filename": f"demo-{version}-py3-none-any.whl", "url": "x", "hashes": {"sha256": "0"}, **more}


@pytest.mark.parametrize("form", FORMS)
def test_pages_of_every_make_are_cut_apart(form: dict[str, Any]) -> None:
    found = slices.sliced(page_of(file("1.0"), file("2.0", yanked='a "quote"'), file("3.0"), **form))
    assert found is not None
    assert [slices.whole(*one)["filename"] for one in found.items()] == [
        file(v)["filename"] for v in ("1.0", "2.0", "3.0")
    ]


@pytest.mark.parametrize(
    "content",
    [
        page_of(),
        page_of(file(yanked="a }, { b"), file("2.0")),
        page_of(file(more=[{"a": 1}, {"b": 2}]), file("2.0")),
        page_of(file(more={"filename": "x"}), file("2.0")),
        page_of({"url": "x"}, file("2.0")),
        page_of(file(), file()),
        page_of(file()).replace(b"demo-1", b"d\\u0065mo-1"),
        page_of(file("1.0"), file("2.0"), file("3.0")).replace(b"}, {", b"},{", 1),
        page_of(file()).replace(b'"name"', b'"files": [], "name"'),
        page_of(file())[:-1],
        page_of(file())[:-30],
        page_of(file()) + b"x",
        b"\xef\xbb\xbf" + page_of(file()),
        page_of(file()).decode().encode("utf-16"),
        page_of(file(yanked="\xff")).replace(b"\\u00ff", b"\xff"),
        b'{"files": [{"filename": "demo-1.0-py3-none-any.whl", "url": ' + b"[" * 100_000,
        b'{"files": [{"filename": "demo-1.0-py3-none-any.whl", "url": "' + b"x" * (2 << 20) + b'"}]}',
    ],
)
def test_what_cannot_be_told_by_cutting_is_read_as_a_whole(content: bytes) -> None:
    assert slices.sliced(content) is None


@pytest.mark.parametrize("spoil", [(b'"url"', b'"url'), (b'"x"', b"x"), (b'{"sha256"', b'{{"sha256"')])
def test_a_file_that_is_not_written_as_json_is_told_when_it_is_looked_at(spoil: tuple[bytes, bytes]) -> None:
    content = page_of(file("1.0"), file("2.0")).replace(*spoil, 1)
    found = pages.candidates(content, pages.JSON_TYPE, URL, DEMO)
    newest, oldest = found.versions
    assert [str(candidate.version) for candidate in found.release(newest)] == ["2.0"]
    with pytest.raises(PackageIndexError, match="is not a project page"):
        found.release(oldest)


def test_a_file_under_two_names_is_told_when_it_is_looked_at() -> None:
    content = page_of(file()).replace(b'"url"', b'"filename" : "demo-9.0-py3-none-any.whl", "url"')
    with pytest.raises(PackageIndexError, match=r"demo-1\.0-py3-none-any\.whl is not written as one object"):
        list(pages.candidates(content, pages.JSON_TYPE, URL, DEMO))


def test_what_a_file_is_made_of_is_counted_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pages.MOST_PARTS, b"{[,", 50)
    content = page_of(file("1.0", more=[0] * 100), file("2.0"))
    found = pages.candidates(content, pages.JSON_TYPE, URL, DEMO)
    assert found.release(found.versions[0])
    with pytest.raises(PackageIndexError, match="more than 50 are beyond any sense"):
        found.release(found.versions[1])
