"""Pillar whose secrets Salt decrypts: a key of the test's own, and a minion that has it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.salt import Minion


@dataclass(frozen=True)
class Key:
    home: Path

    def encrypted(self, text: str) -> str:
        words = ("--trust-model", "always", "--armor", "--encrypt", "-r", "tests")
        return _gpg(self.home, *words, text=text)

    def within(self, value: Any, secrets: list[str]) -> Any:
        """The same pillar, with each string that holds a secret encrypted."""
        if isinstance(value, dict):
            return {key: self.within(item, secrets) for key, item in value.items()}
        if isinstance(value, list):
            return [self.within(item, secrets) for item in value]
        holds = isinstance(value, str) and any(secret in value for secret in secrets)
        return self.encrypted(value) if holds else value

    def signature(self, data: bytes) -> bytes:
        signed = self.home / "signed"
        signed.write_bytes(data)
        _gpg(self.home, "--detach-sign", "--output", f"{signed}.sig", str(signed))
        return Path(f"{signed}.sig").read_bytes()

    def exported(self) -> str:
        return _gpg(self.home, "--armor", "--export")


@contextmanager
def key(home: Path, user: str = "tests") -> Iterator[Key]:
    home.mkdir(parents=True, mode=0o700)
    _gpg(home, "--passphrase", "", "--quick-gen-key", user, "future-default", "default", "never")
    try:
        yield Key(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout=30, check=False)


def _gpg(home: Path, *words: str, text: str = "") -> str:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--yes", *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class SecretiveMinion(Minion):
    """Its declaration lies on disk without its secrets."""

    key: Key | None = None
    secrets: list[str] = field(default_factory=list)

    def configure(self) -> None:
        assert self.key
        self.options["gpg_keydir"] = str(self.key.home)
        super().configure()
        pillar = {**self.extra_pillar, "pipmirror": self.key.within(self.pillar, self.secrets)}
        (self.directory / "pillar" / "declared.sls").write_text("#!yaml|gpg\n" + json.dumps(pillar))
