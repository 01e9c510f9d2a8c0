"""The Ansible role's own declaration (debian:bullseye, ansible), run twice by the role's command and twice by us.

The role: `docker run IMAGE bash -c 'PRE_COMMAND && pip wheel -w /mnt/ ansible'`. We: `state.apply pipmirror` from
nothing (no builder image, no profile), and then once more.
"""

from __future__ import annotations

import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import common

IMAGE = "debian:bullseye"
NAME = IMAGE.replace(":", "-")
PROJECT = "ansible"


def main() -> int:
    options = common.arguments(__doc__, rounds=2).parse_args()
    runs: dict[str, dict[str, list[common.Sample]]] = {
        run: {"role": [], "ours": []} for run in ("first run", "second run")
    }
    for _ in range(options.rounds):
        with common.workspace() as work:
            contest: dict[str, Any] = {"role": partial(role, work / "role"), "ours": Ours(work)}
            try:
                for samples in runs.values():
                    for name, sample in common.interleaved(1, contest).items():
                        samples[name] += sample
            finally:
                contest["ours"].clean()
            print(f"wheels: role {count(work / 'role')}, ours {count(work / 'mirror' / NAME)}", file=sys.stderr)
    for run, samples in runs.items():
        common.compare(f"{IMAGE}, {PROJECT}: {run}", samples, "role", {})
    return 0


def role(place: Path) -> None:
    command = f"{common.INSTALL_PIP} && pip wheel -w /mnt/ {PROJECT}"
    common.docker_run(IMAGE, place, "bash", "-c", command)


class Ours:
    """`state.apply pipmirror` with a builder image that nobody has made yet."""

    def __init__(self, work: Path) -> None:
        self.command = f"{common.INSTALL_PIP}  # for pipmirror's benchmark {uuid.uuid4().hex}"
        declared = {
            "target": str(work / "mirror"),
            "packages": [PROJECT],
            "platforms": [{"image": IMAGE, "pre_command": self.command}],
        }
        self.salt = common.Salt(work, {"pipmirror": declared, "docker": {"managed": False}})

    def __call__(self) -> None:
        self.salt.call("state.apply", "pipmirror")

    def clean(self) -> None:
        common.remove_builder_images(self.command)


def count(place: Path) -> int:
    return len(list(place.glob("*.whl")))


if __name__ == "__main__":
    sys.exit(main())
