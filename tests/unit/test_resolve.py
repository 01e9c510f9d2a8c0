"""The decision, its view of a source and its explanations: worlds as data, then what no data can say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pipmirror_lib import provider, resolve
from pipmirror_lib.errors import ResolutionError
from pipmirror_lib.resolve import Answer
from pipmirror_lib.world import Question, Want, World

from tests.support.worlds import PROFILE, Case, File, MemorySource, load_cases, make_profile, slug

CASES = load_cases()


def decide(*files: File, want: list[str], **more: object) -> Answer:
    question = Question(requirements=tuple(map(Requirement, want)), profile=PROFILE, **more)  # type: ignore[arg-type]
    return resolve.resolve(question, MemorySource(files))


def check(case: Case, answer: Answer) -> None:
    if case.missing is not None:
        assert set(answer.missing) == set(case.missing), answer
        for requirement, reason in case.missing.items():
            assert re.search(reason, answer.missing[requirement]), answer.missing
        assert not answer.satisfied
        assert answer.closure == {}
        return
    assert answer.missing == {}
    assert case.closure is not None, "a case without any expectation"
    found = {
        name: candidate.filename if case.closure.get(name, "").endswith((".whl", ".gz")) else str(candidate.version)
        for name, candidate in answer.closure.items()
    }
    assert found == dict(case.closure)
    assert answer.warnings == case.warnings


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_case(case: Case) -> None:
    check(case, resolve.resolve(case.question(), case.source()))


@pytest.mark.parametrize("case", [case for case in CASES if case.closure is not None], ids=slug)
def test_the_search_agrees_with_the_shortcut(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimistic closure saves time only: without it resolvelib comes to the same."""
    monkeypatch.setattr(resolve, "_optimistic", lambda world, roots: (None, [], []))
    check(case, resolve.resolve(case.question(), case.source()))


@pytest.mark.parametrize("case", [case for case in CASES if case.closure], ids=slug)
def test_the_order_of_files_does_not_matter(case: Case) -> None:
    check(case, resolve.resolve(case.question(), MemorySource(reversed(case.files))))


def test_there_are_enough_cases_and_each_name_is_its_own() -> None:
    assert len(CASES) >= 60
    assert len({slug(case) for case in CASES}) == len(CASES)


def test_who_wants_what_is_told() -> None:
    answer = decide(File("app", "1.0", ["dep>=1"]), File("dep", "1.0"), want=["app", "dep"])
    assert answer.wanted_by == {"app": ("app (declared)",), "dep": ("dep (declared)", "dep>=1 (wanted by app 1.0)")}


def test_what_a_discarded_version_wanted_is_not_told() -> None:
    files = [File("app", "2.0", ["dep>=2"]), File("app", "1.0", ["dep"]), File("dep", "1.0"), File("dep", "2.0")]
    answer = decide(*files, want=["app", "dep<2"])
    assert answer.wanted_by["dep"] == ("dep<2 (declared)", "dep (wanted by app 1.0)")


def test_a_want_is_told_without_its_marker() -> None:
    want = Want(Requirement("dep[b,A_c]>=1; python_version > '3'"))
    assert str(want) == "dep[A_c,b]>=1 (declared)"
    assert want.extras == ("a-c", "b")


def test_the_same_world_on_two_targets() -> None:
    files = [File("demo", "2.0", python=">=3.11"), File("demo", "1.0"), File("tomli", "1.0")]
    files.append(File("app", "1.0", ["demo", "tomli; python_version < '3.11'"]))
    answers = {}
    for python in ("3.9.2", "3.11.2"):
        question = Question((Requirement("app"),), make_profile(python))
        closure = resolve.resolve(question, MemorySource(files)).closure
        answers[python] = {str(candidate) for candidate in closure.values()}
    assert answers == {"3.9.2": {"app 1.0", "demo 1.0", "tomli 1.0"}, "3.11.2": {"app 1.0", "demo 2.0"}}


def test_a_declared_url_is_refused_before_anything_is_asked() -> None:
    source = MemorySource([File("demo", "1.0")])
    wanted = (Requirement("demo @ https://files.invalid/demo-1.0-py3-none-any.whl"),)
    answer = resolve.resolve(Question(wanted, PROFILE), source)
    assert list(answer.missing) == [str(wanted[0])]
    assert source.asked == []


def test_a_satisfied_world_reads_each_metadata_once() -> None:
    files = [File("app", "1.0", ["a", "b"]), File("a", "1.0", ["b"]), File("b", "1.0"), File("b", "0.9")]
    source = MemorySource(files)
    assert resolve.resolve(Question((Requirement("app"),), PROFILE), source).satisfied
    assert sorted(source.asked) == [
        "a-1.0-py3-none-any.whl",
        "app-1.0-py3-none-any.whl",
        "b-1.0-py3-none-any.whl",
    ]


def test_each_level_is_announced_before_it_is_asked_for() -> None:
    source = MemorySource([File("app", "1.0", ["a", "b"]), File("a", "1.0"), File("b", "1.0")])
    resolve.resolve(Question((Requirement("app"),), PROFILE), source)
    assert source.prefetched[1:5] == [
        ["app"],
        ["app-1.0-py3-none-any.whl"],
        ["a", "b"],
        ["a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"],
    ]


def hard_world() -> list[File]:
    """Every version of every project excludes every version of the next; resolvelib must try them all."""
    files = []
    for version in range(1, 9):
        files.append(File("a", f"{version}.0", [f"b=={version}.0", "c"]))
        files.append(File("b", f"{version}.0", [f"c=={version}.0", "d"]))
        files.append(File("c", f"{version}.0", [f"d=={version + 1}.0"]))
        files.append(File("d", f"{version}.0", [f"a=={version}.0"]))
    return files


def test_time_that_is_over_names_the_busiest_projects() -> None:
    with pytest.raises(ResolutionError, match=r"resolve_timeout of -1 s is over; revisited most: .*sets of their own"):
        decide(*hard_world(), want=["a", "b"], timeout=-1)


def test_too_many_rounds_are_an_error_of_the_same_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "MAX_ROUNDS", 2)
    with pytest.raises(ResolutionError, match="too many rounds"):
        decide(*hard_world(), want=["a", "b"])


def test_a_hopeless_world_ends() -> None:
    answer = decide(*hard_world(), want=["a", "b"])
    assert set(answer.missing) <= {"a", "b"}
    assert answer.missing


def test_a_thousand_roots_need_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """resolvelib is quadratic in roots: a list that is satisfied must not reach it."""
    files = [File(f"p{number}", "1.0", ["base"]) for number in range(1000)]
    monkeypatch.setattr(resolve, "search", None)
    answer = decide(*files, File("base", "1.0"), want=[f"p{number}" for number in range(1000)])
    assert len(answer.closure) == 1001


def test_a_long_list_of_versions_is_shortened() -> None:
    files = [File("demo", f"{number}.0") for number in range(1, 10)]
    answer = decide(*files, want=["demo>99"])
    assert "there is 9.0, 8.0, 7.0, 6.0, 5.0 and 4 more" in answer.missing["demo>99"]


def test_two_reasons_of_one_requirement_are_both_told() -> None:
    answer = decide(File("app", "1.0", ["gone", "lost"]), want=["app"])
    assert re.search("gone: nothing of that name.*lost: nothing of that name", answer.missing["app"])


def test_no_two_reasons_run_into_one_key() -> None:
    answer = decide(want=["gone", "lost>=1"])
    assert set(answer.missing) == {"gone", "lost>=1"}


def test_a_marker_that_cannot_be_evaluated_discards_its_candidate() -> None:
    files = [File("app", "2.0", ["dep; os_name ~= 'posix'"]), File("app", "1.0")]
    answer = decide(*files, want=["app"])
    assert {str(candidate) for candidate in answer.closure.values()} == {"app 1.0"}


def test_a_world_remembers_shelves_and_dependencies() -> None:
    source = MemorySource([File("app", "1.0", ["dep"]), File("dep", "1.0")])
    world = World(source, Question((Requirement("app"),), PROFILE))
    name = canonicalize_name("app")
    assert world.shelf(name) is world.shelf(name)
    candidate = source.files(name)[0]
    assert world.dependencies(candidate) is world.dependencies(candidate)
    assert source.asked == ["app-1.0-py3-none-any.whl"]


def test_the_cases_lie_where_they_are_looked_for() -> None:
    assert sorted(path.stem for path in (Path(__file__).parent / "cases").glob("*.json")) == sorted(
        {case.name.partition(":")[0] for case in CASES}
    )


def calls(roots: int) -> int:
    """Python functions that one decision calls."""
    files = [File(f"root{n}", "1.0", [f"dep{n}>=1", "shared"]) for n in range(roots)]
    files += [File("shared", "1.0"), *(File(f"dep{n}", version) for n in range(roots) for version in ("1.0", "2.0"))]
    source, want = MemorySource(files), [f"root{n}" for n in range(roots)]
    question = Question(requirements=tuple(map(Requirement, want)), profile=PROFILE)
    counted = [0]

    def count(frame: object, event: str, argument: object) -> None:
        counted[0] += event == "call"

    sys.setprofile(count)
    try:
        answer = resolve.resolve(question, source)
    finally:
        sys.setprofile(None)
    assert len(answer.closure) == 2 * roots + 1
    return counted[0]


def test_a_decision_grows_with_its_requirements_and_not_with_their_square() -> None:
    assert calls(800) < 4.4 * calls(200)
