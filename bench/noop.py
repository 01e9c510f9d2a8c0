"""What a highstate pays when there is nothing to do: `state.apply pipmirror` against an SLS with one `test.nop`.

Two platforms of about 270 wheels each, everything satisfied and published, no engine, no index. The wheels are
tiny ones of our own, with dependencies, extras and markers as real ones have them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import common
from pipmirror_lib import settings, sync
from pipmirror_lib.mirror import PlatformDirectory

SUITES = ("bookworm", "trixie")
WHEELS = 270
ROOTS = 29
EMPTY = "nothing:\n  test.nop\n"


def main() -> int:
    parser = common.arguments(__doc__, rounds=15)
    options = parser.parse_args()
    with common.workspace() as work:
        pillar = satisfied(work / "mirror")
        salt = common.Salt(work, {"pipmirror": pillar, "docker": {"managed": False}}, {"empty": EMPTY})
        for sls in ("empty", "pipmirror"):  # Salt fills its caches, and what the test rests upon is checked
            quiet(salt.call("state.apply", sls))
        samples = common.interleaved(
            options.rounds,
            {
                "empty SLS": lambda: quiet(salt.call("state.apply", "empty")),
                "no-op pipmirror": lambda: quiet(salt.call("state.apply", "pipmirror")),
            },
        )
    rows = [(key, f"{milliseconds:.1f}") for key, milliseconds in samples["no-op pipmirror"][-1].about.items()]
    common.table("The states themselves, last round", ("", "ms"), rows)
    title = f"No-op state.apply, {len(SUITES)} platforms of {WHEELS} wheels"
    return 0 if common.compare(title, samples, "empty SLS", {"no-op pipmirror": 1.25}) else 1


def quiet(states: dict[str, dict]) -> dict[str, float]:
    """{state: milliseconds}; the benchmark ends where a state failed or changed something."""
    busy = {key: one for key, one in states.items() if one["result"] is not True or one["changes"]}
    if busy:
        sys.exit(f"there was something to do: {json.dumps(busy, indent=1)}")
    return {one["__id__"]: one["duration"] for one in states.values()}


def satisfied(target: Path) -> dict:
    """Fill a mirror, let a sync adopt and publish it, and return the pillar that it satisfies."""
    names = [f"project-{number}" for number in range(ROOTS)]
    no_engine = {"engine_url": f"unix://{target}/no-engine.sock"}
    pillar = common.declaration(target, SUITES, names, container=no_engine)
    mirror = settings.load(pillar)["default"]
    for platform in mirror.platforms:
        directory = PlatformDirectory.of(mirror, platform.name)
        common.known_platform(directory, platform)
        common.fill(directory.public, WHEELS, ROOTS)
    result = sync.sync(mirror)
    if not result["result"]:
        sys.exit(json.dumps(result, indent=1))
    time.sleep(2.1)  # a younger directory is not trusted, and the verdict would not be remembered
    return pillar


if __name__ == "__main__":
    sys.exit(main())
