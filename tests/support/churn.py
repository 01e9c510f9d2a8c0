"""A mirror that never rests: versions of a platform come and go, published and pruned by a process of its own.

    python -m tests.support.churn DIRECTORY INDEX_URL

It declares now these versions, now those; what only the others needed is pruned at once. SIGTERM ends it.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from pipmirror_lib import sync

from tests.support.mirrors import declare

# `alpha` and some `beta` are always there.
TURNS = (["alpha", "beta==1.0", "gamma"], ["alpha", "beta==2.0"], ["alpha", "beta==3.0", "gamma"])


def main(directory: Path, url: str) -> None:
    for number, packages in enumerate(itertools.cycle(TURNS)):
        # The guards are for people: half of so few wheels go at a time.
        mirror = declare(directory, url, packages=packages, keep_days=0)
        for answer in (sync.sync(mirror), sync.prune(mirror, force=True)):
            if not answer["result"]:
                sys.exit(str(answer))
        (directory / "turns").write_text(str(number + 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
