"""The proof that a set installs: the target's own pip, in a container without network, from the mirror alone."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name, canonicalize_version

from pipmirror_lib import inside, settings
from pipmirror_lib.engine import RunResult
from pipmirror_lib.errors import VerifyError
from pipmirror_lib.logs import reason, short
from pipmirror_lib.wheels import parse_name
from pipmirror_lib.workplace import Quarters, Task, read_untrusted

_RESULT_SIZE = 4 << 20


@dataclass(frozen=True)
class Ran:
    """What became of running a root project's command; informative only."""

    command: str
    ok: bool
    output: str


@dataclass(frozen=True)
class VerifyOutcome:
    """A set that the target's own pip has installed without network."""

    installed: tuple[tuple[str, str], ...]
    ran: Mapping[str, Ran]
    pip: str
    seconds: float
    log: Path


def verify(
    quarters: Quarters,
    platform: settings.Platform,
    *,
    wheels: Path,
    requirements: Sequence[str],
    constraints: Sequence[str] = (),
    prereleases: bool = False,
    limits: settings.Container,
    workdir: Path,
) -> VerifyOutcome:
    """Install the set from these wheels alone, with the target's own pip; VerifyError if pip will not."""
    start, log_path = time.monotonic(), workdir / "verify.log"
    projects = [canonicalize_name(Requirement(text).name) for text in requirements]
    request = {
        "requirements": list(requirements),
        "constraints": list(constraints),
        "prereleases": prereleases,
    }
    with quarters.workplace(workdir / "verify", keep_out=False) as place:
        place.put("verify.py", inside.source("verify"))
        place.put("request.json", json.dumps({**request, "projects": list(dict.fromkeys(projects))}))
        task = Task(
            "verify.py",
            platform.python,
            limits,
            log_path,
            f"verify-{platform.name}",
            wheels=wheels,
            setting="verify_command",
        )
        result = quarters.run(place, task)
        if result.exit_code or result.timed_out or result.excess:
            raise VerifyError(_verify_failure(platform, requirements, result, limits, log_path))
        return _outcome(place.out / "result.json", set(projects), time.monotonic() - start, log_path)


def installed_from(wheels: Iterable[str], installed: Collection[tuple[str, str]]) -> list[str]:
    """Which of the wheels pip can have taken these projects and versions from."""
    known = {(canonicalize_name(name), canonicalize_version(version)) for name, version in installed}
    names = ((filename, parse_name(filename)) for filename in wheels)
    return sorted(f for f, name in names if (name.project, canonicalize_version(str(name.version))) in known)


def _verify_failure(
    platform: settings.Platform,
    requirements: Sequence[str],
    result: RunResult,
    limits: settings.Container,
    log_path: Path,
) -> str:
    # The first error names the requirement; the ones after it comment.
    errors = (line for line in result.log.splitlines() if line.startswith("ERROR:"))
    why = short(next(errors, "") or reason(result.log))
    if exceeded := result.exceeded(limits):
        why = f"the install {exceeded}"
    wanted = short(", ".join(requirements))
    return f"{platform.name}: {wanted} does not install without network: {why}; pip's log is {log_path}"


def _outcome(path: Path, projects: set[NormalizedName], seconds: float, log_path: Path) -> VerifyOutcome:
    try:
        data = json.loads(read_untrusted(path, _RESULT_SIZE))
        installed = tuple((short(str(name)), short(str(version))) for name, version in data["installed"])
        ran = {
            project: Ran(short(str(row["command"])), row["ok"] is True, short(str(row["output"])))
            for project, row in data["ran"].items()
            if project in projects
        }
        return VerifyOutcome(installed, ran, short(str(data["pip"])), seconds, log_path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise VerifyError(
            f"the result of an install cannot be read ({short(str(error))}); its log is {log_path}"
        ) from error
