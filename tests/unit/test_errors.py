"""The kinds of failure."""

from __future__ import annotations

import inspect

import pytest
from pipmirror_lib import errors


def test_everything_has_one_root() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) >= 10
    assert all(issubclass(kind, errors.PipmirrorError) for kind in kinds)


def test_an_image_is_the_engines_affair() -> None:
    with pytest.raises(errors.EngineError):
        raise errors.ImageError("no such image")


def test_a_build_that_fails_is_no_faulty_wheel() -> None:
    """The one ends the decision, the other only discards a candidate."""
    assert not issubclass(errors.BuildError, errors.WheelError)


@pytest.mark.parametrize(("faults", "head"), [(["a"], "1 fault in"), (["a", "b"], "2 faults in")])
def test_all_faults_are_in_the_message(faults: list[str], head: str) -> None:
    error = errors.SettingsError(iter(faults))
    assert error.faults == tuple(faults)
    assert str(error).startswith(head)
    assert all(f"\n- {fault}" in str(error) for fault in faults)
