"""What keeps unit tests apart from other processes of this machine."""

from __future__ import annotations

import pytest
from pipmirror_lib import locks


@pytest.fixture(autouse=True)
def _machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of the machine that no other test run knows, and no long waits for them."""
    monkeypatch.setattr(locks, "_RUN", tmp_path_factory.getbasetemp())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.getbasetemp()))
    monkeypatch.setattr(locks, "POLL", 0.01)
