"""Requirements that name a URL: what is read from them, what is refused, and what is never told."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pipmirror_lib import references, resolve
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.references import DirectReference
from pipmirror_lib.requirements import parse
from pipmirror_lib.wheels import parse_name
from pipmirror_lib.world import Question

from tests.support.worlds import PROFILE, File, MemorySource

HASH = "0123456789abcdef" * 4
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHEEL = "https://files.invalid/demo-1.0-py3-none-any.whl"
GIT = "git+https://git.invalid/demo.git"


def read(text: str) -> DirectReference:
    found = parse(text)
    assert isinstance(found, DirectReference)
    return found


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        (WHEEL, "demo", f"demo @ {WHEEL}"),
        (f"demo @ {WHEEL}", "demo", f"demo @ {WHEEL}"),
        (f"Demo[b,a] @ {WHEEL} ; python_version < '4'", "Demo", f'Demo[a,b] @ {WHEEL} ; python_version < "4"'),
        (f"{WHEEL}#sha256={HASH}", "demo", f"demo @ {WHEEL}#sha256={HASH}"),
        ("https://files.invalid/demo-1.0.tar.gz", "", "https://files.invalid/demo-1.0.tar.gz"),
        ("https://files.invalid/v1.zip#egg=demo", "demo", "demo @ https://files.invalid/v1.zip"),
        (GIT, "", GIT),
        (f"{GIT}@v1.0#egg=demo&subdirectory=a/b", "demo", f"demo @ {GIT}@v1.0#subdirectory=a/b"),
        (f"{GIT}@feature/one", "", f"{GIT}@feature/one"),
        ("git+https://git.invalid/@scope/demo.git@v1", "", "git+https://git.invalid/@scope/demo.git@v1"),
        (f"demo @ {GIT}@{COMMIT}", "demo", f"demo @ {GIT}@{COMMIT}"),
        ("git+ssh://git@git.invalid/demo.git@v1", "", "git+ssh://git@git.invalid/demo.git@v1"),
    ],
)
def test_what_is_read(text: str, name: str, shown: str) -> None:
    assert (read(text).name, str(read(text))) == (name, shown)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"other @ {WHEEL}", "is a wheel of demo"),
        ("https://files.invalid/demo-1.0.tar.gz#sha256=00", "64 hexadecimal digits"),
        ("https://files.invalid/demo-1.0.tar.gz#md5=00", "behind # that is not understood"),
        (f"{GIT}#subdirectory=../x", "leads out of the sources"),
        (f"{GIT}#subdirectory=a%0ab%1b[31m", "behind # that is not understood"),
        (f"{GIT}?private_token=hunter2", "has a query"),
        ("https://:hunter2@files.invalid/demo-1.0.tar.gz", "without a user"),
        ("git+https://me:hunter2/x@git.invalid/r.git@main", "no number for its port"),
        ("git+https://me:hun?ter2@git.invalid/r.git@main", "no number for its port"),
        ("git+https://me:hunter2#x@git.invalid/r.git@main", "no number for its port"),
        ("git+https://me:hunter2 x@git.invalid/r.git@main", "is not a valid requirement"),
        ("git+https:me:hunter2@git.invalid/r", "is not a valid requirement"),
        ("me:hunter2@git.invalid:r.git", "is not a valid requirement"),
        ("https://files.invalid/r.tar.gz?sig=hunter2#foo=1", "behind # that is not understood"),
        (f"{GIT}#subdirectory=/etc", "leads out of the sources"),
        (f"{GIT}#egg=demo[extra]", "is not a project's name"),
        (f"{GIT}@-x", "names no branch, tag or commit"),
        (f"{GIT}@--upload-pack=x", "names no branch, tag or commit"),
        (f"{GIT}@a..b", "names no branch, tag or commit"),
        (f"{GIT}@main@{{1}}", "names no branch, tag or commit"),
        (f"{GIT}@%2Dx", "names no branch, tag or commit"),
        ("git+https://git.invalid/@v1", "names no repository"),
        ("git+https://-oProxyCommand=x/demo.git", "is not a URL with a host"),
        ("git+ssh://me:hunter2@git.invalid/demo.git", "holds a password"),
        ("https:///demo-1.0.tar.gz", "is not a URL with a host"),
        ("https://files.invalid/..%2F..%2Fdemo-1.0-py3-none-any.whl", "does not end with the name of a wheel"),
        ("https://files.invalid/a%2Fdemo-1.0.tar.gz", "does not end with the name of a wheel"),
        ("https://files.invalid/.hidden.tar.gz", "does not end with the name of a wheel"),
        ("https://files.invalid/demo-1.0-whl.whl", "is not a wheel's file name"),
        ("https://files.invalid/demo.exe", "is neither a wheel nor an sdist"),
        ("hg+https://hg.invalid/demo", "is not supported"),
        ("ssh://git@git.invalid/demo.git", "is not supported"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@files.invalid/demo-1.0.tar.gz",
        "git+https://hunter2@git.invalid/demo.git@v1",
        "demo @ git+https://me:hunter2@git.invalid/demo.git",
        "https://files.invalid/demo-1.0.tar.gz?token=hunter2",
    ],
)
def test_a_secret_is_neither_shown_nor_remembered(text: str) -> None:
    reference = read(text)
    assert "hunter2" not in f"{reference} {reference!r} {reference.key}"
    assert "hunter2" in f"{reference.credentials} {reference.address}"


def test_two_queries_are_two_files() -> None:
    one, other = (read(f"https://files.invalid/demo-1.0.tar.gz?id={number}") for number in (1, 2))
    assert one.key != other.key


@pytest.mark.parametrize(
    ("text", "fixed"),
    [(WHEEL, False), (f"{WHEEL}#sha256={HASH}", True), (GIT, False), (f"{GIT}@v1", False), (f"{GIT}@{COMMIT}", True)],
)
def test_what_can_never_change(text: str, fixed: bool) -> None:
    assert read(text).is_fixed is fixed


def test_how_the_same_is_installed_from_a_directory() -> None:
    wheel = parse_name("demo-1.0+local.1-py3-none-any.whl")
    assert read(f"{GIT}@v1 ; python_version < '4'").by_version(wheel) == 'demo==1.0+local.1 ; python_version < "4"'
    assert read(f"demo[b,a] @ {GIT}").by_version(wheel) == "demo[a,b]==1.0+local.1"


# -- the decision --------------------------------------------------------------------------------------------


def decide(files: list[File], want: list[str], became: dict[str, str]) -> resolve.Answer:
    """Ask for requirements of which some, by their text, became one of the files."""
    source = MemorySource(files)
    every = {file.filename: file.candidate() for file in files}
    direct = {read(text).key: candidate for text, name in became.items() if (candidate := every[name])}
    return resolve.resolve(Question(tuple(parse(text) for text in want), PROFILE, direct=direct), source)


def names(answer: resolve.Answer) -> set[str]:
    return {str(candidate) for candidate in answer.closure.values()}


OLD, NEW = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"


def test_what_a_url_became_serves_although_a_newer_version_is_there() -> None:
    files = [File("demo", "1.0", ["dep"]), File("demo", "2.0"), File("dep", "1.0")]
    answer = decide(files, [GIT], {GIT: OLD})
    assert names(answer) == {"demo 1.0", "dep 1.0"}
    assert answer.wanted_by["demo"] == (f"{GIT} (declared)",)


def test_it_serves_whoever_else_wants_the_project() -> None:
    files = [File("demo", "1.0"), File("demo", "2.0"), File("app", "1.0", ["demo"])]
    assert names(decide(files, ["app", GIT], {GIT: OLD})) == {"app 1.0", "demo 1.0"}


def test_it_may_be_a_prerelease_and_built_where_no_wheel_is_allowed() -> None:
    files = [File("demo", "3.0.dev1"), File("demo", "2.0"), File("app", "1.0", ["demo>=1"])]
    name = "demo-3.0.dev1-py3-none-any.whl"
    assert names(decide(files, ["app", GIT], {GIT: name})) == {"app 1.0", "demo 3.0.dev1"}


def test_a_requirement_that_it_does_not_meet_is_told() -> None:
    answer = decide([File("demo", "1.0"), File("demo", "2.0")], [GIT, "demo>=2"], {GIT: OLD})
    assert set(answer.missing) == {GIT, "demo>=2"}
    assert "there is 1.0" in answer.missing["demo>=2"]


def test_extras_of_a_url() -> None:
    files = [File("demo", "1.0", extras={"more": ["dep"]}), File("dep", "1.0")]
    text = f"demo[more] @ {GIT}"
    assert names(decide(files, [text], {text: OLD})) == {"demo 1.0", "dep 1.0"}
    assert names(decide(files, [GIT], {GIT: OLD})) == {"demo 1.0"}


def test_one_that_was_not_fetched_is_missing() -> None:
    answer = decide([File("demo", "1.0")], ["demo", GIT], {})
    assert answer.missing == {GIT: references.NOT_FETCHED}


def test_one_that_does_not_apply_is_not_missed() -> None:
    answer = decide([File("demo", "1.0")], ["demo", f"other @ {GIT} ; python_version < '3'"], {})
    assert answer.satisfied


def test_two_urls_of_one_project_are_a_conflict() -> None:
    other = f"{GIT}@other"
    answer = decide([File("demo", "1.0"), File("demo", "2.0")], [GIT, other], {GIT: OLD, other: NEW})
    assert list(answer.missing) == [other]
    assert "comes from another URL already" in answer.missing[other]
    assert decide([File("demo", "1.0")], [GIT, other], {GIT: OLD, other: OLD}).satisfied


def test_a_dependency_by_url_stays_unsatisfiable() -> None:
    answer = decide([File("app", "1.0", [f"demo @ {GIT}"]), File("demo", "1.0")], ["app"], {})
    assert "wanted from a URL by app 1.0" in answer.missing["app"]


def test_a_build_requirement_by_url_is_not_followed() -> None:
    source = MemorySource([File("demo", "1.0")])
    answer = resolve.resolve(Question((Requirement(f"demo @ {GIT}"),), PROFILE), source)
    assert list(answer.missing.values()) == [references.NOT_FETCHED]


# -- what is remembered --------------------------------------------------------------------------------------


def test_a_wheel_s_record_says_what_it_came_from() -> None:
    wheel = Candidate(canonicalize_name("demo"), parse_name(OLD).version, OLD, path=Path(OLD))
    wheels = {OLD: {"sha256": HASH, "direct": [GIT]}, NEW: {"sha256": HASH, "direct": [WHEEL]}, "x": {}}
    assert references.known(wheels, lambda project: [wheel]) == {GIT: wheel}
