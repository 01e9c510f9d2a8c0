"""Who goes ahead of a decision: what is sent for, when, and what never is."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName
from pipmirror_lib.candidates import Candidate, NewestFirst
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.references import DirectReference
from pipmirror_lib.scout import Scout
from pipmirror_lib.wheels import Metadata
from pipmirror_lib.world import Question, World

from tests.support.worlds import PROFILE, File, MemorySource


class Slow(MemorySource):
    """What is sent for comes when the test lets it come; `here` needs nobody to send for it."""

    def __init__(self, files: Iterable[File], here: Iterable[str] = ()) -> None:
        super().__init__(files)
        self.here = set(here)
        self.coming: dict[str, Future[Any]] = {}

    def page_of(self, project: NormalizedName) -> Future[NewestFirst] | None:
        return None if project in self.here else self.coming.setdefault(project, Future())

    def metadata_of(self, candidate: Candidate) -> Future[Metadata] | None:
        return None if candidate.filename in self.here else self.coming.setdefault(candidate.filename, Future())

    @property
    def sent_for(self) -> set[str]:
        return {name for name, future in self.coming.items() if not future.done()}

    def come(self, name: str) -> None:
        known = self.described.get(name)
        self.coming[name].set_result(known.metadata() if known else None)

    def all_comes(self) -> list[str]:
        """In the order in which it is sent for."""
        while sent_for := [name for name in self.coming if not self.coming[name].done()]:
            self.come(sent_for[0])
        return list(self.coming)


def sent_out(source: Slow, *wanted: str, **more: Any) -> Slow:
    Scout(source, World(source, Question(tuple(map(Requirement, wanted)), PROFILE, **more))).go()
    return source


def wheel(name: str, version: str = "1.0") -> str:
    return File(name, version).filename


def test_what_is_slow_holds_back_nothing_else() -> None:
    source = sent_out(Slow([File("slow", "1.0"), File("a", "1.0", ["b"]), File("b", "1.0")]), "slow", "a")
    for name in ("a", wheel("a"), "b"):
        source.come(name)
    assert source.sent_for == {"slow", wheel("b")}


def test_what_is_wanted_for_extras_and_by_whom_nobody_asked() -> None:
    files = [
        File("a", "1.0", ["c[x]", "gone; python_version < '3'"], {"x": ["d"], "y": ["e"]}),
        File("c", "1.0", ["b[q]"], {"x": ["a[y]"]}),
        *(File(name, "1.0") for name in "bde"),
    ]
    assert set(sent_out(Slow(files), "a[X]").all_comes()) == {*"abcde", *(wheel(name) for name in "abcde")}


def test_each_is_sent_for_once_in_a_circle() -> None:
    source = sent_out(Slow([File("a", "1.0", ["b", "a"]), File("b", "1.0", ["a", "b"])]), "a", "a")
    assert source.all_comes() == ["a", wheel("a"), "b", wheel("b")]


def test_what_is_likely_is_told_from_everything_that_is_known() -> None:
    """Who asks for less first is served with the newest; where somebody else wants an older one, that comes too."""
    files = [File("a", "1.0", ["d"]), File("b", "1.0", ["d<2"]), File("d", "1.0"), File("d", "2.0", ["e"])]
    source = sent_out(Slow(files), "a", "b", "c<1")
    for name in ("a", "b", wheel("a"), "d"):
        source.come(name)
    assert wheel("d", "2.0") in source.sent_for
    source.come(wheel("b"))
    assert wheel("d", "1.0") in source.sent_for
    other = sent_out(Slow(files), "a", "b", constraints=(Requirement("d<2"),))
    assert wheel("d", "2.0") not in other.all_comes()


def test_what_lies_there_and_what_a_url_serves_is_not_sent_for() -> None:
    files = [File("a", "1.0", ["here", "served", "x @ https://index.invalid/x.whl"]), File("here", "1.0", ["b"])]
    reference = DirectReference("served @ https://files.invalid/served-1.0-py3-none-any.whl", named=True)
    served = File("served", "1.0").candidate()
    assert served
    source = Slow(files, here=["here"])
    question = Question((Requirement("a"), reference), PROFILE, direct={reference.key: served})
    Scout(source, World(source, question)).go()
    assert source.all_comes() == ["a", wheel("a")]
    at_hand = sent_out(Slow(files, here=[wheel("a")]), "a")
    assert at_hand.all_comes() == ["a"]


def test_faults_are_left_to_who_asks_next() -> None:
    files = [File("a", "1.0"), File("b", "1.0"), File("c", "1.0", ["d ==="]), File("e", "1.0", ["f"])]
    source = sent_out(Slow(files), "a", "b", "c", "e")
    source.coming["a"].cancel()
    source.coming["a"].set_running_or_notify_cancel()
    source.come("b")
    source.coming[wheel("b")].set_exception(PackageIndexError("it is away"))
    for name in ("c", wheel("c"), "e", wheel("e")):
        source.come(name)
    assert "f" in source.sent_for


def test_a_long_chain_is_no_deep_one() -> None:
    """Where everything has come already, each step would begin within the one before."""

    class There(Slow):
        def page_of(self, project: NormalizedName) -> Future[NewestFirst] | None:
            found = super().page_of(project)
            if found and not found.done():
                self.come(project)
            return found

        def metadata_of(self, candidate: Candidate) -> Future[Metadata] | None:
            found = super().metadata_of(candidate)
            if found and not found.done():
                self.come(candidate.filename)
            return found

    files = [File(f"p{number}", "1.0", [f"p{number + 1}"]) for number in range(3000)]
    assert len(sent_out(There(files), "p0").coming) == 2 * len(files) + 1


@pytest.mark.parametrize("threads", [2, 8])
def test_steps_are_taken_one_at_a_time_by_whoever_comes(threads: int) -> None:
    names = [f"p{number}" for number in range(200)]
    source = sent_out(Slow([File(name, "1.0", ["last"]) for name in names]), *names)
    parts = [names[number::threads] for number in range(threads)]

    def arrive(part: list[str]) -> None:
        for name in part:
            source.come(name)

    def all_at_once(work: list[list[str]]) -> None:
        crowd = [threading.Thread(target=arrive, args=(part,)) for part in work]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()

    all_at_once(parts)
    assert source.sent_for == {wheel(name) for name in names}
    all_at_once([[wheel(name) for name in part] for part in parts])
    assert source.sent_for == {"last"}
