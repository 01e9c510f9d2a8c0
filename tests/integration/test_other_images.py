"""Images that are not a plain Debian: what they set up for their own programs must not get in our way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipmirror_lib import builder, proof
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import LABEL, Engine, RunSpec
from pipmirror_lib.errors import BuilderError
from pipmirror_lib.settings import Container, Platform

from tests.integration.conftest import Ensure
from tests.support import dists
from tests.support.bench import Bench
from tests.support.site import IMAGE, PRE_COMMAND

pytestmark = pytest.mark.integration

MARK = f"pipmirror-test-images-{os.getpid()}"
LIMITS = Container(memory=1 << 30, pids=256, timeout=300)
Make = Callable[..., str]


def prepare(engine: Engine, platform: Platform, place: Path) -> BuilderImage:
    return builder.prepare(engine, platform, LIMITS, workdir=place, rebuild_after=0, progress=lambda text: None)


@pytest.fixture(scope="module")
def with_pip(engine: Engine, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> str:
    ensure(IMAGE)
    usual = Platform(name="bookworm", image=IMAGE, sets=(), pre_command=PRE_COMMAND)
    return prepare(engine, usual, tmp_path_factory.mktemp("usual")).id


@pytest.fixture
def make(engine: Engine, with_pip: str) -> Iterator[Make]:
    """An image with pip in which a command has run, and with the Dockerfile's instructions."""
    made: list[str] = []

    def image(command: str, *changes: str, base: str = with_pip) -> str:
        name = f"{MARK}:{len(made)}"
        container = subprocess.check_output(
            ["docker", "create", "--network=none", base, "sh", "-c", command], text=True
        )
        try:
            subprocess.run(["docker", "start", "--attach", container.strip()], check=True)
            said = [word for change in changes for word in ("--change", change)]
            subprocess.run(["docker", "commit", *said, container.strip(), name], check=True, capture_output=True)
        finally:
            subprocess.run(["docker", "rm", "-v", container.strip()], check=True, capture_output=True)
        made.append(name)
        return name

    yield image
    for info in engine.find({f"{LABEL}.platform": MARK}):
        engine.remove_image(info.id)
    for name in reversed(made):
        engine.remove_image(name)


def everything(engine: Engine, platform: Platform, place: Path, **sdist: object) -> Bench:
    """Prepare, profile, build and prove."""
    quarters = Containers(engine, prepare(engine, platform, place), platform)
    bench = Bench(quarters, builder.profile(quarters, platform, LIMITS, workdir=place), place, LIMITS)
    code = "import os; print('uid', os.getuid(), 'in', os.environ['HOME'])"
    wheel = bench.build(dists.make_sdist(place, intree_backend=True, on_build=code, **sdist))  # type: ignore[arg-type]
    assert isinstance(wheel, Path)
    assert "uid 65534 in /pipmirror/scratch/home" in bench.log
    options = {"wheels": wheel.parent, "requirements": ["demo"], "limits": LIMITS, "workdir": place}
    assert proof.verify(quarters, platform, **options).installed == (("demo", "1.0"),)  # type: ignore[arg-type]
    return bench


def test_an_image_that_is_set_up_for_a_program_of_its_own(engine: Engine, make: Make, tmp_path: Path) -> None:
    """An entry point, a user, a directory that is closed, and variables that would lead Python and pip astray."""
    image = make(
        "mkdir -m 700 /closed",
        'ENTRYPOINT ["/bin/false"]',
        'CMD ["serve"]',
        "USER daemon",
        "WORKDIR /closed",
        "ENV PYTHONHOME=/nowhere PYTHONPATH=/nowhere PYTHONSTARTUP=/nowhere/x.py",
        "ENV PIP_INDEX_URL=http://index.invalid/ PIP_REQUIRE_HASHES=1 PIP_TARGET=/closed PIP_CONFIG_FILE=/nowhere",
        "ENV HOME=/closed TMPDIR=/closed LANG=xx_XX",
        "HEALTHCHECK --interval=1s CMD exit 1",
        "VOLUME /data",
    )
    platform = Platform(name=MARK, image=image, sets=(), pre_command="id -u > /made")
    bench = everything(engine, platform, tmp_path)
    assert isinstance(bench.quarters, Containers)
    run = RunSpec(image=bench.quarters.id, command=("/bin/cat", "/made"), limits=LIMITS, name=MARK)
    assert engine.run(run).log == "0\n", "pre_command runs as root all the same"
    assert bench.profile.base_executable == "/usr/bin/python3.11"


def test_an_image_that_needs_no_command(engine: Engine, make: Make, tmp_path: Path) -> None:
    """It is its own builder image: nothing is made of it."""
    image = make("true")
    platform = Platform(name=MARK, image=image, sets=(), python="python3.11")
    bench = everything(engine, platform, tmp_path)
    there = engine.image(image)
    assert there is not None
    assert bench.quarters.id == there.id


def test_a_virtual_environment_for_the_interpreter(engine: Engine, make: Make, tmp_path: Path) -> None:
    image = make("python3 -m venv --without-pip --system-site-packages /opt/my\\ env", base=make("true"))
    platform = Platform(name=MARK, image=image, sets=(), python="/opt/my env/bin/python")
    bench = everything(engine, platform, tmp_path)
    assert bench.profile.base_executable == "/usr/bin/python3.11"


def test_an_image_without_bash(engine: Engine, make: Make, tmp_path: Path) -> None:
    image = make("rm -f /bin/bash /usr/bin/bash")
    platform = Platform(name=MARK, image=image, sets=(), pre_command="test -z $BASH_VERSION && echo made > /made")
    everything(engine, platform, tmp_path)


def test_an_image_without_pip_or_python(engine: Engine, make: Make, tmp_path: Path) -> None:
    """It is told at once, and what to do."""
    bare = Platform(name=MARK, image=IMAGE, sets=(), pre_command=f": {MARK}")
    quarters = Containers(engine, prepare(engine, bare, tmp_path), bare)
    with pytest.raises(BuilderError, match="the image has no python3; install it in pre_command, or set python"):
        builder.profile(quarters, bare, LIMITS, workdir=tmp_path)
    image = make("rm -rf /usr/lib/python3/dist-packages/pip*")
    without = Platform(name=MARK, image=image, sets=())
    quarters = Containers(engine, prepare(engine, without, tmp_path), without)
    with pytest.raises(BuilderError, match="no pip: add it through pre_command"):
        builder.profile(quarters, without, LIMITS, workdir=tmp_path)
