"""Every way to a project, shortest first, and no more of them than anybody can read."""

from __future__ import annotations

import time

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pipmirror_lib import paths, resolve
from pipmirror_lib.paths import Graph
from pipmirror_lib.world import Question, World

from tests.support.worlds import PROFILE, File, MemorySource


def graph(files: list[File], *want: str) -> Graph:
    question = Question(requirements=tuple(map(Requirement, want)), profile=PROFILE)
    source = MemorySource(files)
    return Graph(World(source, question), resolve.resolve(question, source).closure)


def chains(files: list[File], project: str, *want: str) -> list[str]:
    found, more = graph(files, *want).chains(canonicalize_name(project))
    assert not more
    return [" -> ".join(chain) for chain in found]


def test_what_is_declared_is_its_own_chain() -> None:
    assert chains([File("Demo", "1.0")], "demo", "Demo>=1") == ["Demo>=1"]


def test_every_step_is_the_requirement_as_it_was_written() -> None:
    files = [File("app", "1.0", ["Mid_Dle~=1.0 ; python_version > '3'"]), File("mid-dle", "1.0", ["dep<9,>=1"])]
    assert chains([*files, File("dep", "2.0")], "dep", "app") == ["app -> Mid_Dle~=1.0 -> dep<9,>=1"]


def test_the_shortest_chain_comes_first() -> None:
    files = [File("app", "1.0", ["long", "dep"]), File("long", "1.0", ["longer"]), File("longer", "1.0", ["dep>=1"])]
    assert chains([*files, File("dep", "1.0")], "dep", "app", "dep") == [
        "dep",
        "app -> dep",
        "app -> long -> longer -> dep>=1",
    ]


def test_what_does_not_lead_there_is_not_told() -> None:
    files = [File("app", "1.0", ["dep"]), File("other", "1.0", ["more"]), File("more", "1.0"), File("dep", "1.0")]
    assert chains(files, "dep", "app", "other") == ["app -> dep"]
    assert chains(files, "nobody", "app", "other") == []


def test_what_a_project_wants_is_no_part_of_the_way_to_it() -> None:
    files = [File("app", "1.0", ["dep"]), File("dep", "1.0", ["app", "dep[more]"], {"more": []})]
    assert chains(files, "dep", "app") == ["app -> dep"]


def test_a_cycle_ends() -> None:
    files = [File("a", "1.0", ["b"]), File("b", "1.0", ["c", "a"]), File("c", "1.0", ["a", "b", "dep"])]
    assert chains([*files, File("dep", "1.0")], "dep", "a") == ["a -> b -> c -> dep"]


def test_an_extra_leads_where_the_base_does_not() -> None:
    files = [File("demo", "1.0", extras={"tls": ["dep"]}), File("app", "1.0", ["demo"]), File("dep", "1.0")]
    assert chains(files, "dep", "app", "demo[tls]") == ["demo[tls] -> dep"]


def test_an_extra_that_refers_to_another_one() -> None:
    files = [File("demo", "1.0", ["base"], {"all": ["demo[a,b]"], "a": ["one"], "b": ["two"]})]
    files += [File("one", "1.0"), File("two", "1.0"), File("base", "1.0")]
    assert chains(files, "two", "demo[all]") == ["demo[all] -> demo[a,b] -> two"]
    assert chains(files, "base", "demo[all]") == ["demo[all] -> base"], "not once more by way of the extras"


def test_a_project_that_is_missing_has_its_chains_too() -> None:
    assert chains([File("app", "1.0", ["gone>=1"])], "gone", "app") == ["app -> gone>=1"]


def test_what_is_wanted_by_url_leads_no_further() -> None:
    files = [File("app", "1.0", ["dep @ https://files.invalid/dep-1.0-py3-none-any.whl"]), File("dep", "1.0", ["more"])]
    assert chains(files, "dep", "app") == [
        f"app -> {Requirement('dep @ https://files.invalid/dep-1.0-py3-none-any.whl')}"
    ]
    assert chains(files, "more", "app") == []


def ladder(steps: int) -> list[File]:
    """Twice as many ways with every step."""
    files = [File("top", "1.0", ["left0", "right0"]), File("dep", "1.0")]
    for step in range(steps):
        after = [f"left{step + 1}", f"right{step + 1}"] if step + 1 < steps else ["dep"]
        files += [File(f"left{step}", "1.0", after), File(f"right{step}", "1.0", after)]
    return files


@pytest.mark.parametrize("steps", [3, 9])
def test_all_of_them_are_told_up_to_the_limit(steps: int) -> None:
    found = chains(ladder(steps), "dep", "top")
    assert len(found) == len(set(found)) == 2**steps <= paths.LIMIT


def test_exponentially_many_are_cut_off_quickly_and_said_to_be_more() -> None:
    made = graph(ladder(60), "top")
    began = time.perf_counter()
    found, more = made.chains(canonicalize_name("dep"))
    assert (len(found), more) == (paths.LIMIT, True)
    assert len({tuple(chain) for chain in found}) == paths.LIMIT
    assert time.perf_counter() - began < 5


def test_ways_that_lead_nowhere_are_given_up_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "TRIES", 20)
    found, more = graph(ladder(9), "top").chains(canonicalize_name("dep"))
    assert more
    assert len(found) < 2**9


def test_many_projects_that_all_know_each_other() -> None:
    """No way but around cycles: their number is that of all orders of the projects."""
    names = [f"p{number}" for number in range(12)]
    files = [File(name, "1.0", [*(other for other in names if other != name), "dep"]) for name in names]
    began = time.perf_counter()
    found, more = graph([*files, File("dep", "1.0")], "p0").chains(canonicalize_name("dep"))
    assert more
    assert found[0] == ["p0", "dep"]
    assert [len(chain) for chain in found] == sorted(len(chain) for chain in found)
    assert time.perf_counter() - began < 10
