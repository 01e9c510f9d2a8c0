"""The library as a whole, as Salt's loader has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pipmirror_lib

AFTER_A_SYNC = """
import pipmirror_lib
from pipmirror_lib import moments
open(moments.__file__, "a").write("NEW = True\\n")
pipmirror_lib.renew()
from pipmirror_lib import moments
assert moments.NEW
import pipmirror_lib
assert pipmirror_lib.STAMP == pipmirror_lib.stamp()
pipmirror_lib.renew()
from pipmirror_lib import moments as same
assert same is moments
"""


def test_what_was_synced_anew_is_imported_anew(tmp_path: Path) -> None:
    here = Path(pipmirror_lib.__file__).parent
    (tmp_path / here.name).mkdir()
    for path in here.glob("*.py"):
        (tmp_path / here.name / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-B", "-c", AFTER_A_SYNC]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_lacking() -> None:
    assert pipmirror_lib.lacking(["json", "packaging"]) == ""
    wanted = "Python packages are missing: no_such_one; apply the state pipmirror.python"
    assert pipmirror_lib.lacking(["json", "no_such_one"]) == wanted
