"""What Salt and pytest-salt-factories need from a test session; nothing of pipmirror's own."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

# First: other Salt modules import it, and it does not stand being reached through them.
import salt.utils.files  # noqa: F401

from tests.support.salt import Minion

# Salt collects what is logged before its own configuration is read; under pytest that moment never comes.
for _handler in [handler for handler in logging.root.handlers if type(handler).__module__.startswith("salt.")]:
    logging.root.removeHandler(_handler)

# Salt's import hook is of the kind that Python 3.4 deprecated; pytest asks every hook for `find_spec`.
sys.meta_path[:] = [hook for hook in sys.meta_path if hasattr(hook, "find_spec")]


# A shell starts what runs in the background deaf to both, and so would be all that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Without a root directory of its own, a daemon under test would write to the machine's."""
    return {"root_dir": str(tmp_path_factory.mktemp("salt")), "log_server_level": "warning"}


@pytest.fixture
def minion(tmp_path: Path) -> Minion:
    """A masterless minion of this test's own, with an empty pillar."""
    return Minion(tmp_path / "minion")
