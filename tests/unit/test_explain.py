"""Why a set is not satisfied: the right requirement is blamed, with the way that leads to the fault."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pipmirror_lib import explain, resolve
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.references import DirectReference
from pipmirror_lib.wheels import Metadata
from pipmirror_lib.world import Question, World

from tests.support.worlds import PROFILE, File, MemorySource


def wheel(stem: str, *requires: str, **about: Any) -> File:
    name, _, version = stem.rpartition("-")
    return File(name, version, requires, **about)


def asked(*want: str, constraints: tuple[str, ...] = (), **more: Any) -> Question:
    return Question(
        requirements=tuple(map(Requirement, want)),
        profile=PROFILE,
        constraints=tuple(map(Requirement, constraints)),
        **more,
    )


def missing(files: list[File], *want: str, **more: Any) -> dict[str, str]:
    return dict(resolve.resolve(asked(*want, **more), MemorySource(files)).missing)


DEP = [wheel("dep-1.0"), wheel("dep-2.0")]


# -- who is blamed -------------------------------------------------------------------------------------------


def test_whoever_is_content_with_what_is_there_is_not_blamed() -> None:
    files = [wheel("alpha-1.0", "beta>=1"), wheel("gamma-1.0", "beta<2"), wheel("beta-2.0")]
    assert missing(files, "alpha", "gamma") == {"gamma": "beta: there is 2.0, wanted is beta<2 (gamma 1.0 -> beta<2)"}


def test_of_two_requirements_of_one_project_only_the_one_that_is_not_met() -> None:
    files = [wheel("demo-2.0")]
    assert missing(files, "demo>=1", "demo>=3") == {"demo>=3": "demo: there is 2.0, wanted is demo>=3 (declared)"}


def test_who_does_not_want_the_extra_is_not_blamed_for_it() -> None:
    files = [wheel("demo-1.0", extras={"tls": ["gone"]}), wheel("app-1.0", "demo")]
    assert missing(files, "app", "demo[tls]") == {
        "demo[tls]": "gone: nothing of that name in memory (demo 1.0 -> gone)"
    }


def test_who_brings_in_another_version_is_not_blamed() -> None:
    """new asks for a demo that wants nothing; only old leads to the one that wants what is gone."""
    files = [wheel("demo-1.0", "gone"), wheel("demo-2.0"), wheel("old-1.0", "demo<2"), wheel("new-1.0", "demo")]
    assert set(missing(files, "old", "new")) == {"old"}


def test_a_bystander_who_takes_any_version_is_no_party_to_a_conflict() -> None:
    files = [wheel("a-1.0", "dep<2"), wheel("b-1.0", "dep>=2"), wheel("c-1.0", "dep"), *DEP]
    reason = "conflict: a 1.0 -> dep<2 against b 1.0 -> dep>=2; of dep there is 2.0, 1.0"
    assert missing(files, "a", "b", "c") == {"a": reason, "b": reason}


def test_everybody_who_is_needed_for_a_conflict_is_a_party() -> None:
    files = [wheel("a-1.0", "dep!=2.0"), wheel("b-1.0", "dep<3"), wheel("c-1.0", "dep>=2"), *DEP, wheel("dep-3.0")]
    found = missing(files, "a", "b", "c")
    assert set(found) == {"a", "b", "c"}
    assert found["a"].startswith("conflict: a 1.0 -> dep!=2.0 against b 1.0 -> dep<3 against c 1.0 -> dep>=2;")


def test_reasons_come_in_the_order_of_the_declaration() -> None:
    files = [wheel(f"{name}-1.0", "gone") for name in "zyx"]
    assert list(missing(files, "z", "y", "x")) == ["z", "y", "x"]


# -- the way that leads to the fault -------------------------------------------------------------------------


def test_every_requirement_has_its_own_way() -> None:
    files = [wheel("top-1.0", "mid>=1"), wheel("mid-1.0", "gone>=1")]
    assert missing(files, "top", "mid") == {
        "top": "gone: nothing of that name in memory (top 1.0 -> mid 1.0 -> gone>=1)",
        "mid": "gone: nothing of that name in memory (mid 1.0 -> gone>=1)",
    }


def test_two_ways_to_one_fault_are_one_reason() -> None:
    files = [wheel("top-1.0", "left", "right"), wheel("left-1.0", "gone"), wheel("right-1.0", "gone")]
    assert missing(files, "top") == {"top": "gone: nothing of that name in memory (top 1.0 -> left 1.0 -> gone)"}


def test_both_sides_of_a_conflict_are_told_from_the_declaration_on() -> None:
    files = [wheel("top-1.0", "a"), wheel("a-1.0", "dep<2"), wheel("side-1.0", "b"), wheel("b-1.0", "dep>=2"), *DEP]
    reason = "conflict: top 1.0 -> a 1.0 -> dep<2 against side 1.0 -> b 1.0 -> dep>=2; of dep there is 2.0, 1.0"
    assert missing(files, "top", "side") == {"top": reason, "side": reason}


def test_a_conflict_with_a_declared_requirement() -> None:
    found = missing([wheel("a-1.0", "dep<2"), *DEP], "a", "dep>=2")
    assert found["a"] == "conflict: dep>=2 (declared) against a 1.0 -> dep<2; of dep there is 2.0, 1.0"


def test_a_url_is_a_party_where_what_it_became_does_not_fit() -> None:
    url = DirectReference("git+https://git.invalid/dep@main", named=False)
    source = MemorySource([wheel("top-1.0", "a"), wheel("a-1.0", "dep>=2"), *DEP])
    became = source.files(canonicalize_name("dep"))[0]
    question = Question((url, Requirement("top")), PROFILE, direct={url.key: became})
    reason = f"conflict: {url} (declared) against top 1.0 -> a 1.0 -> dep>=2; of dep there is 1.0"
    assert resolve.resolve(question, source).missing == {str(url): reason, "top": reason}


def test_a_cycle_is_told_once() -> None:
    files = [wheel("a-2.0", "b"), wheel("b-1.0", "a<2")]
    assert missing(files, "a>=2") == {"a>=2": "a: there is 2.0, wanted is a<2 (a 2.0 -> b 1.0 -> a<2)"}


# -- what is wrong -------------------------------------------------------------------------------------------


def test_a_constraint_is_named_beside_what_it_excludes() -> None:
    assert missing(DEP, "dep>=2", constraints=("dep<2",)) == {
        "dep>=2": "dep: there is 2.0, 1.0, wanted is dep>=2 (declared) and constraint dep<2"
    }
    assert missing([wheel("a-1.0", "dep>0"), *DEP], "a", constraints=("dep>=3",)) == {
        "a": "dep: there is 2.0, 1.0, which constraint dep>=3 excludes (a 1.0 -> dep>0)"
    }
    files = [wheel("a-1.0", "dep!=1.0"), wheel("b-1.0", "dep!=2.0"), *DEP, wheel("dep-3.0")]
    found = missing(files, "a", "b", constraints=("dep<3",))["a"]
    assert found.startswith("conflict: a 1.0 -> dep!=1.0 against b 1.0 -> dep!=2.0 against constraint dep<3;")


def test_another_platform_is_named_by_its_tag() -> None:
    files = [wheel("demo-1.0", tag="cp312-cp312-win_amd64", build="7")]
    assert missing(files, "demo")["demo"] == (
        "demo: no wheel of 1.0 fits this platform and no sdist is there "
        f"(demo 1.0 is for cp312-cp312-win_amd64, this is {PROFILE.tags[0]})"
    )


def test_every_kind_of_refusal_is_told() -> None:
    files = [wheel("demo-3.0", python=">=3.99"), wheel("demo-2.0", tag="cp39-cp39-win_amd64"), wheel("demo-1.0")]
    reason = missing(files, "demo>=2")["demo>=2"]
    assert "demo 3.0 needs Python >=3.99, this is 3.11.2; no wheel of 2.0 fits this platform" in reason


def test_a_yanked_release_is_named() -> None:
    files = [wheel("demo-2.0", yanked="broken"), wheel("demo-1.0")]
    assert missing(files, "demo>=2") == {"demo>=2": "demo: 2.0 was yanked, and serves only who pins it with =="}


def test_many_reasons_are_counted() -> None:
    files = [wheel("app-1.0", *(f"gone{number}" for number in range(8)))]
    reason = missing(files, "app")["app"]
    assert reason.count("nothing of that name") == 5
    assert reason.endswith("; and 3 more reasons")


@pytest.mark.parametrize("name", ["failure", "failed_builds"])
def test_a_failure_always_has_a_reason(name: str) -> None:
    """An answer without a reason would pass for a satisfied set."""
    world = World(MemorySource([]), asked("a", "b"))
    assert getattr(explain, name)(world, {}) == dict.fromkeys(["a", "b"], "these requirements cannot be met together")


# -- when other versions were tried --------------------------------------------------------------------------


def test_what_other_versions_failed_on_is_told_as_well() -> None:
    files = [wheel("a-2.0", "dep>=2"), wheel("a-1.0", "dep", "x<1"), wheel("x-1.0"), wheel("x-0.5")]
    files += [wheel("b-1.0", "dep<2", "x>=1"), *DEP]
    assert missing(files, "a", "b")["a"] == (
        "conflict: a 2.0 -> dep>=2 against b 1.0 -> dep<2; of dep there is 2.0, 1.0; other versions do not help: "
        "conflict: a 1.0 -> x<1 against b 1.0 -> x>=1; of x there is 1.0, 0.5"
    )


def test_what_might_have_been_otherwise_gives_way_to_what_could_not() -> None:
    """a 2.0 has a fault of its own, but only a 1.0 or nothing would do for anybody; b and c are the matter."""
    files = [wheel("a-2.0", "gone"), wheel("a-1.0"), wheel("b-1.0", "dep<2"), wheel("c-1.0", "dep>=2"), *DEP]
    assert set(missing(files, "a", "b", "c")) == {"b", "c"}


def test_dozens_of_versions_do_not_make_dozens_of_reasons() -> None:
    files = [wheel(f"a-{number}.0", f"dep=={number}.5") for number in range(1, 40)]
    found = missing([*files, *DEP], "a", "dep")
    assert list(found) == ["a"]
    assert found["a"].startswith("dep: there is 2.0, 1.0, wanted is dep==39.5 (a 39.0 -> dep==39.5); other versions")
    assert found["a"].count("wanted is") == 2


def test_a_failed_build_of_an_older_version_tells_whom_it_was_tried_for() -> None:
    unbuildable = wheel("dep-1.0", sdist=True, unbuildable="dep 1.0: no compiler")
    files = [wheel("a-1.0", "dep<2"), wheel("dep-2.0"), unbuildable]
    assert missing(files, "a", "dep") == {
        "a": "dep: wanted is a 1.0 -> dep<2; of dep there is 2.0, 1.0; an older version was tried: dep 1.0: no compiler"
    }


def test_every_project_that_does_not_build_is_told_in_a_line_of_its_own() -> None:
    broken = [wheel(f"{name}-1.0", sdist=True, unbuildable=f"{name} 1.0: no compiler") for name in ("x", "y", "deep")]
    files = [wheel("app-1.0", "x", "y"), wheel("b-1.0", "c"), wheel("c-1.0", "deep"), wheel("fine-1.0"), *broken]
    assert missing(files, "app", "fine", "b") == {
        "app": "x 1.0: no compiler (app 1.0 -> x)\ny 1.0: no compiler (app 1.0 -> y)",
        "b": "deep 1.0: no compiler (b 1.0 -> c 1.0 -> deep)",
    }


def test_explaining_reads_and_builds_nothing() -> None:
    class Forbidding(MemorySource):
        closed = False

        def metadata(self, candidate: Candidate) -> Metadata:
            assert not self.closed, f"{candidate} was read to explain"
            return super().metadata(candidate)

    source = Forbidding([wheel("a-1.0", "dep>=3"), *DEP])
    world = World(source, asked("a"))
    (root,) = world.roots()
    (best,) = world.matching(root.project, [])
    world.dependencies(best)
    source.closed = True
    name = canonicalize_name("dep")
    assert list(explain.failure(world, world.wants_of([name]), world.wants_of([name])[name])) == ["a"]


def test_a_requirement_of_two_sets_fails_in_each_for_its_own_reason() -> None:
    missing: dict[str, str] = {}
    explain.gather(missing, {"demo": "no wheel", "dep": "gone"}, "packages")
    explain.gather(missing, {"demo": "too old", "dep": "gone"}, "old")
    assert missing == {"demo": "no wheel; in the set old: too old", "dep": "gone"}
