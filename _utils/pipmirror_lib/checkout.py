"""Source trees from git repositories. git is a program of the host; nothing of the repository runs here.

No hooks, no filters, no configuration of the user's, no other protocol than declared; credentials are told to git
through its environment, for the declared host alone.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.logs import short
from pipmirror_lib.mirror import discard
from pipmirror_lib.pages import bare
from pipmirror_lib.references import DirectReference
from pipmirror_lib.settings import Index

MEMBERS, LARGEST = 200_000, 4 << 30
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$PIPMIRROR_USER" "$PIPMIRROR_PASSWORD"; }; f'
)
_INHERITED = ("PATH", "HOME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy")
# ulimit counts blocks of 512 bytes: a pack is one file, and stops growing there.
_BOUNDED = ("sh", "-c", f'ulimit -f {LARGEST >> 9}; exec "$@"', "sh")


@dataclass(frozen=True)
class Repository:
    """A repository as a reference names it, and how the settings reach it (timeout in seconds, for each step)."""

    reference: DirectReference
    settings: Index
    timeout: int

    def commit(self) -> str:
        """What the branch or tag is now; '' for what the server does not list, such as an abbreviated commit."""
        ref = self.reference.ref
        names = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref] if ref else ["HEAD"]
        listed = self._git("ls-remote", "--", self.reference.address, *names).splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed)}
        return next((found[name] for name in names if name in found), "")

    def fetch(self, archive: Path) -> str:
        """Write the tree with its history (versions are read from tags) as one archive; returns the commit."""
        with _directory(archive.parent) as tree:
            clone = ("clone", "-q", "--no-checkout", "--filter=blob:none", "--template=")
            self._git(*clone, "--", self.reference.address, str(tree))
            commit = self._resolve(tree)
            self._refuse_bombs(tree, commit)
            self._git("checkout", "-q", "--detach", commit, where=tree)
            if (tree / ".gitmodules").is_file():
                self._git("submodule", "update", "-q", "--init", "--recursive", where=tree)
            when = int(self._git("log", "-1", "--format=%ct", commit, where=tree).strip() or 0)
            _pack(tree, archive, when)
        return commit

    def _resolve(self, tree: Path) -> str:
        """As pip: a branch before a tag before a commit; what a clone does not bring is asked for by name."""
        ref = self.reference.ref
        names = [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref] if ref else ["HEAD"]
        if commit := self._parse(tree, names):
            return commit
        try:
            self._git("fetch", "-q", "--filter=blob:none", "--", self.reference.address, ref, where=tree)
        except PackageIndexError as error:
            raise PackageIndexError(f"{self.reference}: the repository has no {ref}: {error}") from error
        return self._parse(tree, ["FETCH_HEAD"])

    def _parse(self, tree: Path, names: list[str]) -> str:
        for name in names:
            command = ("rev-parse", "-q", "--verify", "--end-of-options", f"{name}^{{commit}}")
            commit = self._git(*command, where=tree, fails=True).strip().rpartition("\n")[2]
            if _COMMIT.fullmatch(commit):
                return commit
        return ""

    def _refuse_bombs(self, tree: Path, commit: str) -> None:
        """A few nested trees that name each other can unpack to more files than any disk holds."""
        command = self._command("ls-tree", "-r", "-z", "--name-only", commit, where=tree)
        members = 0
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=self._environment(), stdin=subprocess.DEVNULL
        ) as git:
            while members <= MEMBERS and git.stdout and (chunk := git.stdout.read(1 << 16)):
                members += chunk.count(b"\0")
            if members > MEMBERS:
                git.kill()
        if members > MEMBERS:
            raise PackageIndexError(f"{self.reference}: holds more than {MEMBERS} files; it cannot be built here")

    # -- the program -----------------------------------------------------------------------------------------

    def _git(self, *arguments: str, where: Path | None = None, fails: bool = False) -> str:
        command = self._command(*arguments, where=where)
        if shutil.which("git") is None:
            raise PackageIndexError(f"{self.reference}: the program git is missing on this machine; install it")
        try:
            done = subprocess.run(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PackageIndexError(f"{self.reference}: git did not end within {self.timeout} s") from error
        if done.returncode and not fails:
            raise PackageIndexError(f"{self.reference}: {self._reason(done.stderr)}")
        return done.stdout.decode("utf-8", "replace")

    def _command(self, *arguments: str, where: Path | None) -> list[str]:
        place = ["-C", str(where)] if where else []
        options = [word for option in self._options() for word in ("-c", option)]
        return [*_BOUNDED, "git", *options, *place, *arguments]

    def _options(self) -> Iterator[str]:
        parts = urlsplit(self.reference.address)
        origin = f"{parts.scheme}://{parts.netloc}"
        yield from (f"core.hooksPath={os.devnull}", "core.fsmonitor=false")
        if self.reference.credentials:
            # The helper has no secret in itself, and is asked for this origin only, also where the server sends us on.
            yield f"credential.{origin}.helper={_HELPER}"
        if parts.hostname in self.settings.trusted_hosts:
            yield f"http.{origin}/.sslVerify=false"

    def _environment(self) -> dict[str, str]:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        own = {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ALLOW_PROTOCOL": "https:http:ssh",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        }
        if self.settings.proxy:
            own.update(dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), self.settings.proxy))
        bundles = (self.settings.ca_cert, *(os.environ.get(n, "") for n in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")))
        if bundle := next(filter(None, bundles), ""):
            own["GIT_SSL_CAINFO"] = bundle
        secrets = zip(("PIPMIRROR_USER", "PIPMIRROR_PASSWORD"), self.reference.credentials or (), strict=False)
        return {**environment, **own, **dict(secrets)}

    def _reason(self, output: bytes) -> str:
        """git's own word, on one line."""
        lines = output.decode("utf-8", "replace").splitlines()
        said = next(
            (line for line in lines if line.startswith(("fatal:", "error:", "remote:"))), lines[-1] if lines else ""
        )
        said = re.sub(r"://[^/@\s]*@", "://", said)
        if "could not read" in said or "Authentication failed" in said:
            hint = "its credentials are refused" if self.reference.credentials else "it wants credentials"
            return f"{bare(self.reference.address)} refuses us: {hint} (git+https://USER:PASSWORD@…)"
        return f"git: {short(said)}"


@contextmanager
def _directory(parent: Path) -> Iterator[Path]:
    """A place for a tree that strangers have made; gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="tree-", dir=parent))
    try:
        yield place / "tree"
    finally:
        discard(place)


def _pack(tree: Path, archive: Path, when: int) -> None:
    """The tree as TOP/…, with git's own directory, from which tools read the version. Links stay links."""
    shutil.rmtree(tree / ".git" / "hooks", ignore_errors=True)

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = when
        return member

    top = hashlib.sha256(str(tree).encode()).hexdigest()[:12]
    with (
        gzip.GzipFile(archive, "wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        tar.add(tree, arcname=top, filter=plain)
