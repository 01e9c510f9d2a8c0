"""The declaration of a Gentoo mirror: what it becomes, and every fault of a bad one at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.gentoo_settings import LIMITS, GentooMirror, PackageSet, load

GOOD: dict[str, Any] = {"target": "/srv/gentoo", "image": "gentoo/stage3", "packages": ["app-editors/vim"]}


def faults(**changes: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load({**GOOD, **changes})
    return list(caught.value.faults)


def test_the_least_that_is_needed() -> None:
    sets = (PackageSet("packages", ("app-editors/vim",)),)
    assert load(GOOD) == GentooMirror(Path("/srv/gentoo"), "gentoo/stage3", sets)


def test_everything() -> None:
    mirror = load(
        {
            **GOOD,
            "sets": {"desktop": ["@world", ">=www-client/firefox-128:esr::gentoo[wayland,-telemetry]"]},
            "make_conf": {"ACCEPT_KEYWORDS": "~amd64", "USE": "X -gtk"},
            "mirrors": ["https://mirror.example/gentoo/"],
            "proxy": "http://proxy.example:3128",
            "container": {"memory": "2g"},
            "refresh": "12h",
        }
    )
    assert [one.name for one in mirror.sets] == ["packages", "desktop"]
    assert mirror.make_conf == {"ACCEPT_KEYWORDS": "~amd64", "USE": "X -gtk"}
    assert mirror.mirrors == ("https://mirror.example/gentoo",)
    assert (mirror.container.memory, mirror.container.disk) == (2 << 30, LIMITS.disk)
    assert mirror.refresh == 12 * 3600


def test_precedence() -> None:
    configuration = {**GOOD, "refresh": "1h", "keep_days": 5, "container": {"pids": 7}}
    mirror = load({"refresh": "2h", "keep_days": 6, "container": {"cpus": 1}}, configuration, {"keep_days": 7})
    assert (mirror.refresh, mirror.keep_days) == (7200, 7)
    assert (mirror.container.pids, mirror.container.cpus) == (7, 1.0)


def test_every_fault_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"target": "relative", "imag": "x", "packages": ["--sync"], "container": {"build_network": []}})
    assert str(caught.value).splitlines() == [
        "5 faults in the gentoo_mirror settings:",
        "- gentoo_mirror:imag: unknown key; did you mean 'image'?",
        "- gentoo_mirror:target: 'relative' is relative; name an absolute directory",
        "- gentoo_mirror:image: missing; name a container image with Portage, e.g. gentoo/stage3",
        "- gentoo_mirror:packages[0]: '--sync' is neither a package, such as app-editors/vim, nor a set, as '@world'",
        "- gentoo_mirror:container:build_network: unknown key; remove it",
    ]


def test_a_pillar_that_did_not_render() -> None:
    with pytest.raises(SettingsError, match="in the gentoo_mirror settings:\n- pillar: did not render: oops"):
        load(GOOD, pillar_errors=["oops"])


@pytest.mark.parametrize(
    "atom",
    ["-p", "--config-root=/x", "/etc/passwd", "../x", "a b", "a/b\n", "$(x)", "a/b;c", "", "@", "./x.ebuild", "a/b/c"],
)
def test_what_is_no_package(atom: str) -> None:
    assert len(faults(packages=[atom])) == 1


@pytest.mark.parametrize(
    "atom", ["vim", "app-editors/vim", "=dev-lang/python-3.13*", "~x11-libs/gtk+-3.24", "@world", "dev-libs/a:0/1.2="]
)
def test_packages(atom: str) -> None:
    assert load({**GOOD, "packages": [atom]}).sets[0].atoms == (atom,)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"make_conf": {"DISTDIR": "/x"}}, "make_conf:DISTDIR: is ours to set; remove it"),
        ({"make_conf": {"GENTOO_MIRRORS": "x"}}, "make_conf:GENTOO_MIRRORS: is set by 'mirrors'; say it there"),
        ({"make_conf": {"use": "x"}}, "make_conf:use: is not a variable of make.conf; those are in capitals"),
        ({"make_conf": {"USE": 5}}, "make_conf:USE: must be a string, not a number; quote it"),
        ({"make_conf": {"FETCHCOMMAND": "x http://a:hunter2@b/"}}, "make_conf:FETCHCOMMAND: holds a user or password"),
        ({"mirrors": ["https://u:hunter2@mirror.example"]}, "mirrors[0]: holds a user or password"),
        ({"mirrors": ["/srv"]}, "mirrors[0]: must be a URL of a host"),
        ({"mirrors": ["http://:8080"]}, "mirrors[0]: must be a URL of a host"),
        ({"mirrors": ["http://mirror.example:99999/"]}, "mirrors[0]: must be a URL of a host"),
        ({"mirrors": ["http://mirror.example/\x1b"]}, "mirrors[0]: must be a URL of a host"),
        ({"proxy": "http://:3128"}, "proxy: must be http://HOST:PORT"),
        ({"make_conf": {"USE": "a\0b"}}, "make_conf:USE: holds a NUL"),
        (
            {"make_conf": {"http_proxy": "x"}},
            "make_conf:http_proxy: is not a variable of make.conf; those are in capitals (for a",
        ),
        ({"architecture": "amd64\0"}, "architecture: 'amd64\\x00' is none; say it as amd64"),
        ({"files": {"user": "a\0b"}}, "files:user: must be a name or a number"),
        ({"files": {"group": 1 << 32}}, "files:group: must be a name or a number"),
        ({"sets": {"s" * 65: ["vim"]}}, f"sets:{'s' * 65}: a set's name may hold only letters, digits and . _ -, 64"),
        ({"proxy": "http://u:hunter2@proxy.example:1"}, "proxy: holds a user or password"),
        ({"proxy": "proxy.example"}, "proxy: must be http://HOST:PORT"),
        ({"files": {"file_mode": "0640"}}, "files:file_mode: 0640 lets others not read"),
        ({"files": {"dir_mode": "0754"}}, "files:dir_mode: 0754 lets others not read"),
        ({"sets": {"packages": []}}, "sets:packages: the default set is declared by 'packages'"),
        ({"sets": {"a/b": ["vim"]}}, "sets:a/b: a set's name may hold only letters"),
        ({"image_source": "debootstrap"}, "image_source: must be one of auto, local, registry"),
        ({"image": "-v"}, "image: '-v' is not an image reference"),
    ],
)
def test_faults(changes: dict[str, Any], fault: str) -> None:
    (found,) = faults(**changes)
    assert found.startswith(f"gentoo_mirror:{fault}")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("given", "trial"),
    [
        ({"packages": ["app-misc/other"]}, True),
        ({"make_conf": {"USE": "doc"}}, True),
        ({"packages": GOOD["packages"], "refresh": 0}, False),
        ({"emptytree": False}, True),
        ({"emptytree": True, "fetch_all_uri": False}, False),
    ],
)
def test_arguments_that_ask_for_something_else_are_a_trial(given: dict[str, Any], trial: bool) -> None:
    assert load({**GOOD, "prune": True}, arguments=given).trial is trial


def test_arguments_alone_are_a_declaration() -> None:
    """Of which the pillar's `prune` does not speak."""
    rest = {"target": "/srv/gentoo", "image": "x", "prune": True}
    alone = load(rest, arguments={"packages": ["vim"]})
    assert (alone.trial, alone.prune) == (False, False)
    assert load(rest, arguments={"packages": ["vim"], "prune": True}).prune is True


def test_faults_of_arguments_are_told_as_such() -> None:
    with pytest.raises(SettingsError) as caught:
        load({**GOOD, "keep_days": -1}, arguments={"pakages": ["vim"], "refresh": "soon", "test": True})
    assert str(caught.value).splitlines() == [
        "1 fault in the gentoo_mirror settings:",
        "- gentoo_mirror:keep_days: must be a whole number from 0 to 36500, not the number -1",
        "3 faults in the arguments:",
        "- pakages: unknown argument; did you mean 'packages'?",
        "- test: unknown argument; gentoo_mirror.plan tells what would be done, and changes nothing",
        "- refresh: must be a duration such as 90s, 15m, 12h, 3d, 2w, or 0, not the string 'soon'",
    ]


def test_nothing_declared() -> None:
    with pytest.raises(SettingsError, match="packages: missing; list what to mirror"):
        load({"target": "/srv/gentoo", "image": "x"})
    assert load({**GOOD, "packages": []}).sets == ()
