"""What people see: a pure rendering of what the functions return."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import reports, sync, why
from pipmirror_lib.settings import Mirror

from _output import pipmirror as shown
from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import PLATFORM, declare, directory_of, equip

DEMO, DEP, OLD = (f"{stem}-py3-none-any.whl" for stem in ("demo-1.0", "dep-1.0", "old-1.0"))


def see(function: str, answer: Any, width: int = 0, colors: dict[str, str] | None = None) -> str:
    page = shown.Page(colors or {}, width)
    shown.SHOWS[function](page, answer)
    return "\n".join(page.lines)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """demo -> dep on an index, and a platform that is prepared."""
    make_wheel(tmp_path / "files", requires=["dep>=1"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    with LocalIndex(tmp_path / "files") as server:
        made = declare(tmp_path, server.url)
        equip(made)
        yield made


@pytest.fixture
def synced(mirror: Mirror) -> Mirror:
    assert sync.sync(mirror)["result"]
    return mirror


def plan(mirror: Mirror, **options: Any) -> Any:
    return {"platforms": reports.plans(mirror, None, **options)}


# -- real answers --------------------------------------------------------------------------------------------


def test_a_plan_of_a_satisfied_platform_is_one_line(synced: Mirror) -> None:
    assert see("plan", plan(synced)) == "bookworm: satisfied by 2 wheels, nothing to do"


def test_a_plan_says_what_is_missing_and_what_would_come(mirror: Mirror) -> None:
    make_wheel(directory_of(mirror).public, requires=["dep>=1"])
    text = see("plan", plan(mirror, resolve=True))
    size = (mirror.target.parent / "files" / DEP).stat().st_size
    assert text.splitlines() == [
        "bookworm: 1 requirement is not met",
        "  not met:",
        "    demo: dep: nothing of that name in the mirror (demo 1.0 -> dep>=1)",
        "  to do:",
        "    publish the pages",
        "  to be recorded:",
        f"    {DEMO}",
        f"  would come from the index: 1 file, {size} B",
        f"    {size} B  wheel  {DEP}",
    ]


def test_a_plan_that_could_not_ask_says_why(tmp_path: Path) -> None:
    mirror = declare(tmp_path)
    text = see("plan", plan(mirror, resolve=True))
    assert "bookworm: 1 requirement is not met" in text
    assert "  from the index: the platform was never profiled" in text


def test_status(synced: Mirror) -> None:
    answer = reports.status(synced, None)
    ran = {"demo": {"ok": True}, "dep": {"ok": False, "output": "no x"}}
    answer[PLATFORM].update(
        orphans=2,
        orphan_bytes=2_500_000,
        orphans_until="2026-12-22T10:00:00Z",
        held="for a reason",
        yanked={DEP: "broken", DEMO: ""},
        withdrawn=[OLD],
        image_source="registry",
        verified={"packages": {"installed": 2, "ran": ran, "pip": "1"}},
    )
    text = see("status", answer)
    for line in (
        "bookworm: satisfied",
        f"  wheels              2, {shown.size(answer[PLATFORM]['bytes'])}; 0 of them built here",
        "  orphans             2, 2.5 MB; may go from 2026-12-22",
        "  pruning is held: for a reason",
        "  target              Python 3.11.2, pip 26.3",
        "  verified            packages: 2 wheels installed without network, but dep did not start: no x",
        f"  yanked upstream:\n    {DEP}: broken\n    {DEMO}: no reason given",
        f"  withdrawn upstream:\n    {OLD}",
    ):
        assert line in text
    assert text.count("UTC (") == 3
    assert "; base image: registry" in text


def test_status_before_anything_was_done(tmp_path: Path) -> None:
    text = see("status", reports.status(declare(tmp_path), None))
    assert "  orphans             nobody can say while something is missing" in text
    assert "  last complete sync  never" in text
    assert "  image               never" in text
    assert "  target              never profiled" in text


def test_of_a_platform_without_an_image_none_is_spoken_of(tmp_path: Path) -> None:
    text = see("status", reports.status(declare(tmp_path, platforms=[{"name": PLATFORM}]), None))
    assert "  profiled            never; this machine's own Python, without containers" in text
    assert "image" not in text
    done = {"image": {"id": "x", "source": "this machine", "reused": True}}
    assert shown.preparation(done) == {"place": "this machine, without containers"}


def test_status_after_a_sync_that_failed(synced: Mirror) -> None:
    answer = reports.status(synced, None)
    answer[PLATFORM].update(last_failure="2026-11-22T10:00:00Z", failure="gone: nothing of that name")
    text = see("status", answer)
    assert "  last failure        2026-11-22 10:00 UTC (" in text
    assert "): gone: nothing of that name" in text
    assert "last failure" not in see("status", reports.status(synced, None))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([None, None], "2 files of unknown size"),
        ([None, 1500], "2 files, 1.5 kB and 1 of unknown size"),
        ([0, 1500], "2 files, 1.5 kB"),
    ],
)
def test_sizes_that_nobody_has_told_are_no_zero(sizes: list[int | None], told: str) -> None:
    files = {str(number): {"size": size} for number, size in enumerate(sizes)}
    assert shown.total({"files": files, "bytes": sum(size or 0 for size in sizes)}) == told


def test_wheels_are_a_table(synced: Mirror) -> None:
    answer = reports.wheels(synced, None)
    answer[PLATFORM][DEP]["yanked"] = ""
    lines = see("wheels", answer).splitlines()
    assert lines[0].startswith("bookworm: 2 wheels, ")
    assert lines[1].split() == ["size", "origin", "sha256", "needed", "by", "wheel"]
    assert lines[2].split()[2:] == ["index", answer[PLATFORM][DEMO]["sha256"][:12], "declared", DEMO]
    assert lines[3].endswith(f"demo 1.0   {DEP}")
    assert len({line.index(name) for line, name in zip(lines[1:4], ("wheel", DEMO, DEP), strict=True)}) == 1
    assert lines[4:] == ["  yanked upstream:", f"    {DEP}: no reason given"]
    assert see("wheels", {PLATFORM: {}}) == "bookworm: 0 wheels, 0 B"


def test_who_needs_a_wheel_is_named_once_and_briefly() -> None:
    wanted = ["x (declared)", "x>=1 (wanted by a 1.0)", "x[t] (wanted by a 1.0)", "x (wanted by b 2.0)"]
    assert shown.needs({"wanted_by": wanted, "undecided": False}) == "declared, a 1.0 and 1 more"
    assert shown.needs({"wanted_by": [], "undecided": False}) == "-"
    assert shown.needs({"wanted_by": [], "undecided": True}) == "?"


def test_why(synced: Mirror) -> None:
    make_wheel(directory_of(synced).public, "dep", "0.9")
    text = see("why", why.why(synced, None, project="dep"))
    assert text.splitlines() == [
        f"bookworm: dep is {DEP}",
        "  set packages:",
        "    demo (declared) -> dep>=1",
        "  orphans, which no set needs:",
        "    dep-0.9-py3-none-any.whl",
    ]


def test_why_of_an_orphan(synced: Mirror) -> None:
    make_wheel(directory_of(synced).public, "old", "1.0")
    assert see("why", why.why(synced, None, project="old")).splitlines() == [
        "bookworm: old is needed by no set",
        "  orphans, which no set needs:",
        f"    {OLD}",
    ]


def test_why_while_something_is_missing(synced: Mirror) -> None:
    public = directory_of(synced).public
    (public / DEP).unlink()
    make_wheel(public, "old", "1.0")
    text = see("why", why.why(synced, None, project="dep"))
    assert text.startswith("bookworm: dep is wanted, but by sets that are not satisfied\n")
    assert "    not met:\n      demo: dep: nothing of that name in the mirror (demo 1.0 -> dep>=1)" in text
    text = see("why", why.why(synced, None, project="old"))
    assert text.startswith("bookworm: old lies there; who needs it, nobody can say\n  lies there as well:")
    assert text.endswith("not satisfied, so that nobody can say what else they need: packages; see pipmirror.plan")
    assert see("why", why.why(synced, None, project="gone")).startswith("bookworm: gone is not known here")


def test_why_of_several_files_and_endless_chains(synced: Mirror) -> None:
    found = {"satisfied": True, "chains": [["a", "b"]] * 12, "more": True, "missing": {}}
    answer = why.why(synced, None, project="dep")
    answer[PLATFORM]["sets"] = {"one": {**found, "file": DEP}, "two": {**found, "file": OLD}}
    text = see("why", answer)
    assert text.startswith(f"bookworm: dep is {DEP}, {OLD}\n  set one: {DEP}:\n")
    assert text.count("    ... and 2 more (--out=json has all)") == 2
    assert text.count("    there are more chains than these 12, which are the shortest") == 2


def test_a_sync(mirror: Mirror) -> None:
    lines = see("sync", sync.sync(mirror)).splitlines()
    assert lines[0].startswith("bookworm: done in ")
    assert "  added 2 wheels" in lines
    assert any(line.endswith(f"index  dep 1.0   {DEP}") for line in lines)
    assert "  pages  13 written, 0 removed" in lines
    assert lines[-1] == "1 of 1 platforms are satisfied"


def test_a_sync_that_fails(tmp_path: Path, mirror: Mirror) -> None:
    failing = declare(tmp_path, mirror.index.url, packages=["demo>9"])
    text = see("sync", sync.sync(failing))
    assert text.startswith("bookworm: failed after ")
    assert "  demo>9: there is 1.0, wanted is demo>9 (declared)" in text, "the project is named once"
    assert "    demo>9: nothing of that name in the mirror" in see("plan", plan(failing))
    assert text.endswith("0 of 1 platforms are satisfied; failed: bookworm")


def test_a_wheel_that_was_set_aside_and_versions_that_lay_there(synced: Mirror) -> None:
    (directory_of(synced).public / DEP).write_bytes(b"damage")
    text = see("sync", sync.sync(synced))
    assert text.count(f"    {DEP} ") == 1, "what the reason names already is not said twice"
    done = sync.sync(synced)
    done["platforms"][PLATFORM]["added"] = {
        DEP: {"project": "dep", "version": "1.0", "old": ["0.8", "0.9"], "size": None, "origin": "built"}
    }
    assert f"    unknown  built  dep 1.0 (beside 0.8, 0.9)  {DEP}" in see("sync", done)


def test_a_prune(tmp_path: Path, synced: Mirror) -> None:
    directory = directory_of(synced)
    make_wheel(directory.public, "old", "1.0")
    (directory.logs / "old.log").write_text("log")
    at_once = declare(tmp_path, keep_days=0)
    made = (datetime.now(timezone.utc) - timedelta(days=40)).isoformat()
    image = {"platform": "bookworm", "kind": "builder", "made": made, "size": 2_500_000}
    answer = {**sync.prune(at_once, test=True), "images": {"sha256:0": image}}
    lines = see("prune", answer).splitlines()
    size = (directory.public / OLD).stat().st_size
    assert lines[:2] == [f"bookworm: 1 wheel, {size} B", f"  would remove 1 wheel, {size / 1000:.1f} kB"]
    assert lines[2].startswith(f"    {size} B  {OLD}  no set has needed it since ")
    assert lines[3:6] == ["  not needed from now on:", f"    {OLD}", "  logs  1 file, 3 B"]
    assert lines[6].startswith("  metadata  2 files, ")
    assert lines[7] == "builder images that no platform of this pillar uses:"
    assert lines[8].split() == ["size", "image", "platform", "made"]
    assert lines[9].startswith("  2.5 MB  builder  bookworm  ")
    assert lines[9].endswith("(40 days ago)")
    assert lines[10:] == ["1 of 1 platforms are examined"]
    assert "no set has needed it since" in see("sync", sync.sync(declare(tmp_path, prune=True, keep_days=0)))


def test_a_prune_that_is_held(tmp_path: Path, synced: Mirror) -> None:
    answer = {**sync.prune(declare(tmp_path, packages=["gone"])), "images": {}}
    lines = see("prune", answer).splitlines()
    assert lines[0] == "bookworm: no wheel is to go"
    assert lines[1].startswith("  no wheel was removed: not every set is satisfied")
    assert lines[-1] == "1 of 1 platforms are pruned"


def test_what_was_prepared() -> None:
    one = {"result": True, "comment": "", "added": {}, "removed": {}, "seconds": 1.5}
    one["image"] = {"id": "sha256:0", "source": "registry", "reused": False}
    one["profile"] = {"python": "3.11.2", "pip": "23.0.1", "tag": "cp311-cp311-manylinux_2_36_x86_64"}
    text = see("prepare", {"result": True, "comment": "1 of 1", "platforms": {PLATFORM: one}})
    assert text.splitlines() == [
        "bookworm: done in 1.5 s",
        "  image   made anew; base image: registry",
        "  target  Python 3.11.2, pip 23.0.1, cp311-cp311-manylinux_2_36_x86_64",
        "1 of 1",
    ]


def test_pages_that_would_be_written(synced: Mirror) -> None:
    assert see("publish", {"platforms": reports.drift(synced, None)}) == "bookworm: every page is up to date"
    (directory_of(synced).public / "simple" / "dep" / "index.html").write_text("drift")
    text = see("publish", {"platforms": reports.drift(synced, None)})
    assert text.endswith("  to be written:\n    simple/dep/index.html")


def test_what_is_declared(mirror: Mirror) -> None:
    text = see("platforms", {"default": reports.platforms(mirror)})
    assert text.splitlines() == [
        f"default: {mirror.target}; highstate: build",
        f"  bookworm: debian:bookworm, in {mirror.target}/bookworm",
        "    set packages: demo",
    ]


def test_faults() -> None:
    assert see("faults", []) == "The declaration has no faults."
    assert see("faults", ["a: bad", "b: worse"]) == "faults of the declaration:\n  a: bad\n  b: worse"


# -- lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (13_781, "13.8 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (54_354_494, "54.4 MB"),
        (3 * 10**9, "3.0 GB"),
        (5 * 10**15, "5000.0 TB"),
        (None, "unknown"),
    ],
)
def test_sizes(number: int | None, text: str) -> None:
    assert shown.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7200, "2 hours"),
        (10**6, "11 days"),
    ],
)
def test_spans(seconds: int, text: str) -> None:
    assert shown.span(seconds) == text


def test_moments() -> None:
    then = datetime.now(timezone.utc) - timedelta(days=3)
    stamp = then.isoformat(timespec="seconds").replace("+00:00", "Z")
    assert shown.when(stamp) == f"{then:%Y-%m-%d %H:%M} UTC (3 days ago)"
    assert shown.when("") == "never"
    assert shown.when("some day") == "some day"


def test_a_long_list_is_shortened_and_that_is_said() -> None:
    page = shown.Page({}, 0)
    page.items("things", map(str, range(25)))
    assert len(page.lines) == 12
    assert page.lines[-1] == "    ... and 15 more (--out=json has all)"
    page.table([["1 B", "x"]] * 300)
    assert page.lines[-1] == "    ... and 100 more (--out=json has all)"


def test_long_lines_are_wrapped_where_there_is_a_width() -> None:
    page = shown.Page({}, 60)
    page.say("word " * 30 + "x" * 100)
    assert page.lines[0].startswith("  word")
    assert page.lines[1].startswith("      word")
    assert all(len(line) <= 60 for line in page.lines[:-1])
    assert page.lines[-1] == " " * 6 + "x" * 100, "a file name stays whole"


def test_strangers_words_do_not_steer_the_terminal(synced: Mirror) -> None:
    """Neither from file names nor from reasons; line breaks within a comment stay."""
    answer = copy.deepcopy(plan(synced))
    answer["platforms"][PLATFORM].update(
        satisfied=False, missing={"demo": "\x1b[2Jevil\u202e\rforged"}, orphans=["a\x07b"]
    )
    text = see("plan", answer)
    assert "    demo: [2Jevilforged" in text
    assert "    ab (its days begin with the next sync)" in text
    assert not set(text) & set("\x1b\x07\r\u202e")
    page = shown.Page({}, 0)
    page.table([["1\x1b[2J B", "\x1b]0;t\x07x"]])
    page.title("n\x1b", "t\r", "RED")
    assert not set("".join(page.lines)) & set("\x1b\x07\r")


def test_colours_are_only_for_headings_and_only_where_there_are_any(synced: Mirror) -> None:
    colors = {"GREEN": "<g>", "LIGHT_RED": "<r>", "ENDC": "</>"}
    assert see("plan", plan(synced), colors=colors) == "<g>bookworm: satisfied by 2 wheels, nothing to do</>"
    (directory_of(synced).public / DEP).unlink()
    lines = see("plan", plan(synced), colors=colors).splitlines()
    assert lines[0] == "<r>bookworm: 1 requirement is not met</>"
    assert lines[2].startswith("    demo: dep: nothing of that name")


# -- as Salt calls it ----------------------------------------------------------------------------------------


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Any:
    def ask(function: str, ret: Any) -> str:
        monkeypatch.setattr(shown, "__opts__", {"fun": function, "color": False}, raising=False)
        monkeypatch.setattr(shown, "__salt__", {"nested": lambda data: f"nested {data}"}, raising=False)
        return str(shown.output(ret, _retcode=0))

    return ask


def test_every_minion_of_a_master_has_its_part(call: Any) -> None:
    assert call("pipmirror.faults", {"local": []}) == "The declaration has no faults."
    assert call("pipmirror.faults", {"one": []}) == "one:\nThe declaration has no faults."
    assert call("pipmirror.faults", {"one": [], "two": ["x"]}).splitlines()[2:] == [
        "two:",
        "faults of the declaration:",
        "  x",
    ]


def test_what_is_not_ours_is_left_to_nested(call: Any) -> None:
    assert call("test.ping", {"local": True}) == "nested {'local': True}"
    assert call("pipmirror.plan", {"one": "Minion did not return"}) == "nested {'one': 'Minion did not return'}"
    assert call("state.apply", {"local": {}}) == "nested {'local': {}}"
