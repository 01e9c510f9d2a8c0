"""Scripts for the other side: the target's own interpreter runs them inside a container.

They are never imported here. Their Python may be as old as 3.6 and has nothing but its standard library (and,
where a script says so, its own pip), so they use neither this library nor newer syntax. `source` hands out
their text, which the builder puts into the container as a file.
"""

from __future__ import annotations

from pathlib import Path


def source(name: str) -> str:
    """The text of one script: build, confine, launch, profile or verify."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
