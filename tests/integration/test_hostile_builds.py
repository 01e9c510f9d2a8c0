"""What strangers' code can do while it is built: asserted from inside, of a `setup.py` and of a PEP 517 backend.

The sources under hostile/ look around, try what they should not be able to, and pack a report into the wheel. All of
it happens in a whole installation: an index with a password, a second project that is being built meanwhile, wheels
that are waiting to be admitted.
"""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ensure
from tests.support.localindex import LocalIndex
from tests.support.site import IMAGE, PLATFORM, Site

pytestmark = pytest.mark.integration

HOSTILE = Path(__file__).with_name("hostile")
NAMES = {"legacy": "setup.py", "modern": "a PEP 517 backend"}
SECRET = "correct-horse-battery-staple"
VARIABLE = "another-secret-in-the-minions-environment"
NOBODY = 65534
# Holds its staging open until both hostile builds have begun and ended beside it.
WAIT = """
import os, time
open("/pipmirror/out/begun", "w").close()
end = time.time() + 120
while not os.path.exists("/pipmirror/out/go"):
    if time.time() > end:
        raise SystemExit("nobody has opened the gate")
    time.sleep(0.1)
"""
Report = dict[str, Any]


def sources(name: str, questions: Report) -> dict[str, str]:
    files = {"probe.py": (HOSTILE / "probe.py").read_text(), "questions.json": json.dumps(questions)}
    if name == "legacy":
        return {**files, "setup.py": (HOSTILE / "setup.py").read_text(), "report.py": ""}
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    return {**files, "backend.py": (HOSTILE / "backend.py").read_text(), "pyproject.toml": build}


class Scene:
    """One sync with both hostile projects in it, and what stood around them."""

    def __init__(self, site: Site, wheels: list[Path]) -> None:
        self.site = site
        self.lingering = f"lingering-{os.getpid()}"
        for wheel in wheels:
            site.index.add(wheel)
        abstract = f"pipmirror-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{abstract}")
            listener.listen()
            questions = {
                "secrets": [SECRET[::-1], VARIABLE[::-1]],
                "port": site.index.port,
                "host": host_address(),
                "abstract": abstract,
                "lingering": self.lingering,
                "paths": [str(site.target), str(site.directory), str(HOSTILE), "/var/run/docker.sock"],
            }
            for name in NAMES:
                site.sdist(name, files=sources(name, questions))
            site.sdist("victim", intree_backend=True, on_build=WAIT)
            site.settings.update(
                packages=[*NAMES, "victim", "alpha"], container={"cpus": 0.5, "memory": "512m", "disk": "1g"}
            )
            site.settings["index"].update(username="me", password=SECRET)
            site.index.username, site.index.password = "me", SECRET
            site.minion.environment["PIPMIRROR_TEST_SECRET"] = VARIABLE
            self.victim: set[str] = set()
            self._sync()

    def _sync(self) -> None:
        ended = threading.Event()

        def watch() -> None:
            """The victim goes on when the hostile containers have come and gone; what lies around it is noted."""
            while not ended.wait(0.1):
                for gate in self.site.private().glob("staging/build-victim-*/out/begun"):
                    logs = [log for name in NAMES for log in (self.site.private() / "logs").glob(f"{name}-1.0-*.log")]
                    made = [log for log in logs if "pipmirror: made" in log.read_text()]
                    if len(made) == len(NAMES) and not self.victim:
                        place = gate.parent
                        self.victim = {str(path.relative_to(place)) for path in place.rglob("*")}
                        (place / "go").touch()

        keeper = threading.Thread(target=watch)
        keeper.start()
        try:
            self.answer = self.site.good(self.site.apply())
        finally:
            ended.set()
            keeper.join()

    def report(self, name: str) -> Report:
        with zipfile.ZipFile(self.site.public() / f"{name}-1.0-py3-none-any.whl") as wheel:
            text = wheel.read("report.py").decode()
        report: Report = json.loads(ast.literal_eval(text.partition(" = ")[2]))
        return report


def host_address() -> str:
    """One of this machine's that is not the loopback, on which the index would answer if it listened there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError:
            return "172.17.0.1"
        return str(one.getsockname()[0])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, ensure: Ensure, setuptools: list[Path]) -> Iterator[Scene]:
    ensure(IMAGE)
    with LocalIndex() as index:
        site = Site(tmp_path_factory.mktemp("hostile"), index)
        site.wheel("alpha", requires=["beta>=1"])
        site.wheel("beta", "1.0")
        yield Scene(site, setuptools)


@pytest.fixture(params=NAMES, ids=NAMES.values())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def report(scene: Scene, name: str) -> Report:
    return scene.report(name)


def test_it_is_nobody_and_may_nothing(report: Report) -> None:
    user = report["user"]
    assert user["ids"] == [NOBODY] * 6
    assert set(user["groups"]) <= {NOBODY}
    assert {user["status"][f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert user["status"]["NoNewPrivs"] == "1"
    assert user["status"]["Seccomp"] == "2"
    assert report["limits"] == {"FSIZE": 1 << 30, "CORE": 0}


def test_no_privilege_is_to_be_had(report: Report) -> None:
    assert {what: how for what, how in report["privileges"].items() if how == "done"} == {}
    assert {report["privileges"][what] for what in ("mount", "user namespace", "become root")} == {"EPERM"}


def test_setuid_programs_give_none_either(report: Report) -> None:
    assert report["files"]["setuid"], "the image has some, or this would show nothing"
    assert report["setuid"]["users"] == [str(NOBODY)] * 4
    assert report["setuid"]["mount"] != 0


def test_what_a_build_may_rely_on(report: Report) -> None:
    """Fixed, so that the same sources become the same bytes; and programs that it has just made can run."""
    expected = {"SOURCE_DATE_EPOCH": "315532800", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "USER": "nobody"}
    assert {key: report["environment"].get(key) for key in expected} == expected
    for key in ("HOME", "TMPDIR"):
        assert report["environment"][key].startswith("/pipmirror/scratch/")
    assert report["umask"] == 0o022
    assert report["program of its own"] == "it runs"


def test_no_engine_and_no_other_socket(report: Report) -> None:
    assert report["files"]["sockets"] == []
    reached = report["network"]["reached"]
    assert {how for path, how in reached.items() if path.endswith(".sock")} == {"ENOENT"}


def test_only_its_own_directories_of_the_host(scene: Scene, report: Report, name: str) -> None:
    staging = str(scene.site.private() / "staging")
    bound = {point: source for point, _, kind, source in report["mounts"] if kind == filesystem(report)}
    ours = {point: source for point, source in bound.items() if point.startswith("/pipmirror/")}
    assert sorted(ours) == ["/pipmirror/env", "/pipmirror/in", "/pipmirror/out", "/pipmirror/scratch"]
    for point, source in ours.items():
        place, _, folder = source.rpartition("/")
        assert folder == point.rpartition("/")[2]
        # Where the target is a mount of its own, the kernel names the path from there.
        assert staging.endswith(place.rpartition("/build-")[0].rpartition("/.pipmirror")[2])
        assert f"/build-{name}-1.0-" in source
    assert sorted(set(bound) - set(ours)) == ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
    assert report["inputs"]["host paths"] == []
    assert report["inputs"]["top"] == ["env", "in", "out", "scratch"]


def filesystem(report: Report) -> str:
    """The type of the one that the mirror lies on."""
    return str(next(kind for point, _, kind, _ in report["mounts"] if point == "/pipmirror/out"))


def test_the_root_and_the_inputs_are_read_only(report: Report) -> None:
    options = {point: set(how.split(",")) for point, how, _, _ in report["mounts"]}
    for point in ("/", "/pipmirror/in", "/pipmirror/env", "/proc/sys", "/sys", "/etc/hosts"):
        assert "ro" in options[point], point
    assert set(report["inputs"]["written"].values()) <= {"EROFS", "EACCES"}
    own = ("/pipmirror/scratch/", "/pipmirror/out/")
    writable = {path for path in report["files"]["writable"] if not path.startswith(own)}
    assert writable == {"/pipmirror/out", "/pipmirror/scratch", "/dev/shm", "/dev/mqueue"}
    assert [path for path in report["files"]["overwritable"] if not path.startswith(own)] == []
    usual = ("null", "zero", "full", "random", "urandom", "tty", "pts/ptmx")
    assert set(report["files"]["devices"]) <= {f"/dev/{name}" for name in usual}


def test_no_network_of_any_kind(report: Report) -> None:
    network = report["network"]
    assert network["interfaces"] == ["lo"]
    assert [how for how in network["reached"].values() if how == "done"] == []
    assert network["reached"]["an abstract socket"] == "ECONNREFUSED"
    assert network["reached"]["the virtual machine's host"] == "EAFNOSUPPORT"
    assert network["abstract"] == []


def test_no_credential_in_any_file_or_variable(report: Report) -> None:
    assert report["files"]["secrets"] == []
    assert report["processes"]["secrets"] == []
    told = json.dumps([report["environment"], report["arguments"], report["mounts"]])
    assert SECRET not in told
    assert VARIABLE not in told
    assert not [
        key for key in report["environment"] if key.lower().endswith("proxy") or key.startswith(("PIP_", "SALT"))
    ]


def test_it_sees_no_process_but_its_own(report: Report) -> None:
    commands = dict(report["processes"]["all"])
    assert "/pipmirror/in/" in commands[1], "the first one is our own script"
    assert all("/pipmirror/" in command or "setup.py" in command for command in commands.values()), commands


def test_nothing_outlives_it(scene: Scene) -> None:
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if scene.lingering.encode() in (process / "cmdline").read_bytes():
                left.append(process.name)
        except OSError:
            continue
    assert left == []


def test_others_are_out_of_its_reach(scene: Scene) -> None:
    """The victim was being built, alpha and beta had been fetched: all of them are what they were meant to be."""
    assert scene.victim == {"begun", "requires.json"}
    public = {"alpha-1.0", "beta-1.0", "legacy-1.0", "modern-1.0", "victim-1.0"}
    assert scene.site.wheels() == {f"{stem}-py3-none-any.whl" for stem in public}
    for stem in ("alpha-1.0", "beta-1.0"):
        filename = f"{stem}-py3-none-any.whl"
        assert (scene.site.public() / filename).read_bytes() == (scene.site.shelf / filename).read_bytes()
    scene.site.check()
    assert list((scene.site.private() / "staging").glob("build-*/scratch")) == []


def test_no_secret_in_what_is_kept(scene: Scene) -> None:
    """Logs, records and caches: all that was written for the platform."""
    for path in scene.site.private(PLATFORM).rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


# --- what it leaves -------------------------------------------------------------------------------

# Runs when the backend has returned, and before our own script looks at what it made.
AT_EXIT = """
import atexit, json, os, sys, zipfile
OUT = "/pipmirror/out/"
(MADE,) = ["{name}-1.0-py3-none-any.whl"]

def rename(name):
    os.rename(OUT + MADE, OUT + name)
    with open(json.loads(sys.argv[1])["answer"], "w") as answer:
        json.dump(name, answer)

def add(name, content):
    with zipfile.ZipFile(OUT + MADE, "a", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(name, content)

def lie():
    {lie}

atexit.register(lie)
"""
LIES = {
    "link": ("os.unlink(OUT + MADE); os.symlink('/etc/passwd', OUT + MADE)", "which is a link"),
    "hardlink": ("os.link(OUT + MADE, OUT + 'second')", "which is a hard link"),
    "pipe": ("os.mkfifo(OUT + 'evil.whl')", "exactly one wheel, not evil.whl, pipe-1.0"),
    "extra": ("open(OUT + 'alpha-9.0-py3-none-any.whl', 'w')", "exactly one wheel, not alpha-9.0"),
    "project": ("rename('alpha-9.0-py3-none-any.whl')", "alpha-9.0-py3-none-any.whl, which is another project"),
    "version": ("rename('version-9.0-py3-none-any.whl')", "version-9.0-py3-none-any.whl, which is another project"),
    "tags": ("rename('tags-1.0-cp27-none-win32.whl')", "tags-1.0-cp27-none-win32.whl, which does not fit"),
    "nowheel": ("rename('alpha')", "exactly one wheel, not none"),
    "unlisted": ("add('evil.pth', 'import evil')", "unlisted-1.0-py3-none-any.whl: evil.pth is not in RECORD"),
    "climbs": ("add('../../evil.pth', '')", "climbs-1.0-py3-none-any.whl: the path '../../evil.pth' leads out"),
    "twice": ("add('twice.py', 'import evil')", "twice-1.0-py3-none-any.whl: twice.py is there twice"),
    "bomb": ("add('zeros', bytes(300 << 20))", "bomb-1.0-py3-none-any.whl: "),
    "behind": ("open(OUT + MADE, 'ab').write(b'PK')", "behind-1.0-py3-none-any.whl: bytes lie behind its end"),
    "nozip": ("open(OUT + MADE, 'w').write('no zip')", "nozip-1.0-py3-none-any.whl: File is not a zip file"),
}


def test_what_it_leaves_does_not_get_in(site: Site) -> None:
    """Each in a set of its own; the honest one beside them comes in, and nothing else does."""
    for name, (lie, _) in LIES.items():
        site.sdist(name, intree_backend=True, on_build=AT_EXIT.format(name=name, lie=lie))
    site.settings.update(packages=["alpha"], sets={name: [name] for name in LIES})
    answer = site.apply()
    assert site.state(answer)["result"] is False
    problems = site.state(answer)["comment"].splitlines()
    for name, (_, said) in LIES.items():
        (problem,) = [line for line in problems if line.startswith(f"{name} 1.0: ")]
        assert said in problem, problem
    assert site.wheels() == {"alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"}
    site.check()
    assert list((site.private() / "kept").glob("*/*.whl")) == []


def test_a_file_of_the_index_is_never_replaced(site: Site) -> None:
    site.good(site.apply())
    wheel = site.public() / "alpha-1.0-py3-none-any.whl"
    before = wheel.read_bytes()
    site.sdist("alpha", intree_backend=True, files={"evil.py": ""})
    site.settings["no_binary"] = ["alpha"]
    answer = site.apply()
    assert site.state(answer)["result"] is False
    comment = site.state(answer)["comment"]
    assert f"{wheel.name}, which lies there from the index and is never replaced; remove {wheel} first" in comment
    assert wheel.read_bytes() == before
    site.check()
    wheel.unlink()
    site.good(site.apply())
    assert site.record(wheel.name)["origin"] == "built"


# --- what it prints -------------------------------------------------------------------------------

# Titles, colours, cursor movements, a line that looks like ours, and text that reads from right to left.
CONTROLS = "\x1b]0;owned\x07\x1b[2J\x1b[1;31m\x9b31m\x08\x7f\u202e\u2028\u061c\x85"
FORGED = "bookworm: every set is satisfied, by 999 wheels"
SHOUT = f"""
import sys
text = {CONTROLS!r} + "\\r" + {FORGED!r} + "\\r\\n\\n"
for stream in (sys.stdout, sys.stderr):
    stream.buffer.write((text + "[INFO] pipmirror: " + text).encode("utf-8", "surrogatepass") + b"\\xff\\xfe\\x00")
    stream.flush()
raise SystemExit("Error: " + text + text)
"""
HARMFUL = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0))} - {"\n", "\t"} | set("\u202e\u2028\u061c")


def test_what_it_prints_forges_nothing(site: Site) -> None:
    """Neither what a person reads on a terminal, nor the minion's log, nor the log of the build."""
    site.sdist("loud", intree_backend=True, on_build=SHOUT)
    site.settings["packages"] = ["loud"]
    log = site.minion.root / "minion.log"
    site.minion.options.update(log_file=str(log), log_level_logfile="all")
    answer = site.apply()
    command = site.minion.command("state.apply", "pipmirror", out="")
    done = subprocess.run(command, env=site.minion.variables({}), capture_output=True, timeout=300, check=False)
    shown = (done.stdout + done.stderr).decode()
    assert site.state(answer)["result"] is False
    problem = next(line for line in site.state(answer)["comment"].splitlines() if "loud" in line)
    assert "the build failed with exit code 1: " in problem
    (place,) = (site.private() / "logs").glob("loud-1.0-*.log")
    assert str(place) in problem, "what was printed does not push out where to look"
    build_log = place.read_text()
    assert FORGED in build_log
    # Salt colours its own words, so that only what is not Salt's may be looked for there.
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    for name, text in {
        "comment": site.state(answer)["comment"],
        "build log": build_log,
        "stderr": answer.stderr,
        "minion's log": log.read_text(),
        "terminal": shown,
    }.items():
        harmful = HARMFUL - ({"\x1b"} if name == "terminal" else set())
        assert not harmful & set(text), (name, harmful & set(text))
        if name != "build log":
            assert not [line for line in text.splitlines() if line.strip().startswith(FORGED)], name
