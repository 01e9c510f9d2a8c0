"""The Ansible role's own declaration (debian:bullseye, ansible), run twice by the role's command and twice by us.

The role: `docker run IMAGE bash -c 'PRE_COMMAND && pip wheel -w /mnt/ ansible'`. We: `state.apply pipmirror` from
nothing (no builder image, no profile), and then once more.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import common

IMAGE = "debian:bullseye"
NAME = IMAGE.replace(":", "-")
PROJECT = "ansible"


def main() -> int:
    options = common.arguments(__doc__, rounds=2).parse_args()
    runs: dict[str, list[common.Sample]] = {"first run": [], "second run": []}
    theirs: dict[str, list[common.Sample]] = {"first run": [], "second run": []}
    for _ in range(options.rounds):
        with common.workspace() as work:
            ours = Ours(work)
            try:
                contest = {"role": lambda place=work / "role": role(place), "ours": ours}
                for run, own in runs.items():
                    samples = common.interleaved(1, contest)
                    theirs[run] += samples["role"]
                    own += samples["ours"]
            finally:
                ours.clean()
            print(f"wheels: role {count(work / 'role')}, ours {count(work / 'mirror' / NAME)}", file=sys.stderr)
    for run, own in runs.items():
        common.compare(f"{IMAGE}, {PROJECT}: {run}", {"role": theirs[run], "ours": own}, "role", {})
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
