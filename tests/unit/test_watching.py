"""The tests of secrets would pass if they saw nothing: what they look with sees."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.watching import Secrets, Watcher

SECRETS = Secrets([("me", "hush/1")])


@pytest.mark.parametrize("text", ["x hush/1 x", "hush%2F1", base64.b64encode(b"me:hush/1").decode()])
def test_every_form_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"\0" + text.encode())
    (tmp_path / "empty").touch()
    (found,) = {line.partition(": ")[0] for line in SECRETS.below(tmp_path)}
    assert found == str(tmp_path / "below" / "file")


@pytest.mark.parametrize("where", ["environment", "command line"])
def test_a_child_that_has_it_is_seen(tmp_path: Path, where: str) -> None:
    environ = {**os.environ, "KEY": "hush/1"} if where == "environment" else dict(os.environ)
    words = ["hush/1"] if where == "command line" else []
    with Watcher(SECRETS, tmp_path) as watcher:
        child = subprocess.Popen(["sh", "-c", "read line", *words], stdin=subprocess.PIPE, env=environ)
        for _ in range(300):
            if watcher.faults:
                break
            time.sleep(0.05)
        child.communicate()
    assert any(where in fault for fault in watcher.faults)
