"""What may go, with a real engine. Of images only those with this run's mark are seen, so that no others can go."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pipmirror_lib import builder, plan, sweep
from pipmirror_lib.engine import LABEL, Engine, ImageInfo, RunSpec
from pipmirror_lib.settings import Mirror, load, load_one

from tests.integration.conftest import Ensure
from tests.support.mirrors import directory_of
from tests.support.site import IMAGE, PLATFORM, Site

pytestmark = pytest.mark.integration

ALPHA, BETA_1, BETA = (f"{stem}-py3-none-any.whl" for stem in ("alpha-1.0", "beta-1.0", "beta-2.0"))
MARK = f"pipmirror-prune-{os.getpid()}"


@pytest.fixture
def mirror(tmp_path: Path, engine: Engine, ensure: Ensure, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    ensure(IMAGE)
    find = Engine.find

    def ours(self: Engine, labels: Mapping[str, str]) -> list[ImageInfo]:
        return find(self, {**labels, f"{LABEL}.platform": MARK})

    monkeypatch.setattr(Engine, "find", ours)
    monkeypatch.setattr(sweep, "STRANGERS", 0)  # nobody shares what has this mark
    platform = {"image": IMAGE, "name": MARK, "pre_command": f"echo {MARK}"}
    made = load_one(load({"target": str(tmp_path), "packages": ["x"], "platforms": [platform], "keep_days": 0}), None)
    directory_of(made).create()
    yield made
    for info in engine.find({}):
        engine.remove_image(info.id)


def prepare(engine: Engine, mirror: Mirror, command: str) -> str:
    platform = dataclasses.replace(mirror.platforms[0], pre_command=command)
    limits, workdir = mirror.container, directory_of(mirror).work
    options = {"workdir": workdir, "rebuild_after": 0}
    return builder.prepare(engine, platform, limits, progress=lambda text: None, **options).id  # type: ignore[arg-type]


def test_builder_images_that_nobody_uses_go(mirror: Mirror, engine: Engine) -> None:
    used = prepare(engine, mirror, mirror.platforms[0].pre_command)
    plan.remember(directory_of(mirror), image=used)
    old = prepare(engine, mirror, f"head -c 3000000 /dev/urandom > /{MARK}")
    busy = prepare(engine, mirror, f"echo busy {MARK}")
    patient = dataclasses.replace(mirror, keep_days=1)
    assert sweep.images([patient], [patient], test=False) == ({}, []), "they are of today"
    found, notes = sweep.images([mirror], [mirror], test=True)
    assert (set(found), notes) == ({old, busy}, [])
    assert (found[old]["platform"], found[old]["kind"]) == (MARK, "builder")
    assert 3_000_000 <= found[old]["size"] < 20_000_000, "without its base"
    with engine.container(RunSpec(image=busy, command=("true",), name=MARK)):
        gone, (note,) = sweep.images([mirror], [mirror], test=False)
    assert list(gone) == [old]
    assert "a builder image was left alone" in note
    assert list(sweep.images([mirror], [mirror], test=False)[0]) == [busy]
    assert engine.image(used)
    assert engine.image(IMAGE)
    assert [engine.image(image) for image in (old, busy)] == [None, None]


def test_what_was_proved_stays_proved(site: Site) -> None:
    """What the target's own pip says that it has installed is told from what may go."""
    site.settings.update(verify=True, packages=["alpha", "beta<2"])
    site.good(site.apply())
    site.settings["packages"] = ["alpha"]
    assert site.call("sync", upgrade=True).code == 0
    assert site.wheels() == {ALPHA, BETA, BETA_1}
    state = json.loads((site.private() / "state.json").read_text())
    assert state["verified"]["wheels"] == [ALPHA, BETA]
    removed = site.call("prune", platform=PLATFORM, keep_days=0).platform["removed"]
    assert list(removed) == [BETA_1]
    site.check()
    site.settings["container"] = {"engine_url": "unix:///nonexistent"}
    assert site.state(site.good(site.apply()))["changes"] == {}
