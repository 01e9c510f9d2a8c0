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


def test_changes_name_old_and_new(site: Site, loaders: Callable[..., Loaders]) -> None:
    states = loaders().states
    states.pipmirror.synced(PLATFORM, packages=["beta<2"])
    ret = states.pipmirror.synced(PLATFORM, packages=["beta>=2"])
    assert ret.changes["beta"] == {"old": "1.0", "new": "2.0"}


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
    assert ret.changes == {PLATFORM: {"written": ["index.html"]}}
    assert not page.exists()
    ret = states.published("pages")
    assert ret.result is True
    assert ret.changes == {PLATFORM: {"written": ["index.html"]}}
    assert page.exists()
    assert states.published("pages").changes == {}


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
    for name in ("synced", "published"):
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
