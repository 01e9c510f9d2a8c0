"""A run that dies before any one of its steps on the file system."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest


class Killed(BaseException):
    """Nobody catches it, as nobody catches a SIGKILL."""


STEPS = ("replace", "fsync", "open", "chmod", "unlink", "link", "rmdir")


def kill_before(number: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Die before the step of that number; tells the steps that were taken."""
    taken: list[str] = []

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **keywords: Any) -> Any:
            if len(taken) == number:
                raise Killed(name)
            taken.append(name)
            return real(*arguments, **keywords)

        return step

    for name in STEPS:
        monkeypatch.setattr(os, name, dying(name, getattr(os, name)))
    return taken
