"""`state.apply pipmirror` comes to rest where every sync prunes: its second run changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.dists import make_wheel
from tests.support.salt import Answer
from tests.support.site import Site

ALPHA, BETA_1, BETA_2, GAMMA = (
    f"{name}-py3-none-any.whl" for name in ("alpha-1.0", "beta-1.0", "beta-2.0", "gamma-1.0")
)


def upgraded(site: Site) -> None:
    site.settings["upgrade"] = True
    site.wheel("beta", "3.0")


def withdrawn_from_pillar(site: Site) -> None:
    site.settings["packages"] = ["alpha"]


def put_there(site: Site) -> None:
    make_wheel(site.public(), "byhand", "1.0")


def yanked(site: Site) -> None:
    site.index.yank(BETA_2, "bad")
    site.settings["upgrade"] = True


def yanked_and_kept(site: Site) -> None:
    site.index.yank(BETA_2, "bad")


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (upgraded, {ALPHA, "beta-3.0-py3-none-any.whl", GAMMA}),
        (withdrawn_from_pillar, {ALPHA, BETA_2}),
        (put_there, {ALPHA, BETA_2, GAMMA}),
        (yanked, {ALPHA, BETA_1, GAMMA}),
        (yanked_and_kept, {ALPHA, BETA_2, GAMMA}),
    ],
)
def test_the_second_run_changes_nothing(site: Site, change: Callable[[Site], None], left: set[str]) -> None:
    site.wheel("gamma")
    own = {"packages": ["alpha", "gamma"], "prune": True, "keep_days": 0, "engine_sls": ""}
    site.settings.update(own)
    site.good(site.apply())
    assert changes(site.apply()) == {}
    change(site)
    site.good(site.apply())
    assert site.wheels() == left
    site.check()
    assert changes(site.good(site.apply())) == {}
    assert site.wheels() == left


def changes(answer: Answer) -> dict[str, object]:
    return {name: state["changes"] for name, state in answer.states.items() if state["changes"]}
