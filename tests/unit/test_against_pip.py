"""The decision against the running interpreter's own pip, which is what it has to agree with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import inside, local, resolve
from pipmirror_lib.profile import TargetProfile

from tests.support.dists import make_wheel
from tests.support.worlds import Case, File, load_cases, slug

# One process for all worlds: pip is imported once, and each world gets a fork of its own. What pip prepares for
# a network that it is not to use (its user agent asks three programs, certificates) is most of its time.
DRIVER = """
import json, os, sys
import pip._internal.cli.index_command as index_command
import pip._internal.cli.main as cli
import pip._internal.commands.install
import pip._internal.network.session as session
import pip._internal.operations.prepare
import pip._internal.resolution.resolvelib.resolver

session.user_agent = lambda: "pip"
index_command._create_truststore_ssl_context = lambda: None
jobs, codes, running = json.load(sys.stdin), {}, {}
while jobs or running:
    while jobs and len(running) < 4:
        arguments, output = jobs.pop()
        child = os.fork()
        if not child:
            with open(output, "wb") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
            code = 3
            try:
                code = cli.main(arguments)
            finally:
                sys.stdout.flush()
                os._exit(code)
        running[child] = output
    child, status = os.wait()
    codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
json.dump(codes, sys.stdout)
"""
BASE = ("install", "--isolated", "--dry-run", "--ignore-installed", "--no-cache-dir", "--no-index")
MORE = (
    Case(
        "more: an installed project is not taken from elsewhere",
        (File("pip", "0.1"),),
        ("pip",),
        closure={"pip": "0.1"},
    ),
    Case(
        "more: fifty levels deep",
        tuple(File(f"p{level}", "1.0", [f"p{level + 1}"] if level < 50 else []) for level in range(51)),
        ("p0",),
        closure={f"p{level}": "1.0" for level in range(51)},
    ),
    Case(
        "more: a ladder of versions that only meet at the bottom",
        (
            *(File("app", f"{n}.0", [f"lib=={n}.0", "shared<3"]) for n in range(1, 8)),
            *(File("lib", f"{n}.0", [f"shared>={n}"]) for n in range(1, 8)),
            *(File("shared", f"{n}.0") for n in range(1, 8)),
        ),
        ("app",),
        closure={"app": "2.0", "lib": "2.0", "shared": "2.0"},
    ),
)
CASES = [case for case in (*load_cases(), *MORE) if case.for_pip and case.want]


@dataclass(frozen=True)
class Verdict:
    """What pip came to; None for the closure where it refused."""

    closure: Mapping[str, str] | None
    output: str


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}


def ask_pip(tmp: Path, cases: list[Case]) -> dict[str, Verdict]:
    """Every case's wheels in a directory of its own, and what pip makes of each."""
    jobs = []
    places = {case.name: tmp / slug(case) for case in cases}
    for case in cases:
        place = places[case.name]
        (place / "wheels").mkdir(parents=True)
        for file in case.files:
            file.make(place / "wheels")
        (place / "constraints.txt").write_text("\n".join(case.constraints))
        arguments = [*BASE, "--find-links", str(place / "wheels"), "--target", str(place / "installed")]
        arguments += ["--report", str(place / "report.json"), "-c", str(place / "constraints.txt")]
        arguments += ["--pre"] if case.prereleases is True else []
        jobs.append(([*arguments, *case.want], str(place / "output")))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    codes = json.loads(done.stdout)
    return {name: verdict(place, codes[str(place / "output")]) for name, place in places.items()}


def verdict(place: Path, code: int) -> Verdict:
    output = (place / "output").read_text()
    if code:
        return Verdict(None, output)
    report = json.loads((place / "report.json").read_text())["install"]
    said = [one["metadata"] for one in report]
    return Verdict({canonicalize_name(one["name"]): one["version"] for one in said}, output)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Verdict]]:
    place = tmp_path_factory.mktemp("pip")
    return place, ask_pip(place, CASES)


@pytest.fixture(scope="module")
def profile() -> TargetProfile:
    """Of the interpreter that runs us, asked the way a container is."""
    script = Path(inside.__file__).with_name("profile.py")
    said = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment(), check=True
    ).stdout
    lines = [line for line in said.splitlines() if line.startswith("{")]
    return TargetProfile.from_data(json.loads(lines[0]))


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_same_verdict_and_closure(
    case: Case, verdicts: tuple[Path, dict[str, Verdict]], profile: TargetProfile
) -> None:
    place, said = verdicts
    source = local.scan(place / slug(case) / "wheels")
    answer = resolve.resolve(case.question(profile), source)
    ours = {name: str(candidate.version) for name, candidate in answer.closure.items()}
    theirs = said[case.name]
    assert (ours if answer.satisfied else None) == theirs.closure, f"{dict(answer.missing)}\n{theirs.output}"


def test_enough_worlds_are_compared() -> None:
    assert len(CASES) >= 25
    assert sum(case.missing is not None for case in CASES) >= 5


def test_pip_agrees_for_the_reason_that_we_think(verdicts: tuple[Path, dict[str, Verdict]]) -> None:
    """A refusal that has another reason (an option, say) would agree with anything."""
    for name, said in verdicts[1].items():
        known = "ResolutionImpossible|No matching distribution found|Cannot install|requires a different Python"
        assert said.closure is not None or re.search(known, said.output), f"{name}: {said.output}"


def test_pip_aborts_on_a_broken_newest_wheel_and_we_name_it(tmp_path: Path) -> None:
    """Integrity comes before the decision, because an older version would not save pip."""
    wheels = tmp_path / "broken" / "wheels"
    make_wheel(wheels, "demo", "1.0")
    make_wheel(wheels, "demo", "2.0").write_bytes(b"not a zip file")
    asked = ("install", "--isolated", "--dry-run", "--no-index", "--find-links", str(wheels), "demo")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *asked, "--ignore-installed"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode != 0
    assert "demo-2.0-py3-none-any.whl" in done.stdout + done.stderr
    assert list(local.scan(wheels).broken) == ["demo-2.0-py3-none-any.whl"]
