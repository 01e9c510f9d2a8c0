"""An engine that answers what no engine should: one line of its own kind, and nothing of ours is left behind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipmirror_lib import builder
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import LABEL, Engine
from pipmirror_lib.errors import EngineError
from pipmirror_lib.settings import Container, Platform

from tests.support.leaks import containers, nameless
from tests.support.oddengine import Odd, OddEngine
from tests.support.site import IMAGE, PRE_COMMAND, Site

pytestmark = pytest.mark.integration

MARK = f"pipmirror-odd-{os.getpid()}"
KILLS = int(os.environ.get("PIPMIRROR_SALT_KILLS", "3"))
SEED = int(os.environ.get("PIPMIRROR_SEED") or random.randrange(10**6))
LIMITS = Container(memory=1 << 30, pids=256, cpus=1.0, timeout=60)
IMAGES, IMAGE_OF = "GET /images/json", "GET /images/.*/json"
CREATE, STATE, COMMIT = "POST /containers/create", "GET /containers/.*pipmirror.*/json", "POST /commit"
LIST, REMOVE = "GET /containers/json", "DELETE /containers/.*"


def ignore(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def base(engine: Engine, ensure: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Python and pip, which other tests have as well."""
    ensure(IMAGE)
    platform = Platform(name="tests", image=IMAGE, sets=(), pre_command=PRE_COMMAND)
    place = tmp_path_factory.mktemp("base")
    return builder.prepare(engine, platform, LIMITS, workdir=place, rebuild_after=0, progress=ignore).id


@pytest.fixture(autouse=True)
def nothing_stays(engine: Engine) -> Iterator[None]:
    yield
    for info in engine.find({f"{LABEL}.platform": MARK}):
        engine.remove_image(info.id)


@pytest.fixture
def prepared(base: str, tmp_path: Path) -> Callable[[str], None]:
    """Prepare an image of this test's own, and profile it, by way of an engine's URL."""
    platform = Platform(name=MARK, image=base, sets=(), pre_command=f": {MARK} {time.monotonic()}")

    def prepare(url: str) -> None:
        found = Engine.connect(url)
        found.remove_abandoned()
        image = builder.prepare(found, platform, LIMITS, workdir=tmp_path, rebuild_after=0, progress=ignore)
        builder.profile(Containers(found, image, platform), platform, LIMITS, workdir=tmp_path)
        found.close()

    return prepare


def left() -> list[str]:
    return [name for name in containers() if MARK in name]


@pytest.mark.parametrize(
    ("request_", "odd"),
    [
        ("GET /_ping", Odd(b"<html>" * 1000, 500)),
        ("GET /version", Odd(b"null")),
        (IMAGES, Odd(b"null")),
        (IMAGES, Odd(b"[[1]]")),
        (IMAGES, Odd(b'[{"Id": null}]')),
        (IMAGE_OF, Odd(b"no JSON")),
        (IMAGE_OF, Odd(b"{}")),
        (IMAGE_OF, Odd(b'{"Id": "sha256:0", "Config": [1]}')),
        (IMAGE_OF, Odd(b'{"Id":', lacking=50)),
        (LIST, Odd(b'"what"')),
        (LIST, Odd(b'[{"Labels": null}, 1]')),
        (CREATE, Odd(b"null")),
        (CREATE, Odd(b'{"message": "bad \\u001b[31mthing"}', 500)),
        (CREATE, Odd(asks=True)),
        (STATE, Odd(b"{}")),
        (STATE, Odd(b'{"State": []}')),
        (STATE, Odd(b'{"State": {}}', after=1)),
        (STATE, Odd(b'{"message": "no such container"}', 404, after=1)),
        (COMMIT, Odd(b"{}")),
        (COMMIT, Odd(b"[]", asks=True)),
        (COMMIT, Odd()),
        (REMOVE, Odd(b'{"message": "it is stuck"}', 500, asks=True)),
    ],
)
def test_odd_answers_are_told_in_one_line(prepared: Callable[[str], None], request_: str, odd: Odd) -> None:
    with OddEngine({request_: odd}) as between:
        with pytest.raises(EngineError) as caught:
            prepared(between.url)
        assert any(re.fullmatch(request_, one) for one in between.seen)
    said = str(caught.value)
    assert len(said) < 600
    assert "\n" not in said
    assert "\x1b" not in said
    assert left() == []


def test_an_engine_that_never_answers(prepared: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipmirror_lib.engine.PATIENCE", 2)
    with OddEngine({IMAGES: Odd(silent=True)}) as between, pytest.raises(EngineError, match=r"images: .*timed out"):
        prepared(between.url)
    prepared("")


def test_killed_at_random_moments_of_preparing(site: Site, engine: Engine, base: str) -> None:
    chosen = random.Random(SEED)
    site.platform.update(image=base, name=MARK, pre_command=f": {MARK} {time.monotonic()}; sleep 0.5")
    begun = time.monotonic()
    assert site.call("prepare").code == 0
    lasts = time.monotonic() - begun
    for number in range(KILLS):
        site.platform["pre_command"] += " "  # another recipe, and another image
        process = site.minion.start("pipmirror.prepare")
        seconds = chosen.uniform(lasts / 4, lasts)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        answer = site.call("prepare")
        assert answer.code == 0, f"after {seconds:.3f} s (PIPMIRROR_SEED={SEED}): {answer}"
        assert left() == []
        assert nameless() <= site.nameless
        made = engine.find({f"{LABEL}.platform": MARK})
        assert [len(info.tags) for info in made] == [1] * (number + 2), "one of each recipe, and each is used"
