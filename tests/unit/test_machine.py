"""Platforms without an image: strangers' code on this very machine, for real, by this machine's own Python.

What only root can do is told from inside a build that root has started; without root, the same holds as far as it can.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pipmirror_lib import builder, children, interpreter, isolation, machine, proof
from pipmirror_lib.errors import BuilderError, BuildError, VerifyError
from pipmirror_lib.isolation import Isolation
from pipmirror_lib.machine import ThisMachine
from pipmirror_lib.settings import Container, Platform
from pipmirror_lib.trees import walk

from tests.support import dists
from tests.support.bench import Bench
from tests.support.leaks import until

HERE = Platform(name="here", image="", sets=())
LIMITS = Container(memory=1 << 30, disk=256 << 20, pids=256, timeout=120)
ROOT = os.geteuid() == 0


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Stands for the mirror's private directory, and holds what nobody else may read."""
    directory = tmp_path / "private"
    directory.mkdir(mode=0o700)
    (directory / "secret").write_text("hunter2")
    return directory


@pytest.fixture
def here(secret: Path) -> Iterator[ThisMachine]:
    made = ThisMachine.prepare(HERE, secret)
    yield made
    assert not os.path.lexists(made.shelter), "nothing stays outside"


@pytest.fixture
def bench(here: ThisMachine, secret: Path) -> Bench:
    return Bench(here, builder.profile(here, HERE, LIMITS, workdir=secret), secret, LIMITS)


@pytest.fixture
def plain(here: ThisMachine, bench: Bench) -> Bench:
    """As where there are no namespaces: macOS, or a minion in a container."""
    bench.quarters = dataclasses.replace(here, isolation=dataclasses.replace(here.isolation, namespaces=False))
    return bench


@pytest.fixture
def seconds() -> str:
    """So long as nothing else on this machine sleeps."""
    return f"612.{secrets.randbelow(10**12):012}"


def sleeps(seconds: str) -> bool:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes())
    assert lines
    return f"sleep\0{seconds}\0".encode() in lines


def contents(wheel: Path | list[str]) -> list[str]:
    assert isinstance(wheel, Path), wheel
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


# -- the interpreter -----------------------------------------------------------------------------------------


def test_the_profile_is_that_of_this_machine(bench: Bench, here: ThisMachine) -> None:
    ask = [here.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    assert bench.profile.markers["python_version"] == subprocess.check_output(ask, text=True).strip()
    assert bench.profile.markers["sys_platform"] == sys.platform
    assert (bench.profile.image, bench.profile.image_source) == (here.id, "this machine")


def test_a_virtual_environment_of_salts_own_is_not_this_machines_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run in one."""
    assert sys.prefix != sys.base_prefix
    path = os.pathsep.join([os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"])
    monkeypatch.setenv("PATH", path)
    assert os.path.dirname(interpreter.find("python3")) != os.path.dirname(sys.executable)
    assert interpreter.find(sys.executable) == sys.executable, "unless it is named"


@pytest.mark.skipif(not ROOT, reason="only root runs builds as somebody else")
def test_what_an_unprivileged_user_cannot_run_is_passed_over(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secret / "python3").write_text("#!/bin/sh\n")
    (secret / "python3").chmod(0o755)
    there = interpreter.find("python3")
    monkeypatch.setenv("PATH", f"{secret}{os.pathsep}{os.environ['PATH']}")
    assert interpreter.find("python3") == there
    with pytest.raises(BuilderError, match="where an unprivileged user cannot run it; set python to another one"):
        ThisMachine.prepare(dataclasses.replace(HERE, python=str(secret / "python3")), secret)


def test_no_such_interpreter(secret: Path) -> None:
    with pytest.raises(BuilderError, match=r"here: this machine has no python3\.99.*; install it, or set python"):
        ThisMachine.prepare(dataclasses.replace(HERE, python="python3.99"), secret)


def test_another_interpreter_has_another_stamp(tmp_path: Path) -> None:
    program = tmp_path / "python9"
    assert interpreter.stamp(str(program)) == ""
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    first = interpreter.stamp(str(program))
    os.utime(program, (1, 1))
    assert "" != first != interpreter.stamp(str(program)) != ""


# -- builds --------------------------------------------------------------------------------------------------

PROBE = """
import os, resource, signal, socket, sys
assert os.getuid() == os.geteuid() == {user}, os.getuid()
if {root}:
    assert os.getgroups() in ([], [os.getgid()]) and os.getgid() != 0, os.getgroups()
    for path in {private!r}, {private!r} + "/secret", "/etc/shadow":
        try:
            os.listdir(path) if os.path.isdir(path) else open(path).read()
        except OSError:
            continue
        raise SystemExit("could read " + path)
here = os.environ["PIPMIRROR_ROOT"]
if {root}:
    for path in (here + "/in/x", here + "/env/x", here + "/x", "/x", "/usr/x", "/etc/x"):
        try:
            open(path, "w")
        except OSError:
            continue
        raise SystemExit("could write to " + path)
    try:
        print(os.listdir(os.path.dirname(here)))
    except OSError:
        pass
    else:
        raise SystemExit("could see where others are built")
if {apart}:
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert len([name for name in os.listdir("/proc") if name.isdecimal()]) < 10, "sees other processes"
    assert os.listdir("/sys/class/net") and open("/proc/net/route").read().count("\\n") <= 1
    try:
        socket.create_connection(("127.0.0.1", {port}), 3)
    except OSError as error:
        print("no network:", error)
    else:
        raise SystemExit("has network")
if sys.platform == "linux" and os.uname().machine == "x86_64":
    try:
        socket.socket(40, socket.SOCK_STREAM)  # AF_VSOCK
    except OSError as error:
        assert error.errno == 97, error
    else:
        raise SystemExit("could speak with the host of this machine")
for name in ("HOME", "TMPDIR"):
    assert os.environ[name].startswith(here + "/scratch/"), name
assert not [name for name in os.environ if "SECRET" in name or name.startswith(("PIP_", "PYTHONPATH"))]
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 1 << 30
assert os.getpgid(0) != {group} and os.umask(0o22) == 0o22
script = os.path.join(os.environ["TMPDIR"], "runs")
with open(script, "w") as stream:
    stream.write("#!/bin/sh\\necho it runs\\n")
os.chmod(script, 0o755)
assert os.popen(script).read() == "it runs\\n", "TMPDIR must not be noexec"
"""


def probe(secret: Path, bench: Bench, port: int) -> str:
    assert isinstance(bench.quarters, ThisMachine)
    apart = bench.quarters.isolation
    user = os.geteuid() if apart.user is None else apart.user
    facts = {"user": user, "root": ROOT, "private": str(secret), "apart": apart.namespaces, "port": port}
    return PROBE.format(**facts, group=os.getpgid(0))


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens, for those who have network."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_build_is_kept_apart(
    bench: Bench, secret: Path, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "hunter2")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@index.invalid")
    sdist = dists.make_sdist(tmp_path, intree_backend=True, on_build=probe(secret, bench, port))
    wheel = bench.build(sdist)
    assert "demo.py" in contents(wheel)
    assert isinstance(wheel, Path)
    assert wheel.parent == secret / "work" / "out", "it was brought home"
    assert wheel.stat().st_uid == os.geteuid()


@pytest.mark.skipif(sys.platform != "linux" or not ROOT, reason="root on Linux has it all")
def test_this_machine_offers_everything(here: ThisMachine) -> None:
    """Or the test above would prove less than it seems to."""
    assert here.isolation.namespaces
    assert here.isolation.user
    assert str(here.isolation) == "as an unprivileged user, without network"


def test_a_build_without_namespaces(plain: Bench, secret: Path, port: int, tmp_path: Path) -> None:
    sdist = dists.make_sdist(tmp_path, intree_backend=True, on_build=probe(secret, plain, port))
    assert "demo.py" in contents(plain.build(sdist))


def test_a_build_by_an_ordinary_user() -> None:
    """Somebody's own salt-call: nobody to become, and still no network."""
    if not ROOT:
        pytest.skip("every other test here is this one then")
    user = 12345
    directory = tempfile.mkdtemp(dir="/var/tmp")
    os.chown(directory, user, user)
    code = f"""if True:
        import os, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from tests.unit import test_machine as t
        from pipmirror_lib import inside, sdists
        import installer.destinations, installer.sources
        sdists._toml('')
        # What the tests run with may be in a place that is closed to others.
        scripts = {{name: inside.source(name) for name in ("launch", "confine", "profile", "build")}}
        inside.source = scripts.get
        os.setgroups([]); os.setgid({user}); os.setuid({user})
        own = Path({directory!r})
        here = t.ThisMachine.prepare(t.HERE, own)
        bench = t.Bench(here, t.builder.profile(here, t.HERE, t.LIMITS, workdir=own), own, t.LIMITS)
        build = "import os; assert os.getuid() == {user}; open('/proc/net/route').read().count(chr(10)) <= 1 or 1 / 0"
        print(here.isolation, bench.build(t.dists.make_sdist(own, intree_backend=True, on_build=build)).name)
    """
    try:
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(directory)
    assert said.returncode == 0, said.stderr
    assert said.stdout == "as the user that runs Salt, without network demo-1.0-py3-none-any.whl\n"


def test_requirements_and_scripts_of_the_build_environment(bench: Bench, tmp_path: Path) -> None:
    files = {"helper.py": "__version__ = '2.5'\ndef main():\n    print('helper runs')\n"}
    helper = dists.make_wheel(tmp_path, "helper", "2.5", files=files, entry_points={"helper": "helper:main"})
    code = "import helper, subprocess, sys; print(sys.prefix); subprocess.check_call(['helper'])"
    sdist = dists.make_sdist(tmp_path, intree_backend=True, get_requires=["helper>=2"], on_build=code)
    assert bench.build(sdist) == ["helper>=2"]
    assert isinstance(bench.build(sdist, wheels=(helper,)), Path)
    assert "helper runs" in bench.log


def test_a_failing_build_says_why(bench: Bench, tmp_path: Path) -> None:
    code = "import sys; sys.exit('error: unable to execute gcc: No such file')"
    with pytest.raises(BuildError) as caught:
        bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))
    assert "the build failed with exit code 1: error: unable to execute gcc" in str(caught.value)
    assert "install a compiler and Python's headers on this machine" in str(caught.value)


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_build_ends_at_its_limits(bench: Bench, plain: Bench, tmp_path: Path, namespaces: bool, seconds: str) -> None:
    """With all that it has started."""
    used = bench if namespaces else plain
    code = f"import subprocess, time; subprocess.Popen(['sleep', '{seconds}']); time.sleep(60)"
    with pytest.raises(BuildError, match=r"did not end within 2 seconds \(container:timeout\)"):
        used.build(
            dists.make_sdist(tmp_path, intree_backend=True, on_build=code), dataclasses.replace(LIMITS, timeout=2)
        )
    assert not sleeps(seconds)
    eater = dists.make_sdist(tmp_path, intree_backend=True, on_build="x = b'x' * (2 << 30)")
    with pytest.raises(BuildError, match=r"MemoryError.*; it may need more than container:memory"):
        used.build(eater)
    code = "import os, time\nfor n in range(40):\n    open('f%d' % n, 'wb').write(os.urandom(8 << 20))\ntime.sleep(60)"
    with pytest.raises(BuildError, match=r"wrote more than 256 MiB \(container:disk\)"):
        used.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))


@pytest.mark.skipif(not shutil.which("unshare"), reason="no namespaces")
def test_files_without_a_name_count(bench: Bench, tmp_path: Path) -> None:
    code = """if True:
        import os, time
        held = []
        for number in range(4):
            held.append(open("held", "wb"))
            os.unlink("held")
            held[-1].write(os.urandom(8 << 20))
            held[-1].flush()
        time.sleep(60)
    """
    with pytest.raises(BuildError, match=r"wrote more than 16 MiB \(container:disk\)"):
        bench.build(
            dists.make_sdist(tmp_path, intree_backend=True, on_build=code), dataclasses.replace(LIMITS, disk=16 << 20)
        )


@pytest.mark.skipif(sys.platform != "linux" or not ROOT, reason="only root may mount")
def test_nothing_is_left_where_everybody_may_write(bench: Bench, tmp_path: Path, seconds: str) -> None:
    places = [place for place in isolation.OPEN if os.path.isdir(place)]
    assert len(places) > 2
    code = f"""if True:
        import os
        assert os.getcwd() == os.path.realpath(os.getcwd()) and os.path.samefile(os.getcwd(), ".")
        for place in {places!r}:
            open(place + "/left-{seconds}", "w").write("x")
            assert not [name for name in os.listdir(place) if not name.startswith(("left-", "pipmirror-"))]
    """
    assert isinstance(bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code)), Path)
    assert [place for place in places if os.path.exists(f"{place}/left-{seconds}")] == []
    code = "import os, time; open('/dev/shm/x', 'wb').write(os.urandom(32 << 20)); time.sleep(60)"
    with pytest.raises(BuildError, match=r"wrote more than 16 MiB \(container:disk\)"):
        bench.build(
            dists.make_sdist(tmp_path, intree_backend=True, on_build=code), dataclasses.replace(LIMITS, disk=16 << 20)
        )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, daemons outlive their build")
def test_a_daemon_ends_with_its_build(bench: Bench, tmp_path: Path, seconds: str) -> None:
    code = f"import subprocess; subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)"
    assert isinstance(bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code)), Path)
    assert not sleeps(seconds)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
@pytest.mark.parametrize("namespaces", [True, False])
def test_a_build_dies_with_a_run_that_is_killed(seconds: str, namespaces: bool) -> None:
    code = f"""if True:
        import dataclasses, subprocess
        from pipmirror_lib import isolation
        apart = isolation.available()
        apart = dataclasses.replace(apart, namespaces=apart.namespaces and {namespaces})
        subprocess.run(apart.command(["sleep", "{seconds}"]), **apart.options())
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        assert until(lambda: sleeps(seconds))
    finally:
        process.kill()
        process.wait()
    assert until(lambda: not sleeps(seconds))


@pytest.mark.skipif(not ROOT, reason="an ordinary user's builds lie in the private directory")
def test_what_comes_out_is_not_trusted(bench: Bench, tmp_path: Path) -> None:
    for kind in ("os.symlink('/etc/shadow', path)", "os.mkfifo(path)", "os.mkdir(path)"):
        code = f"import os; path = os.environ['PIPMIRROR_ROOT'] + '/out/other-1.0-py3-none-any.whl'; {kind}"
        with pytest.raises(BuildError, match="exactly one wheel"):
            bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))
    path = "os.environ['PIPMIRROR_ROOT'] + '/out/requires.json'"
    code = f"import os; os.unlink({path}); os.symlink('/etc/hostname', {path})"
    with pytest.raises(BuildError, match="asks for invalid requirements"):
        bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))


@pytest.mark.skipif(not ROOT, reason="only what another user has written is copied")
def test_holes_are_not_filled_by_us(bench: Bench, tmp_path: Path) -> None:
    """Each file is within the limit, and takes no room; copied, they would fill the disk."""
    holes = "open(os.environ['PIPMIRROR_ROOT'] + '/out/%d' % number, 'wb').truncate(250 << 20)"
    code = f"import os\nfor number in range(4):\n    {holes}\n"
    with pytest.raises(BuilderError, match=r"left files of more than 256 MiB \(container:disk\)"):
        bench.build(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))
    assert disk_of(tmp_path) < 300 << 20


def disk_of(directory: Path) -> int:
    return sum(entry.about.st_blocks * 512 for entry in walk(directory, 50))


def test_an_interrupted_run_ends_what_is_under_way(bench: Bench, tmp_path: Path) -> None:
    from threading import Timer

    sdist = dists.make_sdist(tmp_path, intree_backend=True, on_build="import time; time.sleep(60)")
    timer = Timer(1.5, machine.end_all)
    timer.start()
    began = time.monotonic()
    with pytest.raises(BuildError):
        bench.build(sdist)
    assert time.monotonic() - began < 30


def test_leftovers_of_a_killed_run_go(here: ThisMachine, secret: Path) -> None:
    (here.shelter / "left").mkdir(parents=True)
    assert ThisMachine.prepare(HERE, secret).shelter == here.shelter
    assert not here.shelter.exists()


@pytest.mark.skipif(not ROOT, reason="only root can make it somebody else's")
def test_a_shelter_of_somebody_else_is_not_used(here: ThisMachine, secret: Path) -> None:
    here.shelter.mkdir()
    os.chown(here.shelter, 12345, 12345)
    try:
        with pytest.raises(BuilderError, match="belongs to somebody else; remove it"):
            ThisMachine.prepare(HERE, secret)
        with pytest.raises(BuilderError, match="belongs to somebody else; remove it"):
            here.workplace(secret / "work")
    finally:
        here.shelter.rmdir()


# -- the proof -----------------------------------------------------------------------------------------------


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    directory = tmp_path / "wheels"
    files = {"demo.py": "def main():\n    print('demo 1.0')\n"}
    dists.make_wheel(directory, "demo", requires=["dep>=1"], files=files, entry_points={"demo": "demo:main"})
    dists.make_wheel(directory, "dep", "2.0")
    dists.make_wheel(directory, "broken", requires=["missing>=7"])
    return directory


def verify(here: ThisMachine, wheels: Path, secret: Path, *requirements: str) -> proof.VerifyOutcome:
    return proof.verify(here, HERE, wheels=wheels, requirements=requirements, limits=LIMITS, workdir=secret)


def test_verify_installs_and_runs(here: ThisMachine, wheels: Path, secret: Path) -> None:
    """From where only its own group can read, which pytest's directories see to."""
    if ROOT:
        for path in (wheels, *wheels.iterdir()):
            os.chown(path, 0, 4711)
            path.chmod(0o750 if path.is_dir() else 0o640)
    outcome = verify(here, wheels, secret, "demo")
    assert outcome.installed == (("demo", "1.0"), ("dep", "2.0"))
    assert outcome.ran["demo"] == proof.Ran("demo --version", True, "demo 1.0")
    assert wheels.is_dir()
    with pytest.raises(VerifyError, match="missing>=7"):
        verify(here, wheels, secret, "broken")


@pytest.mark.skipif(not ROOT, reason="others have no group of root's to give away")
def test_nothing_verified_is_in_roots_group(here: ThisMachine, wheels: Path, secret: Path) -> None:
    """A mirror that root made belongs to it, and so may a lot of this machine that others must not read."""
    wheels.chmod(0o755)
    code = "import os\ndef main():\n    print('groups', os.getgid(), os.getgroups())\n"
    dists.make_wheel(wheels, "curious", files={"curious.py": code}, entry_points={"curious": "curious:main"})
    told = verify(here, wheels, secret, "curious").ran["curious"].output
    assert told == f"groups {here.isolation.group} []"
    for closed, mode in ((wheels / "demo-1.0-py3-none-any.whl", 0o640), (wheels, 0o750)):
        closed.chmod(mode)
        with pytest.raises(BuilderError, match=rf"^{closed} can be read by root and its group alone.*files:dir_mode"):
            verify(here, wheels, secret, "demo")


def test_verify_without_namespaces(here: ThisMachine, wheels: Path, secret: Path) -> None:
    plain = dataclasses.replace(here, isolation=dataclasses.replace(here.isolation, namespaces=False))
    if ROOT:
        with pytest.raises(BuilderError, match="lies where an unprivileged user cannot read"):
            verify(plain, wheels, secret, "demo")
        public = Path(shutil.copytree(wheels, here.shelter.parent / f"pipmirror-test-{os.getpid()}"))
    else:
        public = wheels
    try:
        assert len(verify(plain, public, secret, "demo").installed) == 2
    finally:
        if public != wheels:
            shutil.rmtree(public)


# -- how it is kept apart ------------------------------------------------------------------------------------


def test_what_does_not_work_here_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in containers, whose kernel refuses; or on systems with another `unshare`."""
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = isolation.available()
    assert not found.namespaces
    assert found.command(["true"]) == children.dying(["true"])
    assert str(found).endswith(", with this machine's network")
    assert (found.options().get("user") is not None) is ROOT


def test_network_only_where_it_is_granted() -> None:
    apart = Isolation(65534, 65534, namespaces=True)
    assert "--net" in apart.command(["true"])
    assert "--net" not in apart.command(["true"], network=True)
