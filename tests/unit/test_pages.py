"""Pages of an index: JSON and HTML, the honest and the hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version
from pipmirror_lib import pages
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import PackageIndexError

URL = "https://index.invalid/simple/demo/"
NAME = "demo-1.0-py3-none-any.whl"
SHA = "ab" * 32
OTHER = "cd" * 32


def from_json(*files: Any, url: str = URL) -> list[Candidate]:
    page = {"meta": {"api-version": "1.1"}, "name": "demo", "files": list(files)}
    content_type = f"{pages.JSON_TYPE}; charset=utf-8"
    return list(pages.candidates(json.dumps(page).encode(), content_type, url, canonicalize_name("demo")))


def from_html(body: str, url: str = URL) -> list[Candidate]:
    return list(pages.candidates(body.encode(), "text/html", url, canonicalize_name("demo")))


def file(**more: Any) -> dict[str, Any]:
    return {"filename": NAME, "url": f"../../files/{NAME}", "hashes": {"sha256": SHA}, **more}


def test_json() -> None:
    said = file(**{"requires-python": ">=3.6", "size": 7, "upload-time": "2024-01-01T00:00:00Z", "yanked": "bad"})
    (found,) = from_json({**said, "core-metadata": {"sha256": OTHER}})
    assert (found.project, str(found.version), found.filename) == ("demo", "1.0", NAME)
    assert found.url == f"https://index.invalid/files/{NAME}"
    assert (found.sha256, found.size, found.requires_python) == (SHA, 7, ">=3.6")
    assert (found.upload_time, found.yanked, found.metadata_sha256) == ("2024-01-01T00:00:00Z", "bad", OTHER)


@pytest.mark.parametrize(
    ("said", "yanked"),
    [
        ({}, None),
        ({"yanked": False}, None),
        ({"yanked": True}, ""),
        ({"yanked": "x"}, "x"),
        ({"yanked": "x\ud800"}, "x?"),
    ],
)
def test_json_yanked(said: dict[str, Any], yanked: str | None) -> None:
    assert from_json(file(**said))[0].yanked == yanked


@pytest.mark.parametrize(
    ("said", "metadata"),
    [
        ({}, None),
        ({"core-metadata": False}, None),
        ({"core-metadata": True}, ""),
        ({"core-metadata": {}}, ""),
        ({"core-metadata": {"sha256": OTHER}}, OTHER),
        ({"dist-info-metadata": {"sha256": OTHER}}, OTHER),
        ({"core-metadata": {"sha256": OTHER}, "dist-info-metadata": False}, OTHER),
    ],
)
def test_json_metadata(said: dict[str, Any], metadata: str | None) -> None:
    assert from_json(file(**said))[0].metadata_sha256 == metadata


def test_html() -> None:
    (found,) = from_html(
        f'<a href="../../files/{NAME}#sha256={SHA.upper()}" data-requires-python="&gt;=3.6" data-yanked="bad"'
        f' data-core-metadata="sha256={OTHER}">{NAME}</a>'
    )
    assert found.url == f"https://index.invalid/files/{NAME}"
    assert (found.sha256, found.requires_python, found.yanked) == (SHA, ">=3.6", "bad")
    assert (found.size, found.upload_time, found.metadata_sha256) == (None, "", OTHER)


@pytest.mark.parametrize(
    ("attributes", "yanked", "metadata"),
    [
        ("", None, None),
        ("data-yanked", "", None),
        ('data-yanked=""', "", None),
        ('data-core-metadata="true"', None, ""),
        ('data-core-metadata="false"', None, None),
        (f'data-dist-info-metadata="sha256={OTHER}"', None, OTHER),
    ],
)
def test_html_attributes(attributes: str, yanked: str | None, metadata: str | None) -> None:
    (found,) = from_html(f'<a href="{NAME}" {attributes}>x</a>')
    assert (found.yanked, found.metadata_sha256) == (yanked, metadata)


def test_html_with_a_base_and_odd_spellings() -> None:
    links = "<A Href='demo-1%2E0-py3-none-any.whl'>name</A><a>none</a><a href=''>x</a>"
    body = f"<BASE HREF='https://files.invalid/x/'>{links}"
    (found,) = from_html(body)
    assert found.filename == NAME
    assert found.url == "https://files.invalid/x/demo-1%2E0-py3-none-any.whl"


def test_html_that_never_ends_its_tags() -> None:
    assert [c.filename for c in from_html(f'<html><body><a href="{NAME}"><p><a href="{NAME}2"')] == [NAME]


def test_a_link_without_a_scheme_takes_the_pages() -> None:
    assert from_json(file(url=f"//files.invalid/{NAME}"))[0].url == f"https://files.invalid/{NAME}"


def test_versions_are_told_apart_by_value_and_keep_their_order() -> None:
    names = ["demo-1.0.tar.gz", "demo-1.0.0-py3-none-any.whl", "demo-2.0-1-py3-none-any.whl", "demo-1-py2-none-any.whl"]
    names += ["demo-0.1.zip", "Demo-3.0rc1.tar.gz", "demo-x.tar.gz", "demo-x-py3-none-any.whl", "de-mo-9.tar.gz"]
    page = {"files": [file(filename=name) for name in names]}
    found = pages.candidates(json.dumps(page).encode(), pages.JSON_TYPE, URL, canonicalize_name("demo"))
    assert list(map(str, found.versions)) == ["3.0rc1", "2.0", "1.0", "0.1"]
    assert [c.filename for c in found.release(found.versions[2])] == [names[0], names[1], names[3]]
    assert [c.filename for c in found] == [names[5], names[2], names[0], names[1], names[3], names[4]]
    assert found.release(Version("7")) == ()


def test_an_sdist_of_a_project_with_hyphens() -> None:
    page = {"files": [file(filename=name) for name in ("de-mo-1.0.tar.gz", "de_mo-2.0.tar.gz", "de-mo-3-1.tar.gz")]}
    found = pages.candidates(json.dumps(page).encode(), pages.JSON_TYPE, URL, canonicalize_name("de.mo"))
    assert list(map(str, found.versions)) == ["3.post1", "2.0", "1.0"]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://files.invalid/x", "javascript:alert(1)", "data:,x", "git+https://x.invalid/y"]
)
def test_only_http_is_followed(url: str) -> None:
    assert from_json(file(url=url)) == []


@pytest.mark.parametrize(
    "filename",
    [
        f"../{NAME}",
        f"/srv/{NAME}",
        "demo-1.0-py3-none-a/../../any.whl",
        "demo-1.0-py3-none-any.whl\n",
        "other-1.0-py3-none-any.whl",
        "..",
        "",
        f".{NAME}",
    ],
)
def test_a_hostile_file_name_is_no_file(filename: str) -> None:
    assert from_json(file(filename=filename)) == []


def test_hostile_file_names_in_html_are_no_files() -> None:
    links = [
        "..%2f..%2fdemo-1.0-py3-none-any.whl",
        "demo-1.0-py3-none-..%2f..%2fany.whl",
        "%2fsrv%2fdemo-1.0-py3-none-any.whl",
    ]
    assert from_html("".join(f'<a href="{link}">x</a>' for link in links)) == []


@pytest.mark.parametrize(
    "digest",
    ["../../../srv/evil", "/srv/evil", "ab" * 31, "ab" * 33, "zz" * 32, "", "..", None, 5, ["ab"], SHA + "\n"],
)
def test_a_hash_that_is_none_never_becomes_a_path(digest: object) -> None:
    """Hashes name files of our caches."""
    (found,) = from_json(file(hashes={"sha256": digest}, **{"core-metadata": {"sha256": digest}}))
    assert found.sha256 == ""
    assert found.metadata_sha256 == ""


@pytest.mark.parametrize("fragment", ["sha256=../../evil", "md5=00", "sha256=", "egg=demo", "sha256"])
def test_a_fragment_that_is_no_hash(fragment: str) -> None:
    assert from_html(f'<a href="{NAME}#{fragment}">x</a>')[0].sha256 == ""


@pytest.mark.parametrize("hashes", [None, {}, {"md5": "x"}])
def test_a_page_without_hashes(hashes: object) -> None:
    assert from_json(file(hashes=hashes))[0].sha256 == ""


@pytest.mark.parametrize("size", ["7", 7.5, None, -1, True])
def test_a_size_that_is_none(size: object) -> None:
    assert from_json(file(size=size))[0].size is None


@pytest.mark.parametrize("requires", [5, ["x"], {"x": 1}])
def test_a_requires_python_that_is_no_text_breaks_nothing(requires: object) -> None:
    found = from_json(file(**{"requires-python": requires}))[0]
    assert isinstance(found.requires_python, str)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"files": null}',
        b'{"files": 5}',
        b'{"files": ["x"]}',
        b'{"files": [{"filename": "demo-1.0-py3-none-any.whl"}]}',
        b'{"files": [{"url": "x"}]}',
        b'{"files": [{"filename": "demo-1.0-py3-none-any.whl", "url": "x", "hashes": "00"}]}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_page_that_is_none_is_told_with_its_address(content: bytes) -> None:
    url = "https://me:hunter2@index.invalid/simple/demo/?token=hunter2"
    with pytest.raises(
        PackageIndexError, match=r"the page of demo at https://index\.invalid/simple/demo/ is not"
    ) as caught:
        list(pages.candidates(content, pages.JSON_TYPE, url, canonicalize_name("demo")))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hunter2@index.invalid:8443/simple/?x=y#z", "https://index.invalid:8443/simple/"),
        ("http://index.invalid/a%20b", "http://index.invalid/a%20b"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[x/y", "an invalid URL"),
        ("http://me:hunter2@index.invalid:port/x", "http://index.invalid:port/x"),
    ],
)
def test_a_url_for_people(url: str, shown: str) -> None:
    assert pages.bare(url) == shown
