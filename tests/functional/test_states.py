"""The states through Salt's loader: read, compare, test, act."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from saltfactories.utils.functional import Loaders

from tests.functional.conftest import prepared
from tests.support.salt import REPOSITORY
from tests.support.site import PLATFORM, Site

States = Callable[..., Any]


@pytest.fixture
def loaders(site: Site) -> Callable[..., Loaders]:
    """Salt's loader on the site's declaration, as it stands when it is asked for."""

    def load(**options: Any) -> Loaders:
        from salt.config import DEFAULT_MINION_OPTS

        own = {"pillar": {"pipmirror": site.settings}, "module_dirs": [str(REPOSITORY)], "file_client": "local"}
        places = {key: str(site.minion.root / key) for key in ("root_dir", "cachedir", "extension_modules")}
        opts = {**DEFAULT_MINION_OPTS, "id": "tests", "__role": "minion", "grains": {}, **places, **own, **options}
        return Loaders(opts, loaded_base_name="tests")

    return load


def test_synced(site: Site, loaders: Callable[..., Loaders]) -> None:
    states = loaders().states
    ret = states.pipmirror.synced(PLATFORM)
    assert ret.result is True, ret.comment
    assert ret.changes["alpha"] == {"old": "", "new": "1.0"}
    assert ret.changes["(published)"]["written"] > 0
    again = states.pipmirror.synced(PLATFORM)
    assert (again.result, again.changes) == (True, {})
    assert again.comment == "Every set is satisfied, by 2 wheels"


def test_two_mirrors_have_states_of_two_names_and_one_wheel_is_one(site: Site, loaders: Callable[..., Loaders]) -> None:
    other = {"target": str(site.directory / "other"), "packages": ["beta<2"]}
    site.settings["mirrors"] = {"default": {}, "second": other}
    prepared(site)
    states = loaders().states.pipmirror
    for mirror, name in (("default", PLATFORM), ("second", f"second:{PLATFORM}")):
        assert states.synced(PLATFORM, mirror=mirror).name == name
    assert states.synced(PLATFORM, mirror="second").comment == "Every set is satisfied, by 1 wheel"
    (site.directory / "other" / PLATFORM / "beta-1.0-py3-none-any.whl").unlink()
    ret = loaders(test=True).states.pipmirror.synced(PLATFORM, mirror="second")
    assert "forget what is gone: 1 wheel" in ret.comment


def test_changes_name_old_and_new(site: Site, loaders: Callable[..., Loaders]) -> None:
    states = loaders().states
    states.pipmirror.synced(PLATFORM, packages=["beta<2"])
    ret = states.pipmirror.synced(PLATFORM, packages=["beta>=2"])
    assert ret.changes["beta"] == {"old": "1.0", "new": "2.0"}


def test_changes_name_what_stays_beside_the_new(site: Site, loaders: Callable[..., Loaders]) -> None:
    states = loaders().states
    states.pipmirror.synced(PLATFORM, packages=["beta>=2"])
    ret = states.pipmirror.synced(PLATFORM, packages=["beta>=2"], sets={"old": ["beta<2"]})
    assert ret.changes["beta"] == {"old": "2.0", "new": "1.0, 2.0"}


def test_many_changes_become_a_count(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.settings["packages"] = [f"part-{number}" for number in range(60)]
    for name in site.settings["packages"]:
        site.wheel(name)
    ret = loaders().states.pipmirror.synced(PLATFORM)
    assert ret.result is True, ret.comment
    assert "60 added" in ret.changes["wheels"]["new"]
    assert len(ret.changes) < 5


@pytest.mark.parametrize("prepared_before", [True, False])
def test_test_mode(bare: Site, loaders: Callable[..., Loaders], prepared_before: bool) -> None:
    if not prepared_before:  # `loaders` asked for the site, which is prepared
        shutil.rmtree(bare.target)
    before = sorted(bare.target.rglob("*"))
    ret = loaders(test=True).states.pipmirror.synced(PLATFORM)
    assert ret.result is None
    assert set(ret.changes["missing"]) == {"alpha"}
    assert ("nothing of that name" if prepared_before else "never profiled") in ret.comment
    assert sorted(bare.target.rglob("*")) == before
    assert bare.target.exists() is prepared_before
    assert bare.asked() == []


def test_test_mode_has_nothing_to_tell(site: Site, loaders: Callable[..., Loaders]) -> None:
    assert loaders().states.pipmirror.synced(PLATFORM).result is True
    testing = loaders(test=True).states.pipmirror
    for ret in (testing.synced(PLATFORM), testing.published("pages")):
        assert (ret.result, ret.changes) == (True, {})


def test_published(site: Site, loaders: Callable[..., Loaders]) -> None:
    states = loaders().states.pipmirror
    states.synced(PLATFORM)
    page = site.public() / "simple" / "index.html"
    page.unlink()
    ret = loaders(test=True).states.pipmirror.published("pages")
    assert ret.result is None
    assert ret.changes == {PLATFORM: {"written": ["simple/index.html"]}}
    assert not page.exists()
    ret = states.published("pages")
    assert ret.result is True
    assert ret.changes == {PLATFORM: {"written": ["simple/index.html"]}}
    assert page.exists()
    assert states.published("pages").changes == {}


def orphan(site: Site, loaders: Callable[..., Loaders]) -> str:
    """A wheel that the pillar needs no more; the state that finds that out says so."""
    states = loaders().states.pipmirror
    assert states.synced(PLATFORM, packages=["alpha", "gamma"]).result is True
    return "gamma-1.0-py3-none-any.whl"


def test_what_is_needed_no_more_is_noted_once(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    orphan(site, loaders)
    ret = loaders(test=True).states.pipmirror.synced(PLATFORM)
    assert (ret.result, ret.changes) == (
        None,
        {"due": ["publish the pages", "begin the keep_days of wheels that no set needs: 1 wheel"]},
    )
    ret = loaders().states.pipmirror.synced(PLATFORM)
    assert (ret.result, ret.changes["(unneeded)"]) == (True, {"noted": "1 wheel"})
    ret = loaders().states.pipmirror.synced(PLATFORM)
    assert (ret.result, ret.changes) == (True, {})


def test_synced_prunes_where_the_pillar_says_so(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    gone = orphan(site, loaders)
    site.settings.update(prune=True, keep_days=0)
    ret = loaders(test=True).states.pipmirror.synced(PLATFORM)
    assert ret.result is None
    assert f"remove wheels that are not needed any more: {gone}" in ret.comment
    assert gone in site.wheels()
    states = loaders().states.pipmirror
    ret = states.synced(PLATFORM)
    assert ret.result is True, ret.comment
    assert list(ret.changes["(removed)"]) == [gone]
    assert "removed 1 wheel" in ret.comment
    site.check()
    ret = states.synced(PLATFORM)
    assert (ret.result, ret.changes) == (True, {})


def test_a_guard_that_holds_is_told_by_a_state_with_nothing_to_do(site: Site, loaders: Callable[..., Loaders]) -> None:
    loaders().states.pipmirror.synced(PLATFORM)
    site.wheel("gamma")
    site.settings.update(packages=["gamma"], prune=True, keep_days=0)
    states = loaders().states.pipmirror
    states.synced(PLATFORM)
    ret = states.synced(PLATFORM)
    assert (ret.result, ret.changes) == (True, {})
    assert "no wheel would be removed: 2 of 3 wheels would go, more than half" in ret.comment
    assert len(site.wheels()) == 3


def test_arguments_beside_the_pillar_prune_nothing(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    site.settings.update(packages=["alpha", "gamma"], prune=True, keep_days=0)
    states = loaders().states.pipmirror
    assert states.synced(PLATFORM).result is True
    ret = states.synced(PLATFORM, packages=["alpha"])
    assert (ret.result, ret.changes) == (True, {})
    assert "removed: the arguments require something else than is declared" in ret.comment
    for test in (True, False):
        ret = loaders(test=test).states.pipmirror.pruned("wheels", packages=["alpha"])
        assert (ret.result, ret.changes) == (False, {})
        assert "nothing can be pruned: the arguments require something else than is declared" in ret.comment
    assert len(site.wheels()) == 3
    assert states.synced(PLATFORM).changes == {}


def test_arguments_are_the_declaration_of_a_pillar_without_any(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    del site.settings["packages"]
    site.settings.update(prune=True, keep_days=0)
    states = loaders().states.pipmirror
    assert states.synced(PLATFORM, packages=["alpha", "gamma"]).result is True
    own = {"packages": ["alpha"]}
    changes = states.synced(PLATFORM, **own).changes
    assert changes["(unneeded)"] == {"noted": "1 wheel"}
    assert "(removed)" not in changes, "it does not say prune"
    ret = states.pruned("wheels", platform=PLATFORM, **own)
    assert list(ret.changes[PLATFORM]["wheels"]) == ["gamma-1.0-py3-none-any.whl"]
    assert states.synced(PLATFORM, packages=["alpha", "gamma"]).result is True
    assert "(removed)" in states.synced(PLATFORM, prune=True, **own).changes
    assert states.synced(PLATFORM, prune=True, **own).changes == {}


def test_pruned(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    gone = orphan(site, loaders)
    (site.private() / "logs" / "old.log").write_text("old")
    ret = loaders().states.pipmirror.pruned("everything")
    assert (ret.result, ret.changes) == (True, {PLATFORM: {"unneeded": {"noted": "1 wheel"}}}), "its days begin"
    ret = loaders().states.pipmirror.pruned("everything")
    assert (ret.result, ret.changes) == (True, {}), "it is not old enough"
    assert "Nothing may go" in ret.comment
    assert "builder images were left alone: " in ret.comment, "no engine is no failure"
    site.settings["keep_days"] = 0
    ret = loaders(test=True).states.pipmirror.pruned("everything")
    assert ret.result is None
    assert set(ret.changes) == {PLATFORM, "(shared)"}
    assert set(ret.changes[PLATFORM]) == {"wheels", "logs"}
    assert ret.changes[PLATFORM]["wheels"][gone]["size"] > 0
    assert ret.changes[PLATFORM]["logs"] == {"files": 1, "size": 3}
    assert ret.changes["(shared)"]["metadata"]["files"] > 0
    assert gone in site.wheels()
    states = loaders().states.pipmirror
    done = states.pruned("everything")
    assert done.result is True, done.comment
    assert done.changes == ret.changes
    site.check()
    ret = states.pruned("everything")
    assert (ret.result, ret.changes) == (True, {})
    assert states.synced(PLATFORM).changes == {}


def test_pruned_names_the_guard_and_does_not_fail(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    orphan(site, loaders)
    site.settings.update(keep_days=0, packages=["nosuchproject"])
    for test in (True, False):
        ret = loaders(test=test).states.pipmirror.pruned("wheels", platform=PLATFORM)
        assert (ret.result, ret.changes) == (True, {})
        assert "no wheel would be removed: not every set is satisfied" in ret.comment
    ret = loaders().states.pipmirror.pruned("wheels", platform=PLATFORM, force=True)
    assert (ret.result, len(ret.changes[PLATFORM]["wheels"])) == (True, 3)


def test_pruned_fails_where_a_platform_does(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.wheel("gamma")
    orphan(site, loaders)
    (site.private() / "manifest.json").write_text("damaged")
    for test in (True, False):
        ret = loaders(test=test).states.pipmirror.pruned("wheels", platform=PLATFORM)
        assert ret.result is False
        assert "remove it and the wheels are recorded anew" in ret.comment


def test_report_only_compares(site: Site, loaders: Callable[..., Loaders]) -> None:
    """A schedule builds; the highstate fails while something is missing, and says what to run."""
    site.settings["highstate"] = "report"
    states = loaders().states.pipmirror
    ret = states.synced(PLATFORM)
    assert ret.result is False
    assert "run pipmirror.sync" in ret.comment
    assert "alpha" in ret.comment
    assert ret.changes == {}
    assert site.asked() == []
    assert site.call("sync").code == 0
    ret = states.synced(PLATFORM)
    assert (ret.result, ret.changes) == (True, {})


def test_a_failure_tells_the_requirement(site: Site, loaders: Callable[..., Loaders]) -> None:
    ret = loaders().states.pipmirror.synced(PLATFORM, packages=["alpha", "nosuchproject"])
    assert ret.result is False
    assert "nosuchproject" in ret.comment
    assert ret.changes == {}


def test_faults_are_one_comment(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.settings.update(target="relative", upgrad=True)
    for name in ("synced", "published", "pruned"):
        ret = getattr(loaders().states.pipmirror, name)(PLATFORM)
        assert ret.result is False
        assert "2 faults" in ret.comment
        assert "did you mean 'upgrade'?" in ret.comment


def test_several_mirrors_need_a_name(site: Site, loaders: Callable[..., Loaders]) -> None:
    site.settings["mirrors"] = {"one": {}, "two": {"target": str(site.directory / "two"), "packages": ["beta<2"]}}
    prepared(site)
    states = loaders().states.pipmirror
    ret = states.synced(PLATFORM, mirror="two")
    assert ret.result is True, ret.comment
    assert set(ret.changes) >= {"beta"}
    assert "alpha" not in ret.changes
    assert not site.public().exists()
