"""Where Salt finds our modules when this library was installed as an extension instead of synced."""

from __future__ import annotations

from pathlib import Path


def loader_paths() -> dict[str, list[str]]:
    """The answer to the entry point group `salt.loader`."""
    here = Path(__file__).parent
    return {
        "modules": [str(here / "salt_modules")],
        "output": [str(here / "salt_output")],
        "states": [str(here / "salt_states")],
    }
