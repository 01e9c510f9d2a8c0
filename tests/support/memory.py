"""How much memory a piece of our code takes, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pipmirror_lib

_MEASURED = """
import resource

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

{preparation}
before = peak()
{work}
print(peak() - before)
"""


def measured(preparation: str, work: str, *arguments: str) -> tuple[str, int]:
    """(what the work prints, megabytes that it takes beyond what is prepared); both see the arguments in sys.argv."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED.format(preparation=preparation, work=work), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(pipmirror_lib.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, peak = done.stdout.strip().rsplit("\n", 1)
    return said, int(peak)
