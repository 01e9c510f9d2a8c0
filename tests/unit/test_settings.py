"""The declaration: what it becomes, and every fault of a bad one at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import settings
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.settings import Index, Mirror, load, load_one

SECRET = "hunter2-and-more"
GOOD: dict[str, Any] = {"target": "/srv/pip", "packages": ["demo"], "platforms": [{"image": "debian:bookworm"}]}


def one(**changes: Any) -> Mirror:
    return load_one(load({**GOOD, **changes}), None)


def faults(pillar: object, **more: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(pillar, **more)
    return list(caught.value.faults)


def faults_with(**changes: Any) -> list[str]:
    return faults({**GOOD, **changes})


# -- what is good --------------------------------------------------------------------------------------------


def test_the_variables_of_the_role_work_unchanged() -> None:
    pillar = {
        "target": "/mnt/pip",
        "platforms": [
            {"image": "debian:bullseye", "pre-command": "apt-get update"},
            {"image": "ubuntu:24.04", "name": "noble"},
        ],
        "packages": ["ansible", "molecule[docker]"],
    }
    mirror = load_one(load(pillar), None)
    assert mirror.name == "default"
    assert mirror.target == Path("/mnt/pip")
    assert [platform.name for platform in mirror.platforms] == ["debian-bullseye", "noble"]
    assert mirror.platforms[0].pre_command == "apt-get update"
    assert [str(r) for r in mirror.platforms[0].sets[0].requirements] == ["ansible", "molecule[docker]"]


@pytest.mark.parametrize(
    ("arguments", "trial"),
    [
        ({}, False),
        ({"keep_days": 0, "prune": True, "target": "/tmp/try"}, False),
        ({"packages": ["demo"], "constraints": [], "prereleases": False}, False),
        ({"packages": ["other"]}, True),
        ({"packages": []}, True),
        ({"sets": {"more": ["other"]}}, True),
        ({"constraints": ["demo<2"]}, True),
        ({"prereleases": True}, True),
        ({"no_binary": ["demo"]}, True),
        ({"platforms": [{"image": "debian:bookworm", "exclude": ["demo"]}]}, True),
    ],
)
def test_arguments_that_require_something_else_are_a_trial(arguments: dict[str, Any], trial: bool) -> None:
    for pillar, configuration in ((GOOD, None), (None, GOOD)):
        assert load_one(load(pillar, configuration, arguments), None).trial is trial
    by_platform = {"target": "/srv/pip", "platforms": [{"image": "debian:bookworm", "packages": ["demo"]}]}
    assert load_one(load(by_platform, None, {"packages": ["other"]}), None).trial


@pytest.mark.parametrize("empty", [{}, {"packages": []}, {"sets": {}}])
def test_arguments_are_the_declaration_where_there_is_no_other(empty: dict[str, Any]) -> None:
    """And prune only what they say themselves that may be pruned."""
    pillar = {"target": "/srv/pip", "platforms": GOOD["platforms"], "prune": True, **empty}
    for arguments, prunes in (({}, False), ({"prune": True}, True), ({"prune": False}, False)):
        mirror = load_one(load(pillar, None, {"packages": ["demo"], **arguments}), None)
        assert (mirror.trial, mirror.prune) == (False, prunes)


def test_what_is_left_out_has_its_default() -> None:
    mirror = one()
    assert (mirror.upgrade, mirror.verify, mirror.parallel, mirror.highstate) == (False, False, 2, "build")
    assert (mirror.prune, mirror.keep_days) == (False, 30)
    assert (mirror.rebuild_after, mirror.resolve_timeout, mirror.lock_timeout) == (30 * 86400, 300, 600)
    assert mirror.container == settings.Container()
    assert (mirror.files.file_mode, mirror.files.dir_mode) == (0o644, 0o755)


def test_a_platform_of_an_image_with_a_registry_keeps_its_slashes() -> None:
    mirror = one(platforms=[{"image": "registry.internal:5000/team/debian:bookworm"}])
    assert mirror.platforms[0].name == "registry.internal-5000/team/debian-bookworm"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"min_age": "3d"}, ("min_age", 3 * 86400)),
        ({"upgrade": "7d"}, ("upgrade", 7 * 86400)),
        ({"upgrade": True}, ("upgrade", True)),
        ({"upgrade": 0}, ("upgrade", False)),
        ({"prune": True}, ("prune", True)),
        ({"keep_days": 0}, ("keep_days", 0)),
        ({"rebuild_after": 0}, ("rebuild_after", 0)),
        ({"prereleases": True}, ("prereleases", True)),
        ({"prereleases": ["Foo_Bar"]}, ("prereleases", ("foo-bar",))),
        ({"no_binary": ["Foo.Bar"]}, ("no_binary", ("foo-bar",))),
        ({"highstate": "report"}, ("highstate", "report")),
        ({"engine_sls": ""}, ("engine_sls", "")),
        ({"lock_timeout": 0}, ("lock_timeout", 0)),
    ],
)
def test_a_value_is_read(given: dict[str, Any], read: tuple[str, Any]) -> None:
    assert getattr(one(**given), read[0]) == read[1]


def test_grouped_values_are_read() -> None:
    mirror = one(
        container={"memory": "512m", "disk": "20g", "cpus": 1, "build_network": ["Maturin"]},
        files={"user": "www-data", "group": 33, "file_mode": "0640", "dir_mode": 750},
        index={"url": "https://index.internal/simple", "extra_urls": ["http://other.internal/simple"], "retries": 0},
    )
    assert (mirror.container.memory, mirror.container.disk, mirror.container.cpus) == (512 << 20, 20 << 30, 1.0)
    assert mirror.container.build_network == ("maturin",)
    assert mirror.files == settings.Files("www-data", "33", 0o640, 0o750)
    assert mirror.index.extra_urls == ("http://other.internal/simple",)
    assert mirror.index.retries == 0


def test_sets_and_a_platforms_own_packages() -> None:
    platforms = [
        {"image": "a", "packages": ["extra"], "sets": {"own": ["x"]}, "exclude": ["Demo"]},
        {"image": "b", "exclude": ["legacy"]},
    ]
    mirror = one(packages=["demo", "other"], sets={"legacy": ["demo<2"]}, platforms=platforms)
    found = {p.name: {s.name: [str(r) for r in s.requirements] for s in p.sets} for p in mirror.platforms}
    assert found == {
        "a": {"packages": ["other", "extra"], "legacy": [], "own": ["x"]},
        "b": {"packages": ["demo", "other"]},
    }


def test_a_platform_leaves_out_a_url() -> None:
    git, wheel = "git+https://me:secret@host/r.git@main", "https://host/demo-1.0-py3-none-any.whl"
    platforms = [
        {"image": "a", "exclude": [git, f"demo @ {wheel}", "other<2"]},
        {"image": "b", "exclude": ["git+https://host/r.git"]},
    ]
    mirror = one(packages=[f"{git} ; python_version > '3'", wheel, "other<2", "other<3"], platforms=platforms)
    left = [[str(r) for r in platform.sets[0].requirements] for platform in mirror.platforms]
    assert left[0] == ["other<3"]
    assert len(left[1]) == 4, "another branch"


def test_lists_may_be_mappings_that_pillars_can_merge() -> None:
    mirror = one(
        packages={"base": ["demo"], "web": ["flask"]},
        platforms={"old": {"image": "debian:bullseye"}, "several": [{"image": "a"}, {"image": "b"}]},
    )
    assert [str(r) for r in mirror.platforms[0].sets[0].requirements] == ["demo", "flask"]
    assert [platform.image for platform in mirror.platforms] == ["debian:bullseye", "a", "b"]


def test_one_requirement_twice_is_one() -> None:
    assert len(one(packages=["demo", " demo ", "demo"]).platforms[0].sets[0].requirements) == 1


def test_the_pillar_wins_over_the_configuration_and_arguments_over_both() -> None:
    configuration = {**GOOD, "parallel": 8, "highstate": "report", "index": {"retries": 9, "timeout": 7}}
    mirrors = load({"highstate": "build", "index": {"timeout": 5}}, configuration, {"parallel": 3})
    mirror = load_one(mirrors, None)
    assert (mirror.parallel, mirror.highstate) == (3, "build")
    assert (mirror.index.retries, mirror.index.timeout) == (9, 5)


def test_a_list_is_replaced_not_joined() -> None:
    mirror = load_one(load({"packages": ["b"]}, {**GOOD, "packages": ["a"]}), None)
    assert [str(r) for r in mirror.platforms[0].sets[0].requirements] == ["b"]


def test_mirrors_inherit_the_top_level() -> None:
    mirrors = load(
        {**GOOD, "index": {"retries": 1}, "mirrors": {"dev": {"packages": ["x"], "target": "/srv/dev"}, "prod": None}}
    )
    assert {name: str(mirror.target) for name, mirror in mirrors.items()} == {"dev": "/srv/dev", "prod": "/srv/pip"}
    assert [str(r) for r in mirrors["dev"].platforms[0].sets[0].requirements] == ["x"]
    assert mirrors["prod"].index.retries == 1


def test_several_mirrors_want_a_name() -> None:
    mirrors = load({**GOOD, "mirrors": {"dev": {"target": "/srv/dev"}, "prod": {}}})
    with pytest.raises(SettingsError, match="several are declared, name one: dev, prod"):
        load_one(mirrors, None)
    with pytest.raises(SettingsError, match=r"mirror: 'deb' is not declared; did you mean 'dev'\?"):
        load_one(mirrors, "deb")
    assert load_one(mirrors, "dev").name == "dev"


def test_a_platform_is_found_by_name() -> None:
    mirror = one()
    assert mirror.selected(None) == mirror.platforms
    assert mirror.selected("debian-bookworm") == mirror.platforms
    with pytest.raises(SettingsError, match=r"did you mean 'debian-bookworm'\?"):
        mirror.platform("debian-bokworm")
    with pytest.raises(SettingsError, match="declared are: debian-bookworm"):
        mirror.platform("zzz")


def test_a_platform_without_an_image_is_this_machine() -> None:
    mirror = one(platforms=[{"name": "here", "python": "/usr/bin/python3.11"}])
    assert [(p.image, p.name, p.python) for p in mirror.platforms] == [("", "here", "/usr/bin/python3.11")]


# -- what is bad ---------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"target": None}, "pipmirror:target: missing"),
    ({"target": "srv/pip"}, "pipmirror:target: 'srv/pip' is relative"),
    ({"target": "/srv/../etc"}, "holds '..'"),
    ({"target": "/srv/\npip"}, "control character"),
    ({"target": 5}, "pipmirror:target: must be a string, not the number 5"),
    ({"platforms": None}, "pipmirror:platforms: missing"),
    ({"platforms": []}, "pipmirror:platforms: missing"),
    ({"platforms": "debian:bookworm"}, "pipmirror:platforms: must be a list of mappings"),
    ({"platforms": ["debian:bookworm"]}, r"pipmirror:platforms\[0\]: must be a mapping with an image"),
    (
        {"platforms": [{"python": "x"}]},
        r"pipmirror:platforms\[0\]:image: missing; .* \(or give only a name: this minion",
    ),
    ({"platforms": [{"name": "x", "image": ""}]}, r"pipmirror:platforms\[0\]:image: is empty"),
    ({"platforms": [{"name": "x", "image": None}]}, r"pipmirror:platforms\[0\]:image: is empty"),
    ({"platforms": [{"name": "x", "pre_command": "y"}]}, r"platforms\[0\]:pre_command: is for platforms with an image"),
    ({"platforms": [{"name": "x", "pre-command": "y"}]}, r"platforms\[0\]:pre-command: is for platforms with an image"),
    ({"platforms": [{"name": "x", "architecture": "y"}]}, r"architecture: is for platforms with an image"),
    ({"platforms": [{"name": "x", "image_source": "auto"}]}, r"image_source: is for platforms with an image"),
    ({"platforms": [{"name": "x", "verify_command": "y"}]}, r"verify_command: is for platforms with an image"),
    ({"platforms": [{"image": "a b"}]}, "is not an image reference"),
    ({"platforms": [{"image": "-v/:/x"}]}, "is not an image reference"),
    ({"platforms": [{"image": "a"}, {"image": "a"}]}, "'a' is the name of another platform"),
    ({"platforms": [{"image": "a"}, {"image": "b", "name": "a/b"}]}, "'a/b' lies inside the directory of 'a'"),
    ({"platforms": [{"image": "a", "pre-command": "x", "pre_command": "y"}]}, "given twice"),
    ({"platforms": [{"image": "a", "image_source": "moon"}]}, "must be one of auto, local, registry, debootstrap"),
    ({"platforms": [{"image": "a", "nmae": "b"}]}, "unknown key; did you mean 'name'"),
    ({"packages": "demo"}, "pipmirror:packages: must be a list of strings, not the string 'demo'"),
    ({"packages": [5]}, r"pipmirror:packages\[0\]: must be a string, not the number 5; quote it"),
    ({"packages": [None]}, r"pipmirror:packages\[0\]: must be a string, not null"),
    ({"packages": [True]}, r"must be a string, not the boolean true"),
    ({"packages": [["demo"]]}, "must be a string, not a list"),
    ({"packages": [{"demo": "1.0"}]}, "must be a string, not a mapping"),
    ({"packages": [""]}, "is empty"),
    ({"packages": {"web": "flask"}}, "pipmirror:packages:web: must be a list of strings"),
    ({"packages": ["x; touch /tmp/pwned"]}, "is not a valid requirement"),
    ({"packages": ["--pre"]}, "use the setting prereleases"),
    ({"packages": ["demo --no-binary demo"]}, "use the setting no_binary"),
    ({"packages": ["https://files.invalid/demo.exe"]}, "is neither a wheel nor an sdist"),
    ({"packages": ["hg+https://hg.invalid/demo"]}, "is not supported"),
    ({"constraints": ["demo @ https://files.invalid/demo-1.0.tar.gz"]}, "is a URL; list it in packages"),
    ({"build_constraints": ["git+https://git.invalid/demo"]}, "is a URL; list it in packages"),
    ({"packages": ["/srv/demo-1.0-py3-none-any.whl"]}, "is a local path"),
    ({"packages": ["${HOME}"]}, r"holds '\$\{'"),
    ({"packages": ["demo\nother"]}, "holds a line break"),
    ({"packages": ["demo\\other"]}, "holds a backslash"),
    ({"constraints": ["demo<"]}, r"pipmirror:constraints\[0\]"),
    ({"sets": ["demo"]}, "pipmirror:sets: must be a mapping"),
    ({"sets": {"packages": ["demo"]}}, "choose another name"),
    ({"sets": {"old": "demo"}}, "pipmirror:sets:old: must be a list of strings"),
    ({"no_binary": ["not a name"]}, "is not a project's name"),
    ({"prereleases": "yes"}, "pipmirror:prereleases: must be a list of strings"),
    ({"upgrade": "soon"}, "must be true, false or an age"),
    ({"min_age": "3 fortnights"}, "must be a duration"),
    ({"min_age": 3}, "must be a duration"),
    ({"verify": "yes"}, "must be true or false"),
    ({"parallel": 0}, "whole number from 1 to 256"),
    ({"parallel": True}, "whole number from 1 to 256, not the boolean true"),
    ({"highstate": "maybe"}, "must be one of build, report"),
    ({"index": {"url": "ftp://x"}}, "pipmirror:index:url: must be a URL that starts with http"),
    ({"index": {"extra_urls": ["file:///x"]}}, "pipmirror:index:extra_urls: must be a URL that starts with http"),
    ({"index": {"username": "me"}}, "username and password belong together"),
    ({"index": {"ca_cert": "ca.pem"}}, "is relative; name an absolute file"),
    ({"index": {"retries": -1}}, "whole number from 0 to 100"),
    ({"index": {"usrname": "x"}}, "pipmirror:index:usrname: unknown key; did you mean 'username'"),
    ({"container": {"memory": "plenty"}}, "must be a size"),
    ({"container": {"cpus": 0}}, "a number from 0.01"),
    ({"container": {"memory": 0}}, "at least 16m"),
    ({"container": {"disk": "1k"}}, "at least 16m"),
    ({"index": {"url": "http://host:abc/"}}, "pipmirror:index:url: must be a URL"),
    ({"index": {"url": "http://[::1"}}, "pipmirror:index:url: must be a URL"),
    ({"index": {"url": "http://a..b/"}}, "pipmirror:index:url: must be a URL"),
    ({"index": {"timeout": 10**15}}, "pipmirror:index:timeout: must be a whole number from 1 to 86400"),
    ({"min_age": "99999999999d"}, "pipmirror:min_age: must be a duration"),
    ({"files": {"user": ["x"]}}, "pipmirror:files:user: must be a name or a number"),
    ({"mirrors": {"a": {}, "b": {}}}, "the targets of 'a' and 'b' overlap"),
    ({"mirrors": {"a": {"target": "/srv/x"}, "b": {"target": "/srv/x/y/"}}}, "the targets of 'a' and 'b' overlap"),
    (
        {
            "mirrors": {
                "a": {"target": "/srv/x", "platforms": [{"image": "i", "name": "b-c"}]},
                "a-b": {"target": "/srv/y", "platforms": [{"image": "i", "name": "c"}]},
            }
        },
        "both make the state 'a-b-c'",
    ),
    ({"files": {"file_mode": "rw"}}, "must be permission bits"),
    ({"files": {"file_mode": 999}}, "must be permission bits"),
    ({"pakages": ["x"]}, "pipmirror:pakages: unknown key; did you mean 'packages'"),
    ({"zzzzzz": 1}, "pipmirror:zzzzzz: unknown key; remove it"),
    ({"exclude": ["x"]}, "pipmirror:exclude: belongs to a platform; put it below an item of platforms"),
    ({"prune": "yes"}, "pipmirror:prune: must be true or false"),
    ({"keep_days": -1}, "pipmirror:keep_days: must be a whole number from 0 to 36500"),
    ({"keep_days": "30d"}, "pipmirror:keep_days: must be a whole number from 0 to 36500"),
    ({"mirrors": ["dev"]}, "pipmirror:mirrors: must be a mapping"),
    ({"mirrors": {"../x": {}}}, "a mirror's name may hold only"),
    ({"mirrors": {"dev": {"parallel": 0}}}, "pipmirror:mirrors:dev:parallel"),
]
NAMES = [
    "../x",
    "a/../b",
    "/abs",
    ".hidden",
    "a/.hidden",
    "a//b",
    "a/",
    "",
    " ",
    "a b",
    "a\nb",
    "~/x/..",
    "-x",
    "a;b",
    "%2e",
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=[str(change)[:60] for change, _ in BAD])
def test_a_fault_is_told(change: dict[str, Any], said: str) -> None:
    found = faults_with(**change)
    assert any(re.search(said, fault) for fault in found), found


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    found = faults_with(platforms=[{"image": "a", "name": name}])
    assert len(found) == 1
    assert "platforms[0]:name" in found[0]


def test_every_fault_is_told_at_once() -> None:
    """All the bad values that do not exclude each other, in one pillar."""
    chosen: dict[str, Any] = {"mirrors": {}}
    expected = []
    for change, said in BAD:
        key = next(iter(change))
        if key not in chosen and key != "mirrors":
            chosen.update(change)
            expected.append(said)
    del chosen["mirrors"]
    found = faults(chosen)
    assert [said for said in expected if not any(re.search(said, fault) for fault in found)] == []
    assert len(found) >= len(expected) >= 15


def test_every_item_of_a_list_is_told() -> None:
    found = faults_with(packages=["good", 5, None, "--pre", "x; touch /tmp/pwned", "fine>=1"])
    assert [fault.partition(": ")[0] for fault in found] == [f"pipmirror:packages[{number}]" for number in (1, 2, 3, 4)]


def test_a_fault_of_the_top_level_is_told_once_for_all_mirrors() -> None:
    found = faults({**GOOD, "target": "rel", "mirrors": {"a": {}, "b": {}, "c": {}}})
    assert len([fault for fault in found if "relative" in fault]) <= 3
    assert len(found) == len(set(found))


@pytest.mark.parametrize("pillar", [[], "x", 5, ["target"]])
def test_a_pillar_of_another_kind_is_refused(pillar: object) -> None:
    assert any("pipmirror: must be a mapping" in fault for fault in faults(pillar))


def test_nothing_at_all_is_faulty() -> None:
    assert {fault.partition(": ")[0] for fault in faults(None)} == {
        "pipmirror:target",
        "pipmirror:platforms",
        "pipmirror:packages",
    }


@pytest.mark.parametrize(
    "url", ["unix:///run/docker.sock", "http+unix:///x", "tcp://engine:2375", "https://[::1]:2376", "ssh://me@host"]
)
def test_an_engines_url(url: str) -> None:
    assert one(container={"engine_url": url}).container.engine_url == url


@pytest.mark.parametrize("url", ["/run/docker.sock", "docker.sock", "unix://run/docker.sock", "tcp://", "tcp:///x y"])
def test_what_is_no_engines_url_is_told_with_an_example(url: str) -> None:
    assert faults_with(container={"engine_url": url}) == [
        f"pipmirror:container:engine_url: {url!r} is no engine's URL, e.g. unix:///run/podman/podman.sock or "
        "tcp://HOST:2375"
    ]


def test_a_duration_where_seconds_are_wanted_is_told_so() -> None:
    assert faults_with(container={"timeout": "1h"}) == [
        "pipmirror:container:timeout: must be a whole number from 1 to 10000000 (seconds), not the string '1h'"
    ]


def test_an_empty_list_is_a_declaration() -> None:
    assert one(packages=[]).platforms[0].sets == ()


def test_a_pillar_that_did_not_render_is_never_acted_upon() -> None:
    found = faults(GOOD, pillar_errors=["Rendering SLS 'pip' failed"])
    assert found == ["pillar: did not render: Rendering SLS 'pip' failed"]


def test_an_argument_is_checked_like_the_pillar() -> None:
    wanted = "must be a whole number from 1 to 256, not the string 'many'"
    assert faults(GOOD, arguments={"parallel": "many"}) == [f"parallel: {wanted}"]
    assert faults({**GOOD, "parallel": "many"}) == [f"pipmirror:parallel: {wanted}"]


def test_faults_of_arguments_stand_below_a_heading_of_their_own() -> None:
    arguments = {"platfrom": "x", "index": {"retries": -3}, "platforms": {"some": [{"name": "a", "imge": "b"}]}}
    with pytest.raises(SettingsError) as caught:
        load({**GOOD, "index": {"timeout": "long"}, "prune": 5}, arguments=arguments)
    assert str(caught.value).splitlines() == [
        "2 faults in the pipmirror settings:",
        "- pipmirror:prune: must be true or false, not the number 5",
        "- pipmirror:index:timeout: must be a whole number from 1 to 86400 (seconds), not a string",
        "3 faults in the arguments:",
        "- platfrom: unknown argument; did you mean 'platform'?",
        "- platforms:some[0]:imge: unknown key; did you mean 'image'?",
        "- index:retries: must be a whole number from 0 to 100, not the number -3",
    ]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("keepdays", "did you mean 'keep_days'?"),
        ("tset", "did you mean 'test'?"),
        ("reslove", "did you mean 'resolve'?"),
        ("mirors", "did you mean 'mirror'?"),
        ("platform", "did you mean 'platforms'?"),  # of a function that has no such argument
        ("zzz", "remove it"),
        ("test", "pipmirror.plan tells what would be done, and changes nothing"),
    ],
)
def test_an_unknown_argument(argument: str, said: str) -> None:
    assert faults(GOOD, arguments={argument: 1}) == [f"{argument}: unknown argument; {said}"]


def test_an_argument_that_several_mirrors_do_not_understand_is_told_once() -> None:
    two = {"mirrors": {name: {**GOOD, "target": f"/srv/{name}"} for name in ("a", "b")}}
    assert len(faults(two, arguments={"keep_days": -1})) == 1


# -- secrets -------------------------------------------------------------------------------------------------

SECRETIVE: list[Mapping[str, Any]] = [
    {"username": "me", "password": SECRET},
    {"url": f"https://me:{SECRET}@index.internal/simple"},
    {"extra_urls": [f"https://me:{SECRET}@index.internal/simple"]},
    {"proxy": f"http://me:{SECRET}@proxy.internal:3128"},
]


@pytest.mark.parametrize("index", SECRETIVE, ids=lambda index: str(sorted(index)))
def test_a_secret_is_in_no_representation(index: Mapping[str, Any]) -> None:
    mirror = one(index=index)
    for value in (mirror, mirror.index, [mirror], {"x": mirror}):
        assert SECRET not in repr(value)
        assert SECRET not in str(value)
        assert SECRET not in f"{value}"


@pytest.mark.parametrize(
    "index",
    [
        {"username": 5, "password": SECRET},
        {"password": [SECRET]},
        {"password": {"x": SECRET}},
        {"passwrd": SECRET},
        {"url": f"ftp://me:{SECRET}@index.internal"},
        {"extra_urls": f"https://me:{SECRET}@index.internal/simple"},
        {"proxy": [f"http://me:{SECRET}@proxy.internal"]},
        f"https://me:{SECRET}@index.internal/simple",
        [SECRET],
    ],
    ids=lambda index: str(index)[:30],
)
def test_a_secret_is_in_no_fault(index: object) -> None:
    assert SECRET not in "\n".join(faults_with(index=index, parallel=0))


def test_a_password_that_is_a_number_is_refused_without_telling_it() -> None:
    found = faults_with(index={"username": "me", "password": 8675309})
    assert found == ["pipmirror:index:password: must be a string, not a number"]


def test_every_field_of_an_index_that_may_hold_a_secret_is_hidden() -> None:
    shown = {field.name for field in dataclasses.fields(Index) if field.repr}
    assert shown == {"username", "ca_cert", "trusted_hosts", "retries", "timeout"}
