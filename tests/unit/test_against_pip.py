"""The decision against the running interpreter's own pip, which is what it has to agree with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pipmirror_lib import local
from pipmirror_lib.profile import TargetProfile

from tests.support.dists import make_wheel
from tests.support.oracle import REFUSALS, Verdict, ask_here, decide, environment, profile_here
from tests.support.worlds import Case, File, load_cases, slug

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


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Verdict]]:
    place = tmp_path_factory.mktemp("pip")
    return place / "worlds", ask_here(CASES, place)


@pytest.fixture(scope="module")
def profile() -> TargetProfile:
    return profile_here()


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_same_verdict_and_closure(
    case: Case, verdicts: tuple[Path, dict[str, Verdict]], profile: TargetProfile
) -> None:
    worlds, said = verdicts
    answer = decide(case, worlds / slug(case), profile)
    ours = {name: candidate.filename for name, candidate in answer.closure.items()}
    theirs = said[case.name]
    assert (ours if answer.satisfied else None) == theirs.closure, f"{dict(answer.missing)}\n{theirs.output}"


def test_enough_worlds_are_compared() -> None:
    assert len(CASES) >= 25
    assert sum(case.missing is not None for case in CASES) >= 5


def test_pip_agrees_for_the_reason_that_we_think(verdicts: tuple[Path, dict[str, Verdict]]) -> None:
    """A refusal that has another reason (an option, say) would agree with anything."""
    for name, said in verdicts[1].items():
        assert said.closure is not None or re.search(REFUSALS, said.output), f"{name}: {said.output}"


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
