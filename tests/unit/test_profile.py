"""The target profile: markers and tags of another interpreter than ours."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.tags import parse_tag
from packaging.version import Version
from pipmirror_lib.profile import MARKER_VARIABLES, TargetProfile

from tests.support.worlds import PROFILE, make_profile


def said(**changes: Any) -> dict[str, Any]:
    return {**json.loads(PROFILE.to_json()), **changes}


def test_a_profile_survives_being_stored() -> None:
    assert asdict(TargetProfile.from_data(json.loads(PROFILE.to_json()))) == asdict(PROFILE)


@pytest.mark.parametrize("variable", MARKER_VARIABLES)
def test_every_marker_variable_is_needed(variable: str) -> None:
    markers = {name: value for name, value in PROFILE.markers.items() if name != variable}
    with pytest.raises(ValueError, match=f"lacks {variable}"):
        TargetProfile.from_data(said(markers=markers))


@pytest.mark.parametrize("tags", [[], None])
def test_tags_are_needed(tags: object) -> None:
    with pytest.raises(ValueError, match="lacks tags"):
        TargetProfile.from_data(said(tags=tags))


def test_what_no_decision_needs_is_kept_out() -> None:
    markers = {**PROFILE.markers, "extra": "evil", "os_release": "x"}
    profile = TargetProfile.from_data(said(markers=markers, unknown="x"))
    assert set(profile.markers) == set(MARKER_VARIABLES)


def test_the_version_is_the_full_one() -> None:
    assert make_profile("3.9.2").python_version == Version("3.9.2")


@pytest.mark.parametrize(
    ("requires", "allowed"),
    [
        (None, True),
        ("", True),
        (">=3.11", True),
        (">=3.11.3", False),
        ("==3.11.*", True),
        ("<4,!=3.0.*", True),
        ("garbage", True),
        (">=3.99.*", True),
        ("<3.11", False),
    ],
)
def test_requires_python(requires: str | None, allowed: bool) -> None:
    assert PROFILE.allows(requires) is allowed
    assert PROFILE.allows(requires) is allowed, "the second answer is a remembered one"


def test_a_prerelease_of_python_counts() -> None:
    assert make_profile("3.13.0rc1").allows(">=3.12")


def test_the_better_tag_has_the_lower_rank() -> None:
    ranks = [
        PROFILE.rank(parse_tag(tag))
        for tag in ("cp311-cp311-linux_x86_64", "cp311-cp311-manylinux_2_17_x86_64", "cp37-abi3-linux_x86_64")
    ]
    ranks.append(PROFILE.rank(parse_tag("py3-none-any")))
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: rank or 0)


def test_a_tag_set_counts_by_its_best_member() -> None:
    assert PROFILE.rank(parse_tag("py2.py3-none-any")) == PROFILE.rank(parse_tag("py3-none-any"))


@pytest.mark.parametrize("tag", ["cp312-cp312-linux_x86_64", "cp311-cp311-win_amd64", "py2-none-any"])
def test_what_does_not_fit_has_no_rank(tag: str) -> None:
    assert PROFILE.rank(parse_tag(tag)) is None


@pytest.mark.parametrize(
    ("marker", "applies"),
    [
        ("python_version < '3.10'", False),
        ("python_version >= '3.9'", True),
        ("sys_platform == 'linux' and platform_machine == 'x86_64'", True),
        ("extra == 'tls'", False),
        ("platform_system == 'Linux' or extra == 'tls'", True),
    ],
)
def test_a_marker(marker: str, applies: bool) -> None:
    assert PROFILE.applies(Marker(marker)) is applies


def test_an_extra_is_compared_normalised() -> None:
    marker = Marker("extra == 'Big_Data'")
    assert PROFILE.applies(marker, "big-data")
    assert not PROFILE.applies(marker, "bigdata")
    assert not PROFILE.applies(marker)


def test_no_marker_always_applies() -> None:
    assert PROFILE.applies(None, "tls")


@pytest.mark.parametrize(
    ("marker", "applies"),
    [
        ("platform_release >= '5.0'", False),
        ("platform_release < '99'", False),
        ("platform_release >= '5.0' or sys_platform == 'linux'", True),
        ("(platform_release >= '5.0' or os_name == 'posix') and sys_platform == 'linux'", True),
        ("(platform_release >= '5.0' and os_name == 'posix') or sys_platform == 'darwin'", False),
        ("'amd64' in platform_release", True),
        ("platform_version != '1.0'", True),
        ("'1.0' == platform_version", False),
        ("platform_version >= '1.0'", False),
        ("platform_version < '1.0' and platform_release != '6.0'", False),
        ("platform_version < '1.0'", False),
    ],
)
def test_a_kernels_release_is_no_version_and_breaks_nothing(marker: str, applies: bool) -> None:
    assert PROFILE.applies(Marker(marker)) is applies


@pytest.mark.parametrize("marker", ["os_name ~= 'posix'", "sys_platform ~= 'x'"])
def test_a_comparison_without_sense_is_an_error(marker: str) -> None:
    with pytest.raises(ValueError, match="Undefined"):
        PROFILE.applies(Marker(marker))


def test_our_own_interpreter_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("os.name", "nt")
    assert make_profile().applies(Marker("sys_platform == 'linux' and os_name == 'posix'"))
