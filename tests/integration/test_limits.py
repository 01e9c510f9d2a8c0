"""What strangers' code may take of this machine: each limit met for real, and told by the name of its setting."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipmirror_lib import builder, disk, proof
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import LABEL, Engine
from pipmirror_lib.errors import BuilderError, BuildError, VerifyError
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Container, Platform

from tests.support.bench import Bench
from tests.support.dists import make_sdist, make_wheel
from tests.support.site import IMAGE, PRE_COMMAND

pytestmark = pytest.mark.integration

LIMITS = Container(memory=512 << 20, disk=256 << 20, pids=64, cpus=2.0, timeout=120)
PLATFORM = Platform(name="limits", image=IMAGE, sets=(), pre_command=PRE_COMMAND)


def ignore(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> BuilderImage:
    place = tmp_path_factory.mktemp("image")
    return builder.prepare(engine, PLATFORM, Container(), workdir=place, rebuild_after=0, progress=ignore)


@pytest.fixture(scope="module")
def profile(engine: Engine, image: BuilderImage, tmp_path_factory: pytest.TempPathFactory) -> TargetProfile:
    place = tmp_path_factory.mktemp("profile")
    return builder.profile(Containers(engine, image, PLATFORM), PLATFORM, Container(), workdir=place)


@pytest.fixture
def bench(engine: Engine, image: BuilderImage, profile: TargetProfile, tmp_path: Path) -> Iterator[Bench]:
    """After each build nothing is left of it: no container, and of its directories none but `out`."""
    yield Bench(Containers(engine, image, PLATFORM), profile, tmp_path, LIMITS)
    assert engine.remove_own() == []
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {"out"}


WAIT = "import time\ntime.sleep(100)\n"
BLOCK = "block = b'x' * (1 << 20)\n"
# In the build's own directories, and wherever else anybody may write.
FILLERS = {
    "one file": BLOCK + "with open('big', 'wb') as f:\n    for _ in range(255): f.write(block)\n    f.flush()\n"
    "    open('more', 'wb').write(block * 2)\n" + WAIT,
    "many files": BLOCK + "for n in range(400): open('f%d' % n, 'wb').write(block)\n" + WAIT,
    "beside the wheel": BLOCK + "for n in range(400): open('/pipmirror/out/f%d' % n, 'wb').write(block)\n" + WAIT,
    "files without a name": BLOCK
    + "import os\nheld = []\nfor n in range(400):\n"
    + "    held.append(open('f%d' % n, 'wb', 0)); os.unlink('f%d' % n); held[-1].write(block)\n"
    + WAIT,
    "mapped without a name": BLOCK
    + "import mmap, os\nheld = []\nfor n in range(400):\n"
    + "    with open('m%d' % n, 'w+b', 0) as f:\n"
    + "        f.write(block); os.unlink('m%d' % n); held.append(mmap.mmap(f.fileno(), 4096))\n"
    + WAIT,
    "quicker than we look": BLOCK + "import os\nfor n in range(400): open('f%d' % n, 'wb').write(block)\nos._exit(3)\n",
}


@pytest.mark.parametrize("how", FILLERS)
def test_a_full_disk(bench: Bench, tmp_path: Path, how: str) -> None:
    with pytest.raises(BuildError, match=r"^demo 1\.0: the build wrote more than 256 MiB \(container:disk\); its log"):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=FILLERS[how]))


def test_a_file_that_only_seems_large(bench: Bench, tmp_path: Path) -> None:
    """It takes no room, and beyond the limit it cannot even seem to."""
    sparse = "f = open('sparse', 'wb')\nf.truncate(200 << 20)\ng = open('other', 'wb')\ng.truncate(200 << 20)\n"
    assert isinstance(bench.build(make_sdist(tmp_path, intree_backend=True, on_build=sparse)), Path)
    huge = "open('sparse', 'wb').truncate(1 << 40)\n"
    with pytest.raises(BuildError, match=r"File too large; a file of it grew beyond container:disk"):
        bench.build(make_sdist(tmp_path, "huge", intree_backend=True, on_build=huge))


def test_too_many_files(bench: Bench, tmp_path: Path) -> None:
    code = "import os\nos.mkdir('d')\nn = 0\nwhile True:\n    n += 1\n    open('d/%d' % n, 'w')\n"
    with pytest.raises(BuildError, match=r"made more than 16384 files \(container:disk\)"):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=code))


def test_a_deep_tree(bench: Bench, tmp_path: Path) -> None:
    code = "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')\n"
    with pytest.raises(BuildError, match=r"nested directories more than 128 deep \(container:disk\)"):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=code))


def test_shared_memory_counts_as_memory(bench: Bench, tmp_path: Path) -> None:
    """And is bounded by the engine besides."""
    code = BLOCK + "f = open('/dev/shm/f', 'wb')\nwhile True: f.write(block)\n"
    with pytest.raises(BuildError, match=r"No space left on device; it is out of disk space, or of shared memory"):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=code))


def test_a_file_system_that_is_nearly_full(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(disk, "_FREE", free.f_blocks * free.f_frsize)
    monkeypatch.setattr(disk, "_FREE_PART", 1)
    with pytest.raises(
        BuildError, match=r"was stopped, because the file system of /\S+ has only \d+ MiB and \d+ inodes"
    ):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=WAIT))


def test_a_hog_of_memory(bench: Bench, tmp_path: Path) -> None:
    said = r"ran out of memory at 512 MiB \(container:memory\)"
    with pytest.raises(BuildError, match=said):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build="x = b'x' * (1 << 30)"))
    # A child alone: make goes on without its compiler, and the wheel would lack what that should have made.
    child = "import subprocess, sys\nsubprocess.call([sys.executable, '-c', 'x = b\"x\" * (1 << 30)'])\n"
    with pytest.raises(BuildError, match=said):
        bench.build(make_sdist(tmp_path, "child", intree_backend=True, on_build=child))


BOMBS = {
    "that tells": "import os\nwhile True:\n    if not os.fork(): time.sleep(100)\n",
    "that does not": "import os\nwhile True:\n    try:\n        if not os.fork(): time.sleep(100)\n"
    "    except OSError:\n        time.sleep(0.1)\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_fork_bomb(bench: Bench, tmp_path: Path, bomb: str) -> None:
    limits = dataclasses.replace(LIMITS, timeout=5)
    with pytest.raises(
        BuildError, match=r"was refused more than 64 processes \(container:pids\)|may need more than container:pids"
    ):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build="import time\n" + BOMBS[bomb]), limits)


def test_a_build_that_hangs(bench: Bench, tmp_path: Path) -> None:
    """Its processes ignore what can be ignored, and are gone nevertheless."""
    code = "import os, signal\nfor n in range(1, 32):\n    if n not in (9, 17, 19): signal.signal(n, signal.SIG_IGN)\n"
    code += "if not os.fork(): os.setsid()\n" + WAIT
    began = time.monotonic()
    with pytest.raises(BuildError, match=r"did not end within 3 seconds \(container:timeout\)"):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=code), dataclasses.replace(LIMITS, timeout=3))
    assert time.monotonic() - began < 60


def test_a_flood_of_output(bench: Bench, tmp_path: Path) -> None:
    code = "import os\nfor _ in range(40): os.write(1, b'x' * (1 << 20))\n"
    code += "print('\\nlast words', flush=True)\nos._exit(1)\n"
    with pytest.raises(BuildError, match="exit code 1: last words"):
        bench.build(make_sdist(tmp_path, intree_backend=True, on_build=code))
    assert (tmp_path / "build.log").stat().st_size < 6_000_000


def test_a_profile_within_limits(engine: Engine, tmp_path: Path) -> None:
    """An image's own interpreter is strangers' code as well; here it is a script that fills the disk."""
    filler = "#!/bin/sh\ndd if=/dev/zero of=/pipmirror/scratch/tmp/x bs=1M count=255 2>/dev/null\n"
    filler += "dd if=/dev/zero of=/pipmirror/out/x bs=1M count=255 2>/dev/null\nsleep 100\n"
    make = f"printf '%s' '{filler}' > /usr/bin/filler; chmod 755 /usr/bin/filler"
    hostile = dataclasses.replace(PLATFORM, name="limits-filler", pre_command=make, python="filler")
    made = builder.prepare(engine, hostile, Container(), workdir=tmp_path, rebuild_after=0, progress=ignore)
    try:
        with pytest.raises(BuilderError, match=r"asking it wrote more than 256 MiB \(container:disk\)"):
            builder.profile(Containers(engine, made, hostile), hostile, LIMITS, workdir=tmp_path)
    finally:
        engine.remove_image(made.id)
    assert not (tmp_path / "profile").exists()


def test_an_install_within_limits(engine: Engine, image: BuilderImage, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    make_wheel(wheels, files={f"data{number}.bin": bytes(20 << 20) for number in range(3)})
    limits = dataclasses.replace(LIMITS, disk=50 << 20)
    with pytest.raises(
        VerifyError, match=r"demo does not install .*: the install wrote more than 50 MiB \(container:disk"
    ):
        proof.verify(
            Containers(engine, image, PLATFORM),
            PLATFORM,
            wheels=wheels,
            requirements=["demo"],
            limits=limits,
            workdir=tmp_path / "work",
        )
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["verify.log"]


def test_a_command_that_hangs_leaves_no_image(engine: Engine, tmp_path: Path) -> None:
    """Nor one that fails when it has done half of its work, nor an image without a name."""
    for command in ("echo half > /half; sleep 100", "echo half > /half; exit 3"):
        half = dataclasses.replace(PLATFORM, name=f"limits-{os.getpid()}", pre_command=command)
        limits = Container(timeout=2)
        with pytest.raises(BuilderError, match=r"did not end within 2 seconds \(container:timeout\)|exit code 3"):
            builder.prepare(engine, half, limits, workdir=tmp_path, rebuild_after=0, progress=ignore)
        assert engine.find({f"{LABEL}.platform": half.name}) == []
        assert engine.remove_own() == []
