"""Whose process has ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pipmirror_lib import processes

from tests.support.leaks import until


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_nobody_has_buried_it() -> None:
    """A killed process stays, as a zombie, for as long as its parent does not ask about it."""
    code = "from pipmirror_lib import processes; print(processes.owner(), flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as child:
        assert child.stdout
        owner = child.stdout.readline().strip()
        assert not processes.is_gone(owner)
        child.kill()
        assert until(lambda: processes.is_gone(owner), 10)
