"""What the benchmarks share: a work directory, declarations, interleaved rounds, and tables of ratios.

A figure alone says little on a machine that does other things as well, so contenders take turns and what is
reported is the ratio of their medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

# Whoever imports this has the checkout on the path; nothing is to be left in it. Children have another place for it.
sys.dont_write_bytecode = sys.pycache_prefix is None
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "_utils"), str(ROOT)]

# Projects that many know, and that can live together; about 280 wheels on each of the suites below.
PACKAGES = (
    *("ansible", "ansible-lint", "requests", "flask", "django", "djangorestframework", "sqlalchemy", "alembic"),
    *("celery", "boto3", "pandas", "scipy", "matplotlib", "scikit-learn", "jupyterlab", "pytest", "black", "mypy"),
    *("sphinx", "fastapi", "aiohttp", "paramiko", "fabric", "docker", "kubernetes", "openstacksdk", "poetry"),
    *("scrapy", "mkdocs-material", "streamlit"),
)
SUITES = ("bookworm", "bullseye", "trixie")
INSTALL_PIP = "apt-get update && apt-get -y install python3-pip"
# The comment makes the recipe ours: an image that somebody else makes from the same command, or removes, is another.
PRE_COMMAND = f"{INSTALL_PIP}  # for pipmirror's benchmarks"
CERTIFICATES = "/run/pipmirror-ca.pem"
_bytecode = tempfile.TemporaryDirectory(prefix="pipmirror-bench-")


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory on disk that goes away, whatever is in it."""
    work = Path(tempfile.mkdtemp(prefix="pipmirror-bench-"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def arguments(about: str | None, rounds: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="of every contender (default: %(default)s)")
    return parser


# -- measuring -----------------------------------------------------------------------------------------------


@dataclass
class Sample:
    """One measurement: seconds on the clock, and whatever the contender has to say of itself."""

    seconds: float
    about: Any = None


def interleaved(rounds: int, contenders: Mapping[str, Callable[[], Any]]) -> dict[str, list[Sample]]:
    """Let the contenders take turns, in changing order, so that a disturbance meets all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds):
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in order:
            began = time.perf_counter()
            about = contenders[name]()
            samples[name].append(Sample(time.perf_counter() - began, about))
        said = ", ".join(f"{name} {samples[name][-1].seconds:.2f} s" for name in contenders)
        print(f"round {number + 1}/{rounds}: {said} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)
    return samples


def median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.seconds for sample in samples)


def fastest(samples: Sequence[Sample]) -> float:
    """The least disturbed one."""
    return min(sample.seconds for sample in samples)


def compare(title: str, samples: Mapping[str, Sequence[Sample]], baseline: str, bars: Mapping[str, float]) -> bool:
    """Print medians and ratios to the baseline; True if every bar (an upper bound of a ratio) is kept."""
    base, least = median(samples[baseline]), fastest(samples[baseline])
    rows, good = [], True
    for name, own in samples.items():
        ratio, bar = median(own) / base, bars.get(name)
        kept = bar is None or ratio <= bar
        good = good and kept
        verdict = "" if bar is None else f"<= {bar:g}: {'kept' if kept else 'MISSED'}"
        slowest = max(sample.seconds for sample in own)
        seconds = (f"{median(own):.2f}", f"{fastest(own):.2f} - {slowest:.2f}")
        rows.append((name, *seconds, f"{ratio:.2f}", f"{fastest(own) / least:.2f}", verdict))
    table(title, ("", "median s", "range s", f"x {baseline}", "fastest x", "bar"), rows)
    return good


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())


def peak_memory(process: int | str = "self") -> float:
    """Of this process so far, or another, in MB; getrusage would count what its parent had when it began as well."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def in_child(script: str, *words: object) -> Any:
    """Run a benchmark's own script again for one measurement, and read the JSON that it prints."""
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment())
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    """Ours without pip's settings (contenders ask the same index; certificates stay).

    Bytecode is cached as on any machine, but beside the checkout instead of in it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name == "PIP_CERT"}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONWARNINGS": "ignore", "PYTHONPYCACHEPREFIX": _bytecode.name}


# -- declarations --------------------------------------------------------------------------------------------


def declaration(target: Path, suites: Sequence[str], packages: Sequence[str] = PACKAGES, **more: Any) -> dict[str, Any]:
    """What a pillar would say under `pipmirror`."""
    platforms = [{"image": f"debian:{suite}", "pre_command": PRE_COMMAND} for suite in suites]
    return {"target": str(target), "packages": list(packages), "platforms": platforms, **more}


PROFILE = {
    "markers": {
        **dict.fromkeys(("implementation_version", "platform_release", "platform_version"), ""),
        **{"implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix"},
        **{"platform_machine": "x86_64", "platform_system": "Linux", "sys_platform": "linux"},
        **{"python_full_version": "3.11.2", "python_version": "3.11"},
    },
    "tags": ["cp311-cp311-manylinux_2_36_x86_64", "py3-none-any"],
    "pip_version": "23.0.1",
}


def fill(place: Path, wheels: int, roots: int) -> list[str]:
    """Tiny wheels as varied as real ones: versions, bounds, markers and extras; the requirements that need all of them.

    The roots want the next wheels, those the ones after them, and so on; some want what is wanted already.
    """
    from tests.support.dists import make_wheel

    def version(number: int) -> str:
        return f"{1 + number % 4}.{number % 23}.{number % 7}"

    def bounds(number: int) -> str:
        return f">={1 + number % 4}.{number % 19},<{2 + number % 4}" if number % 3 else f">={version(number)}"

    for number in range(wheels):
        children = range(roots + number * 3, min(roots + number * 3 + 3, wheels))
        requires = [f"project-{child} {bounds(child)}" for child in children if child % 23 >= child % 19]
        requires += [f"project-{child}" for child in children if child % 23 < child % 19]
        requires += [f"project-{number * 7 % roots}", f"project-{number % 11} ; python_version < '3.{number % 9}'"]
        extras = {
            "dev": ["pytest", f"mypy >=1.{number % 20}"],
            f"feature-{number % 50}": [f"sphinx!={version(number)}"],
        }
        extras["all"] = [f"project-{number}[dev,feature-{number % 50}]"]
        make_wheel(
            place, f"project-{number}", version(number), requires=requires, extras=extras, requires_python=">=3.9"
        )
    return [f"project-{number}" for number in range(roots)]


def known_platform(directory: Any, platform: Any) -> None:
    """Make a platform look as if its builder image had been made and its profile taken."""
    from pipmirror_lib import plan
    from pipmirror_lib.moments import now

    directory.create()
    directory.save(directory.profile_path, json.dumps(PROFILE))
    state = {"recipe": plan.recipe_of(platform), "prepared": now()}
    directory.save(directory.private / "state.json", json.dumps(state))


class Salt:
    """salt-call with the project's tuned configuration and a pillar of our own."""

    def __init__(self, work: Path, pillar: Mapping[str, Any], sls: Mapping[str, str] | None = None) -> None:
        self.config = work / "etc"
        self._write(
            "etc/minion",
            work,
            f"""\
include: {ROOT}/etc/minion
root_dir: {work}/root
pillar_roots: {{base: [{work}/pillar]}}
file_roots: {{base: [{ROOT}/salt, {work}/sls]}}
""",
        )
        self._write("pillar/top.sls", work, "base: {'*': [declared]}\n")
        self._write("pillar/declared.sls", work, f"#!json\n{json.dumps(pillar)}\n")
        for name, text in (sls or {}).items():
            self._write(f"sls/{name}.sls", work, text)

    @staticmethod
    def _write(name: str, work: Path, text: str) -> None:
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def command(self, *words: str) -> list[str]:
        program = Path(sys.executable).parent / "salt-call"
        return [str(program), "--local", "--config-dir", str(self.config), "-m", str(ROOT), "--out", "json", *words]

    def call(self, *words: str) -> Any:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, env=environment())
        try:
            answer = json.loads(done.stdout)["local"]
        except (ValueError, KeyError, TypeError):
            sys.exit(f"salt-call {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        if done.returncode:
            sys.exit(f"salt-call {' '.join(words)} returned {done.returncode}:\n{json.dumps(answer, indent=1)[:5000]}")
        return answer


# -- containers ----------------------------------------------------------------------------------------------


def docker_run(image: str, mount: Path, *command: str) -> None:
    """Run a command in a fresh container with network, a directory on /mnt and this machine's certificates."""
    mount.mkdir(parents=True, exist_ok=True)
    # A builder image hands on the labels by which runs of ours find, and remove, containers that were left behind.
    not_ours = ["--label", "org.pipmirror=", "--label", "org.pipmirror.owner="]
    words = ["docker", "run", "--rm", *not_ours, "--volume", f"{mount}:/mnt"]
    if certificates := os.environ.get("SSL_CERT_FILE"):
        words += ["--volume", f"{certificates}:{CERTIFICATES}:ro", "--env", f"PIP_CERT={CERTIFICATES}"]
    words += ["--entrypoint", command[0], image, *command[1:]]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} returned {done.returncode}:\n{done.stdout[-3000:]}")


def remove_builder_images(pre_command: str = PRE_COMMAND) -> None:
    """Those that were made with this command."""
    label = f"label=org.pipmirror.command={sha256(pre_command.encode()).hexdigest()}"
    listing = ["docker", "images", "--quiet", "--filter", label]
    found = subprocess.run(listing, capture_output=True, text=True, check=False)
    if images := sorted(set(found.stdout.split())):
        subprocess.run(["docker", "rmi", "--force", *images], capture_output=True, check=False)
