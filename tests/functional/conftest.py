"""Sites without an engine: their platform was prepared once, and nothing that is asked of it needs a container."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipmirror_lib import plan, settings
from pipmirror_lib.moments import now

from tests.support.localindex import LocalIndex
from tests.support.site import Site
from tests.support.worlds import make_profile


def prepared(site: Site) -> None:
    """Leave behind what `prepare` would, for every platform of every mirror."""
    for mirror in settings.load(site.settings).values():
        for platform in mirror.platforms:
            private = mirror.target / ".pipmirror" / platform.name
            private.mkdir(parents=True, exist_ok=True)
            (private / "profile.json").write_text(make_profile().to_json())
            state = {"recipe": plan.recipe_of(platform), "prepared": now()}
            (private / "state.json").write_text(json.dumps(state))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Site]:
    """alpha -> beta on the index, and nothing at all in the place of the mirror."""
    with LocalIndex() as index:
        site = Site(tmp_path, index, {"container": {"engine_url": "unix:///nonexistent"}})
        site.wheel("alpha", requires=["beta>=1"])
        site.wheel("beta", "1.0")
        site.wheel("beta", "2.0")
        yield site


@pytest.fixture
def site(bare: Site) -> Site:
    """The same with a platform that is prepared."""
    prepared(bare)
    return bare
