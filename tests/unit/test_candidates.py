"""Candidates: which file names count, and what a shelf says of those that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pipmirror_lib.candidates import Candidate, Shelf, named

from tests.support.worlds import PROFILE, File

DEMO = canonicalize_name("demo")


def shelf(*files: File, **more: Any) -> Shelf:
    return Shelf([candidate for file in files if (candidate := file.candidate())], PROFILE, **more)


def best(found: Shelf, specifier: str = "", prereleases: bool | None = None) -> list[str]:
    return [candidate.filename for candidate in found.matching(SpecifierSet(specifier), prereleases)]


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("demo-1.0-py3-none-any.whl", "demo", "1.0"),
        ("Demo-1.0-py3-none-any.whl", "demo", "1.0"),
        ("demo-1.0.tar.gz", "demo", "1.0"),
        ("Demo_Pkg-1.0.zip", "demo-pkg", "1.0"),
        ("demo-pkg-1.0.tar.bz2", "demo-pkg", "1.0"),
        ("demo.pkg-1.0.tgz", "demo-pkg", "1.0"),
        ("demo-2-1.0.tar.gz", "demo-2", "1.0"),
        ("demo-1.0-1.tar.gz", "demo", "1.0.post1"),
        ("demo-1!2.0+local.tar.gz", "demo", "1!2.0+local"),
    ],
)
def test_a_name_that_counts(filename: str, project: str, version: str) -> None:
    found = named(filename, canonicalize_name(project))
    assert found
    assert str(found[0]) == version
    assert (found[1] is None) is not filename.endswith(".whl")


@pytest.mark.parametrize(
    "filename",
    [
        "other-1.0-py3-none-any.whl",
        "demo-pkg-1.0.tar.gz",
        "demo-2004d-py3-none-any.whl",
        "demo-2004d.tar.gz",
        "demo-1.0.exe",
        "demo-1.0.egg",
        "demo-1.0-py3-none-any.whl.metadata",
        "demo-1.0.tar.gz.asc",
        "demo.tar.gz",
        "demo-.tar.gz",
        "",
        "../demo-1.0-py3-none-any.whl",
        "/srv/demo-1.0-py3-none-any.whl",
        "demo-1.0-py3-none-../../any.whl",
        "demo-1.0-py3-none-any/../x.whl",
        "demo-1.0/../../x.tar.gz",
        ".demo-1.0.tar.gz",
        "-demo-1.0.tar.gz",
        "demo-1.0-py3-none-any.whl\n",
        "demo-1.0\0.tar.gz",
        "demo-1.0 .tar.gz",
        "demo-1.0\\..\\x.tar.gz",
        "démo-1.0.tar.gz",
        "demo-1.0%2f..%2fx.tar.gz",
    ],
)
def test_a_name_that_does_not_count(filename: str) -> None:
    assert named(filename, DEMO) is None


def test_every_reason_for_rejection_is_told_apart() -> None:
    files = [
        File("demo", "1.0", tag="cp27-cp27mu-win32"),
        File("demo", "2.0", python=">=3.99"),
        File("demo", "3.0"),
        File("demo", "4.0", sdist=True),
        File("demo", "5.0", tag="cp27-cp27mu-win32", python=">=3.99"),
    ]
    found = shelf(*files, binary=False)
    assert {why: [str(c.version) for c in rejected] for why, rejected in found.rejected.items()} == {
        "tags": ["5.0", "1.0"],
        "python": ["2.0"],
        "binary": ["3.0"],
    }
    assert best(found) == ["demo-4.0.tar.gz"]


def test_best_first() -> None:
    files = [
        File("demo", "1.0"),
        File("demo", "2.0rc1"),
        File("demo", "0.9", sdist=True),
        File("demo", "1.0", build="1"),
    ]
    found = shelf(*files)
    assert best(found) == ["demo-1.0-1-py3-none-any.whl", "demo-0.9.tar.gz"]
    assert best(found, prereleases=True)[0] == "demo-2.0rc1-py3-none-any.whl"


def test_prereleases_can_be_ruled_out() -> None:
    assert best(shelf(File("demo", "2.0rc1")), prereleases=False) == []
    assert best(shelf(File("demo", "2.0rc1"))) == ["demo-2.0rc1-py3-none-any.whl"]


def test_a_yanked_final_still_keeps_prereleases_away() -> None:
    assert best(shelf(File("demo", "1.0", yanked=""), File("demo", "2.0rc1"))) == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_one_version_the_file_that_is_not_yanked(order: int) -> None:
    files = [File("demo", "1.0", yanked="x"), File("demo", "1.0", sdist=True)]
    assert best(shelf(*files[::order]), "==1.0") == ["demo-1.0.tar.gz"]


def test_two_candidates_of_equal_bytes_are_equal_wherever_they_come_from() -> None:
    one = File("demo", "1.0").candidate()
    other = File("demo", "1.0", yanked="later").candidate()
    assert one == other
    assert hash(one) == hash(other)


def test_a_candidate_in_words() -> None:
    candidate = File("Demo.Pkg", "1.0").candidate()
    assert isinstance(candidate, Candidate)
    assert str(candidate) == "demo-pkg 1.0"
    assert candidate.build == ()


def test_only_what_is_looked_at_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    judge = Shelf._judge

    def noting(found: Shelf, candidate: Candidate) -> tuple[str, int]:
        judged.append(str(candidate.version))
        return judge(found, candidate)

    monkeypatch.setattr(Shelf, "_judge", noting)
    found = shelf(File("demo", "1.0"), File("demo", "3.0", tag="cp27-cp27mu-win32"), File("demo", "2.0"))
    matching = found.matching(SpecifierSet(), None)
    assert str(next(matching)) == "demo 2.0"
    assert judged == ["3.0", "2.0"]
    assert [str(candidate.version) for candidate in found.best_first] == ["2.0", "1.0"]
    assert [str(candidate.version) for candidate in matching] == ["1.0"], "two readers do not disturb each other"
    assert judged == ["3.0", "2.0", "1.0"]
