"""The builder with a real engine and real images: debian:bullseye, bookworm and trixie must be there.

An engine that is absent fails these tests; nothing is skipped. They remove the images and containers that
they make, and no others: every command that they give carries a mark of its own.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import builder, images, proof
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import LABEL, Engine, Mount, RunSpec
from pipmirror_lib.errors import BuilderError, BuildError, EngineError, ImageError, VerifyError
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Container, Platform

from tests.support import dists
from tests.support.bench import Bench

pytestmark = pytest.mark.integration

MARK = f"pipmirror-test-{os.getpid()}"
LIMITS = Container(memory=1 << 30, pids=256, cpus=2.0, timeout=300)
BASE = "debian:bookworm"


def ignore(text: str) -> None:
    pass


def platform(suite: str, command: str, **options: Any) -> Platform:
    # The mark makes the recipe ours alone, so that we never remove an image that somebody else relies on.
    command = f"{command}\n: {MARK}"
    return Platform(name=f"{MARK}-{suite}", image=f"debian:{suite}", sets=(), pre_command=command, **options)


def remove_images(engine: Engine, name: str) -> None:
    for info in engine.find({f"{LABEL}.platform": name}):
        engine.remove_image(info.id)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    found = Engine.connect()
    yield found
    found.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builder")


@pytest.fixture(scope="module")
def bookworm() -> Platform:
    return platform("bookworm", "apt-get update && apt-get -y install python3-pip")


@pytest.fixture(scope="module")
def image(engine: Engine, bookworm: Platform, place: Path) -> Iterator[BuilderImage]:
    """Debian's python3-pip brings a compiler and Python's headers along."""
    yield builder.prepare(engine, bookworm, LIMITS, workdir=place, rebuild_after=0, progress=ignore)
    remove_images(engine, bookworm.name)


@pytest.fixture(scope="module")
def profile(engine: Engine, bookworm: Platform, image: BuilderImage, place: Path) -> TargetProfile:
    return builder.profile(Containers(engine, image, bookworm), bookworm, LIMITS, workdir=place)


@pytest.fixture(autouse=True)
def no_container_is_left(engine: Engine) -> Iterator[None]:
    """Of this process: others may be at work beside it."""
    yield
    assert engine.remove_containers({MARK: "1"}) == []
    names = subprocess.check_output(["docker", "ps", "-a", "--format", "{{.Names}}"], text=True)
    assert MARK not in names


def spec(*command: str, **options: Any) -> RunSpec:
    return RunSpec(
        **{
            "image": BASE,
            "command": command,
            "limits": LIMITS,
            "name": MARK,
            "labels": {MARK: "1"},
            **options,
        }
    )


# --- the engine -----------------------------------------------------------------------------------


def test_images(engine: Engine) -> None:
    found = engine.image(BASE)
    assert found is not None
    assert found.id.startswith("sha256:")
    assert found.architecture
    assert found.created.year > 2000
    assert engine.image("no-such-image:ever") is None
    assert engine.remove_image("no-such-image:ever") is False


def test_a_plain_run(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "id -u; printf 'err\\n' >&2; printf '\\033[31mred\\033[0m\\r\\n'; exit 7"
    result = engine.run(spec("/bin/sh", "-c", script, hardened=False, log_path=log))
    assert (result.exit_code, result.timed_out, result.oom_killed) == (7, False, False)
    assert sorted(result.log.splitlines()) == ["0", "err", "red"]
    assert log.read_text() == result.log


def test_an_entry_point_does_not_interfere(engine: Engine) -> None:
    """Nor does the command that a committed container ran come back."""
    with engine.container(spec("/bin/sh", "-c", "exit 9", hardened=False)) as container:
        assert container.finish().exit_code == 9
        made = container.commit("pipmirror-test", MARK, {MARK: "1"})
    try:
        plain = ["docker", "run", "--rm", "--network=none", made, "/bin/sh", "-c", "echo by hand"]
        assert subprocess.check_output(plain, text=True) == "by hand\n"
        assert [info.id for info in engine.find({MARK: "1"})] == [made]
        result = engine.run(spec("/bin/echo", "ours", image=made))
        assert result.log == "ours\n"
    finally:
        engine.remove_image(made)


def test_a_run_ends_at_its_time_limit(engine: Engine) -> None:
    start = time.monotonic()
    limits = dataclasses.replace(LIMITS, timeout=2)
    result = engine.run(spec("/bin/sh", "-c", "echo begin; trap '' TERM; sleep 60", limits=limits))
    assert result.timed_out
    assert result.log == "begin\n"
    assert time.monotonic() - start < 20


def test_a_run_ends_at_its_memory_limit(engine: Engine) -> None:
    limits = dataclasses.replace(LIMITS, memory=64 << 20)
    result = engine.run(spec("/usr/bin/perl", "-e", "$x = 'x' x (1 << 29)", limits=limits))
    assert result.oom_killed
    assert result.exit_code


def test_a_run_has_a_process_limit(engine: Engine) -> None:
    limits = dataclasses.replace(LIMITS, pids=8)
    result = engine.run(spec("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait", limits=limits))
    assert result.exit_code
    assert "fork" in result.log


def test_a_log_is_bounded(engine: Engine, tmp_path: Path) -> None:
    script = "head -c 12000000 /dev/zero | tr '\\0' x; echo; echo last words"
    result = engine.run(spec("/bin/sh", "-c", script, log_path=tmp_path / "log"))
    assert result.log.endswith("\nlast words\n")
    assert (tmp_path / "log").stat().st_size < 6_000_000


def test_more_processors_than_there_are(engine: Engine) -> None:
    assert engine.run(spec("/bin/true", limits=dataclasses.replace(LIMITS, cpus=4096.0))).exit_code == 0


def test_mounts(engine: Engine, tmp_path: Path) -> None:
    for name in ("given:colon", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "given:colon/file").write_text("content\n")
    (tmp_path / "out").chmod(0o777)
    mounts = (Mount(tmp_path / "given:colon", "/given"), Mount(tmp_path / "out", "/out", read_only=False))
    script = "cp /given/file /out/copy; touch /given/x"
    result = engine.run(spec("/bin/sh", "-c", script, mounts=mounts))
    assert result.exit_code
    assert "Read-only file system" in result.log
    assert (tmp_path / "out/copy").read_text() == "content\n"
    assert (tmp_path / "out/copy").stat().st_uid == 65534


def test_errors_are_one_line(engine: Engine) -> None:
    with pytest.raises(ImageError) as missing:
        engine.run(spec("/bin/true", image="no-such-image:ever"))
    with pytest.raises(EngineError) as unknown:
        engine.run(spec("/no/such/program"))
    for caught in (missing, unknown):
        assert "\n" not in str(caught.value)
    assert "no-such-image" in str(missing.value)
    assert "/no/such/program" in str(unknown.value)


def test_an_interrupted_run_is_cleaned_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipmirror_lib.engine import Running

    def interrupted(self: Running) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Running, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.run(spec("/bin/sleep", "600"))


def test_left_over_containers_are_found_by_label(engine: Engine) -> None:
    label = {f"{MARK}-left": "1"}
    command = ["docker", "create", "--label", LABEL + "=1", "--label", f"{MARK}-left=1", BASE, "true"]
    made = subprocess.check_output(command, text=True).strip()
    assert engine.remove_containers(label) == [made]
    assert engine.remove_containers(label) == []


def test_abandoned_containers_are_removed(engine: Engine) -> None:
    """As a run leaves them that was killed at once."""
    code = f"""if True:
        import os, sys
        from pipmirror_lib.engine import Engine, RunSpec
        run = RunSpec({BASE!r}, ("/bin/sleep", "600"), name={MARK!r}, labels={{"{MARK}-abandoned": "1"}})
        with Engine.connect().container(run) as container:
            os._exit(0)
        """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    removed = engine.remove_abandoned()
    assert len(removed) >= 1
    assert engine.remove_containers({f"{MARK}-abandoned": "1"}) == []


# --- base images ----------------------------------------------------------------------------------


def test_no_registry_in_reach_is_told_apart(engine: Engine, tmp_path: Path) -> None:
    """A port where nobody listens stands in for a registry that is out of reach."""
    missing = Platform(name="x", image="localhost:1/nothing:1", sets=())
    with pytest.raises(ImageError, match=r"localhost:1/nothing:1 is not on this machine, and no registry is in reach"):
        images.ensure(engine, missing, tmp_path, ignore)
    with pytest.raises(ImageError) as caught:
        images.ensure(engine, dataclasses.replace(missing, image_source="registry"), tmp_path, ignore)
    assert images.out_of_reach(str(caught.value))


def test_an_image_made_with_debootstrap(engine: Engine, tmp_path: Path) -> None:
    """Under a name that nobody else uses here; nothing of the making stays behind."""
    made_here = Platform(name=MARK, image="debian:12-slim", sets=(), image_source="debootstrap")
    if engine.image(made_here.image):
        pytest.fail(f"{made_here.image} is there already; this test would replace it")
    base = images.ensure(engine, made_here, tmp_path, ignore)
    try:
        info = engine.image(made_here.image)
        assert info is not None
        assert (info.id, base.source) == (base.id, "debootstrap")
        assert info.labels[f"{LABEL}.suite"] == "bookworm"
        assert images.ensure(engine, made_here, tmp_path, ignore) == base
        script = "stat -c %a / /tmp; cat /usr/sbin/policy-rc.d; ls /dev/null; grep CODENAME= /etc/os-release"
        lines = engine.run(spec("/bin/sh", "-c", script, image=base.id)).log.splitlines()
        assert lines == ["755", "1777", "#!/bin/sh", "exit 101", "/dev/null", "VERSION_CODENAME=bookworm"]
        assert [path.name for path in tmp_path.iterdir()] == ["debootstrap-bookworm.log"]
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
    finally:
        engine.remove_image(base.id)


# --- builder images and profiles ------------------------------------------------------------------


def test_prepare_is_done_once(engine: Engine, bookworm: Platform, image: BuilderImage, place: Path) -> None:
    start = time.monotonic()
    again = builder.prepare(engine, bookworm, LIMITS, workdir=place, rebuild_after=86400, progress=ignore)
    assert time.monotonic() - start < 1
    assert again == dataclasses.replace(image, reused=True)
    assert "Setting up python3-pip" in (place / "prepare-builder.log").read_text()


def test_prepare_replaces_what_is_too_old(engine: Engine, tmp_path: Path) -> None:
    small = platform("bookworm-small", "echo hello > /greeting; id -u >> /greeting")
    small = dataclasses.replace(small, image=BASE)
    try:
        first = builder.prepare(engine, small, LIMITS, workdir=tmp_path, rebuild_after=1, progress=ignore)
        assert engine.run(spec("/bin/cat", "/greeting", image=first.id)).log == "hello\n0\n"
        time.sleep(2.1)
        second = builder.prepare(engine, small, LIMITS, workdir=tmp_path, rebuild_after=1, progress=ignore)
        assert not second.reused
        assert engine.image(first.id) is None
    finally:
        remove_images(engine, small.name)


def test_prepare_uses_bash_where_there_is_one(engine: Engine, tmp_path: Path) -> None:
    bash = dataclasses.replace(platform("bash", "[[ -n $BASH_VERSION ]]"), image=BASE)
    try:
        builder.prepare(engine, bash, LIMITS, workdir=tmp_path, rebuild_after=0, progress=ignore)
    finally:
        remove_images(engine, bash.name)


def test_a_failing_command(engine: Engine, tmp_path: Path) -> None:
    failing = dataclasses.replace(platform("failing", "echo hello; echo E: no luck >&2; exit 3"), image=BASE)
    with pytest.raises(BuilderError, match=r"failed with exit code 3: E: no luck; its log is .*prepare-builder\.log"):
        builder.prepare(engine, failing, LIMITS, workdir=tmp_path, rebuild_after=0, progress=ignore)
    assert engine.find({f"{LABEL}.platform": failing.name}) == []


EXPECTED = {
    "bullseye": ("3.9", "20.3.4", "/usr/bin/python3.9"),
    "bookworm": ("3.11", "23.0.1", "/usr/bin/python3.11"),
    "trixie": ("3.13", "25.1.1", "/usr/bin/python3.13"),
}


@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_profile_of_other_suites(engine: Engine, suite: str, tmp_path: Path) -> None:
    """With python3-pip only; Debian's python3-venv is not needed."""
    target = platform(suite, "apt-get update && apt-get -y install --no-install-recommends python3-pip")
    try:
        made = builder.prepare(engine, target, LIMITS, workdir=tmp_path, rebuild_after=0, progress=ignore)
        check_profile(suite, builder.profile(Containers(engine, made, target), target, LIMITS, workdir=tmp_path), made)
        assert "no virtual environment" not in (tmp_path / "profile.log").read_text()
    finally:
        remove_images(engine, target.name)


def test_profile(profile: TargetProfile, image: BuilderImage, place: Path) -> None:
    check_profile("bookworm", profile, image)
    assert "no virtual environment" not in (place / "profile.log").read_text()


def check_profile(suite: str, found: TargetProfile, image: BuilderImage) -> None:
    version, pip, executable = EXPECTED[suite]
    assert found.markers["python_version"] == version
    assert found.markers["sys_platform"] == "linux"
    assert len(found.markers) == 11
    assert found.tags[0].startswith(f"cp{version.replace('.', '')}-")
    assert "py3-none-any" in found.tags
    assert found.pip_version.split("+")[0] == pip
    assert found.base_executable == executable
    assert found.paths["purelib"] == f"lib/python{version}/site-packages"
    assert (found.image, found.image_source) == (image.id, "local")


def test_no_pip_says_so(engine: Engine, image: BuilderImage, bookworm: Platform, tmp_path: Path) -> None:
    remove = spec("/bin/sh", "-c", "rm -rf /usr/lib/python3/dist-packages/pip*", image=image.id, hardened=False)
    with engine.container(remove) as container:
        assert container.finish().exit_code == 0
        made = container.commit("pipmirror-test", f"{MARK}-nopip", {MARK: "1"})
    broken = dataclasses.replace(image, id=made)
    try:
        with pytest.raises(BuilderError, match="no pip: add it through pre_command"):
            builder.profile(Containers(engine, broken, bookworm), bookworm, LIMITS, workdir=tmp_path)
    finally:
        engine.remove_image(made)


def test_no_interpreter_says_so(engine: Engine, image: BuilderImage, bookworm: Platform, tmp_path: Path) -> None:
    other = dataclasses.replace(bookworm, python="python3.99")
    with pytest.raises(BuilderError, match=r"the image has no python3\.99; install it in pre_command"):
        builder.profile(Containers(engine, image, other), other, LIMITS, workdir=tmp_path)


# --- builds ---------------------------------------------------------------------------------------


@pytest.fixture
def bench(engine: Engine, image: BuilderImage, bookworm: Platform, profile: TargetProfile, tmp_path: Path) -> Bench:
    return Bench(Containers(engine, image, bookworm), profile, tmp_path, LIMITS)


def members(wheel: Path | list[str]) -> list[str]:
    assert isinstance(wheel, Path), wheel
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_network_only_where_it_is_granted(bench: Bench, tmp_path: Path) -> None:
    code = "print('routes:', open('/proc/net/route').read().count(chr(10)) - 1)"
    sdist = dists.make_sdist(tmp_path, intree_backend=True, on_build=code)
    assert isinstance(bench.build(sdist), Path)
    assert "routes: 0" in bench.log or "routes: -1" in bench.log
    assert isinstance(bench.build(sdist, network=True), Path)
    assert "routes: 0" not in bench.log


def test_a_c_extension(bench: Bench, tmp_path: Path) -> None:
    wheel = bench.build(dists.make_sdist(tmp_path, "fast", intree_backend=True, c_extension=True))
    assert isinstance(wheel, Path)
    assert wheel.name == "fast-1.0-cp311-cp311-linux_x86_64.whl"


def test_build_requirements_come_in_a_second_round(bench: Bench, tmp_path: Path) -> None:
    sdist = dists.make_sdist(
        tmp_path,
        intree_backend=True,
        get_requires=["helper>=2", "never; python_version < '3'"],
        on_build="import helper; print('helper', helper.__version__)",
    )
    assert bench.build(sdist) == ["helper>=2"]
    old = dists.make_wheel(tmp_path, "helper", "1.0")
    assert bench.build(sdist, wheels=(old,)) == ["helper>=2"]
    new = dists.make_wheel(tmp_path, "helper", "2.5")
    assert isinstance(bench.build(sdist, wheels=(new,)), Path)
    assert "helper 2.5" in bench.log


def test_a_failing_build(bench: Bench, tmp_path: Path) -> None:
    sdist = dists.make_sdist(tmp_path, intree_backend=True, on_build="import pkg_resources_of_old")
    with pytest.raises(BuildError) as caught:
        bench.build(sdist)
    message = str(caught.value)
    assert "demo 1.0: the build failed with exit code 1: ModuleNotFoundError: No module named" in message
    assert str(bench.root / "build.log") in message
    assert not (tmp_path / "work/scratch").exists()


def test_a_build_within_limits(bench: Bench, tmp_path: Path) -> None:
    sleeper = dists.make_sdist(tmp_path, intree_backend=True, on_build="import time; time.sleep(60)")
    with pytest.raises(BuildError, match=r"did not end within 2 seconds \(container:timeout\)"):
        bench.build(sleeper, dataclasses.replace(LIMITS, timeout=2))
    eater = dists.make_sdist(tmp_path, intree_backend=True, on_build="x = b'x' * (1 << 29)")
    with pytest.raises(BuildError, match=r"ran out of memory at 64 MiB \(container:memory\)"):
        bench.build(eater, dataclasses.replace(LIMITS, memory=64 << 20))


HOSTILE = {
    "a second wheel": "open('/pipmirror/out/other-1.0-py3-none-any.whl', 'w')",
    "a link": "import os; os.symlink('/etc/shadow', '/pipmirror/out/other-1.0-py3-none-any.whl')",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_one_wheel_is_refused(bench: Bench, tmp_path: Path, kind: str) -> None:
    with pytest.raises(BuildError, match="exactly one wheel"):
        bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=HOSTILE[kind]))


def test_hostile_requires_are_refused(bench: Bench, tmp_path: Path) -> None:
    path = "/pipmirror/out/requires.json"
    code = f"import os; os.unlink('{path}'); os.symlink('/etc/hostname', '{path}')"
    with pytest.raises(BuildError, match="asks for invalid requirements"):
        bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))


def test_a_deep_tree_is_removed(bench: Bench, tmp_path: Path) -> None:
    code = "import os\nos.chdir(os.environ['TMPDIR'])\n"
    code += "for _ in range(2500):\n    os.mkdir('d')\n    os.chdir('d')\n"
    code += "os.chdir('/pipmirror/scratch/tmp')\nos._exit(3)"
    with pytest.raises(BuildError, match="nested directories more than 128 deep"):
        bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))
    assert not (tmp_path / "work/scratch").exists()


@pytest.mark.live
def test_an_old_project_from_the_index(bench: Bench, tmp_path: Path) -> None:
    """docopt 0.6.2 has no wheel there: a legacy setup.py, built by setuptools and wheel from the index."""
    download(tmp_path, "--no-binary", ":all:", "docopt==0.6.2")
    download(tmp_path, "--only-binary", ":all:", "--python-version", "3.11", "setuptools<72", "wheel<0.45")
    wheels = tuple(tmp_path.glob("*.whl"))
    made = bench.build(tmp_path / "docopt-0.6.2.tar.gz", wheels=wheels)
    assert "docopt.py" in members(made)
    extension = dists.make_sdist(tmp_path, "swift", c_extension=True)
    made = bench.build(extension, wheels=wheels)
    assert isinstance(made, Path)
    assert made.name == "swift-1.0-cp311-cp311-linux_x86_64.whl"


def download(directory: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(directory), *arguments]
    subprocess.run(command, env=environment, check=True)


# --- offline installs -----------------------------------------------------------------------------


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    directory = tmp_path / "wheels"
    dists.make_wheel(
        directory,
        "demo",
        requires=["dep>=1"],
        files={"demo.py": "def main():\n    print('demo 1.0')\n"},
        entry_points={"demo": "demo:main"},
    )
    for version in ("1.0", "2.0", "3.0rc1"):
        dists.make_wheel(directory, "dep", version)
    dists.make_wheel(directory, "crashes", files={"crashes.py": "raise RuntimeError('boom')\n"})
    dists.make_wheel(directory, "broken", requires=["missing>=7"])
    return directory


@pytest.fixture
def verify(engine: Engine, image: BuilderImage, bookworm: Platform, wheels: Path, tmp_path: Path) -> Any:
    def run(*requirements: str, **options: Any) -> proof.VerifyOutcome:
        return proof.verify(
            Containers(engine, image, bookworm),
            bookworm,
            wheels=wheels,
            requirements=requirements,
            limits=LIMITS,
            workdir=tmp_path / "work",
            **options,
        )

    return run


def test_verify_installs_and_runs(verify: Any, tmp_path: Path) -> None:
    outcome = verify("demo", "crashes")
    assert outcome.installed == (("crashes", "1.0"), ("demo", "1.0"), ("dep", "2.0"))
    assert outcome.pip.split("+")[0] == "23.0.1"
    assert outcome.ran["demo"] == proof.Ran("demo --version", True, "demo 1.0")
    assert outcome.ran["crashes"] == proof.Ran("import crashes", False, "RuntimeError: boom")
    assert 0 < outcome.seconds < 60
    assert "Successfully installed" in outcome.log.read_text()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["verify.log"]


def test_verify_honours_constraints_and_prereleases(verify: Any) -> None:
    assert ("dep", "1.0") in verify("demo", constraints=["dep<2"]).installed
    assert ("dep", "3.0rc1") in verify("demo", prereleases=True).installed


def test_verify_with_nothing_to_install(verify: Any) -> None:
    assert verify("demo; python_version < '3'").installed == ()


def test_verify_names_what_is_missing(verify: Any) -> None:
    with pytest.raises(VerifyError) as caught:
        verify("demo", "broken")
    message = str(caught.value)
    assert "demo, broken does not install without network: ERROR: " in message
    assert "missing>=7 (from broken)" in message
    assert "verify.log" in message


def test_verify_is_never_in_roots_group(verify: Any, wheels: Path) -> None:
    """In an image it may read what others must not, as on a machine."""
    wheels.chmod(0o755)
    code = "import os\ndef main():\n    print('groups', sorted({os.getgid(), *os.getgroups()}))\n"
    dists.make_wheel(wheels, "curious", files={"curious.py": code}, entry_points={"curious": "curious:main"})
    assert verify("curious").ran["curious"].output == "groups [65534]"
    wheels.chmod(0o750)
    with pytest.raises(BuilderError, match="can be read by root and its group alone"):
        verify("curious")


def test_verify_reads_what_only_a_group_may(verify: Any, wheels: Path) -> None:
    for path in (wheels, *wheels.iterdir()):
        os.chown(path, 0, 4711)
        path.chmod(0o750 if path.is_dir() else 0o640)
    assert verify("demo").ran["demo"].ok
