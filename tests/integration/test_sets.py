"""Requirement sets: each resolved on its own, declared for all platforms or for one, and none keeps another back."""

from __future__ import annotations

import pytest

from tests.support.site import Site

pytestmark = pytest.mark.integration


def files(*names: str) -> set[str]:
    return {f"{name}-py3-none-any.whl" for name in names}


def test_contradicting_sets_live_in_one_mirror(site: Site) -> None:
    site.settings.update(packages=["alpha", "beta>=2"], sets={"old": ["beta<2"], "oldest": ["alpha", "beta==1.0"]})
    site.settings["verify"] = True
    site.good(site.apply())
    assert site.wheels() == files("alpha-1.0", "beta-1.0", "beta-2.0")
    status = site.call("status").value["bookworm"]
    installed = {name: proof["installed"] for name, proof in status["verified"].items()}
    assert installed == {"packages": 2, "old": 1, "oldest": 2}
    assert site.state(site.good(site.apply()))["changes"] == {}


def test_a_platform_adds_and_excludes(site: Site) -> None:
    site.wheel("gamma")
    site.wheel("delta")
    site.settings.update(packages=["alpha"], sets={"old": ["beta<2"], "more": ["gamma"]}, constraints=["beta<3"])
    site.also("other", packages=["delta"], sets={"own": ["gamma==1.0"]}, exclude=["alpha", "old"])
    site.good(site.apply())
    assert site.wheels() == files("alpha-1.0", "beta-1.0", "beta-2.0", "gamma-1.0")
    assert site.wheels("other") == files("delta-1.0", "gamma-1.0")
    site.check()
    site.check("other")


def test_constraints_bind_every_set(site: Site) -> None:
    site.settings.update(packages=["alpha"], sets={"plain": ["beta"]}, constraints=["beta<2"])
    site.good(site.apply())
    assert site.wheels() == files("alpha-1.0", "beta-1.0")


def test_an_unsatisfiable_set_keeps_no_other_back(site: Site) -> None:
    site.wheel("gamma", requires=["beta<1"])
    site.settings.update(packages=["alpha"], sets={"broken": ["gamma"], "gone": ["nosuch"], "old": ["beta<2"]})
    answer = site.apply()
    state = site.state(answer)
    assert state["result"] is False
    assert site.wheels() == files("alpha-1.0", "beta-1.0", "beta-2.0")
    told = site.call("plan").value["platforms"]["bookworm"]["missing"]
    assert set(told) == {"gamma", "nosuch"}
    assert "gamma 1.0 -> beta<1" in state["comment"]
    assert "nosuch: nothing of that name" in state["comment"]
    site.check()
