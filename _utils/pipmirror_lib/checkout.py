"""Source trees from git repositories. git is a program of the host; nothing of the repository runs here.

No hooks, no filters, no configuration of the user's, no other protocol than declared. Credentials are told to git when
it asks for those of the declared host, and stand neither on its command line nor in its environment. Time, bytes and
files are bounded, whatever git does with them.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote, urlsplit

from pipmirror_lib import children
from pipmirror_lib.connections import CA_VARIABLES
from pipmirror_lib.credentials import Pair, is_trusted, split
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.logs import short
from pipmirror_lib.mirror import discard
from pipmirror_lib.pages import bare
from pipmirror_lib.references import COMMIT, DirectReference
from pipmirror_lib.settings import Index
from pipmirror_lib.trees import TooDeep, walk

# What a build would refuse to unpack as well.
MEMBERS, LARGEST, DEEPEST = 200_000, 4 << 30, 200
LOOK = 0.5  # seconds
_HELPER = '!f() {{ test "$1" = get && cat "{path}"; }}; f'
_PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
_PROTOCOLS = {"https": "https", "http": "http:https", "ssh": "ssh:https"}


@dataclass(frozen=True)
class Repository:
    """A repository as a reference names it, and how the settings reach it (timeout in seconds, for all of it)."""

    reference: DirectReference
    settings: Index
    timeout: int

    def commit(self) -> str:
        """What the branch or tag is now; '' for what the server does not list, such as an abbreviated commit."""
        ref = self.reference.ref
        names = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref] if ref else ["HEAD"]
        listed = _Git(self).run("ls-remote", "--", self.reference.address, *names).splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed)}
        return next((found[name] for name in names if name in found), "")

    def fetch(self, archive: Path) -> str:
        """Write the tree with its history (versions are read from tags) as one archive; returns the commit."""
        with _directory(archive.parent) as tree:
            git = _Git(self, tree)
            clone = ("clone", "-q", "--no-checkout", "--filter=blob:none", "--template=")
            git.run(*clone, "--", self.reference.address, str(tree), inside=False)
            commit = self._resolve(git)
            git.run("checkout", "-q", "--detach", commit)
            if (tree / ".gitmodules").is_file():
                # Strangers say where these lie: no key and no password of this machine goes there.
                git.run("submodule", "update", "-q", "--init", "--recursive", trusted=False)
            when = int(git.run("log", "-1", "--format=%ct", commit).strip() or 0)
            try:
                _pack(tree, archive, when)
            except OSError as error:
                raise PackageIndexError(f"{self.reference}: cannot be packed: {error.strerror}") from error
            except ValueError as error:
                raise PackageIndexError(f"{self.reference}: {error}") from error
        return commit

    def _resolve(self, git: _Git) -> str:
        """As pip: a branch before a tag before a commit; what a clone does not bring is asked for by name.

        A whole commit is nothing else, whatever branches are called.
        """
        ref = self.reference.ref
        names = [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref] if ref else ["HEAD"]
        whole = bool(COMMIT.fullmatch(ref))
        commit = git.parse([ref] if whole else names)
        if not commit:
            try:
                git.run("fetch", "-q", "--filter=blob:none", "--", self.reference.address, ref)
            except PackageIndexError as error:
                raise PackageIndexError(f"{self.reference}: the repository has no {ref}: {error}") from error
            commit = git.parse(["FETCH_HEAD"])
        if not commit or (whole and commit != ref):
            raise PackageIndexError(f"{self.reference}: the repository has no {ref or 'HEAD'}")
        return commit


class _Git:
    """The program, with an end in sight: it and its children are stopped when time, disk or files run out."""

    def __init__(self, repository: Repository, tree: Path | None = None) -> None:
        self._reference, self._settings = repository.reference, repository.settings
        self._timeout = repository.timeout
        self._deadline = time.monotonic() + repository.timeout
        self._tree = tree

    def parse(self, names: list[str]) -> str:
        for name in names:
            command = ("rev-parse", "-q", "--verify", "--end-of-options", f"{name}^{{commit}}")
            commit = self.run(*command, fails=True).strip().rpartition("\n")[2]
            if COMMIT.fullmatch(commit):
                return commit
        return ""

    def run(self, *arguments: str, inside: bool = True, trusted: bool = True, fails: bool = False) -> str:
        """What it prints; `inside` the tree, if there is one; `trusted` to use keys and the reference's password."""
        if shutil.which("git") is None:
            raise PackageIndexError(f"{self._reference}: the program git is missing on this machine; install it")
        place = ["-C", str(self._tree)] if inside and self._tree else []
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, ExitStack() as kept:
            secrets = {origin: kept.enter_context(_readable(text)) for origin, text in self._secrets(trusted)}
            options = [word for option in self._options(secrets) for word in ("-c", option)]
            git = subprocess.Popen(
                children.dying(["git", *options, *place, *arguments]),
                env=self._environment() if trusted else self._without_keys(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                pass_fds=[secret.fileno() for secret in secrets.values()],
                start_new_session=True,  # so that its children can be stopped with it
            )
            try:
                self._watch(git)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(git.pid, signal.SIGKILL)
                git.wait()
            for stream in (output, errors):
                stream.seek(0)
            if git.returncode and not fails:
                raise PackageIndexError(f"{self._reference}: {self._reason(errors.read(1 << 16), trusted)}")
            return output.read(1 << 20).decode("utf-8", "replace")

    def _watch(self, git: subprocess.Popen[bytes]) -> None:
        while True:
            with suppress(subprocess.TimeoutExpired):
                git.wait(timeout=LOOK)
                return
            if time.monotonic() > self._deadline:
                raise PackageIndexError(
                    f"{self._reference}: git did not end within {self._timeout} s (container:timeout)"
                )
            if fault := _too_much(self._tree):
                raise PackageIndexError(f"{self._reference}: {fault}; it cannot be built here")

    def _secrets(self, trusted: bool) -> Iterator[tuple[str, str]]:
        """What git is told when it asks for an origin's credentials, in its own words."""
        parts = urlsplit(self._reference.address)
        if self._reference.credentials and trusted:
            yield f"{parts.scheme}://{parts.netloc}", _answer(self._reference.credentials)
        proxy, pair = split(self._proxy)
        if pair:
            yield proxy.rstrip("/"), _answer(pair)

    def _options(self, secrets: Mapping[str, IO[bytes]]) -> Iterator[str]:
        parts = urlsplit(self._reference.address)
        origin = f"{parts.scheme}://{parts.netloc}"
        yield from (f"core.hooksPath={os.devnull}", "core.fsmonitor=false", "gc.auto=0")
        for place, secret in secrets.items():
            # The helper has no secret in itself, and is asked for this origin only, also where the server sends us on.
            yield f"credential.{place}.helper={_HELPER.format(path=_path_of(secret))}"
        if is_trusted(origin, self._settings.trusted_hosts):
            yield f"http.{origin}/.sslVerify=false"

    @property
    def _proxy(self) -> str:
        proxy = self._settings.proxy
        return proxy if "://" in proxy or not proxy else f"http://{proxy}"

    def _environment(self) -> dict[str, str]:
        scheme = urlsplit(self._reference.address).scheme
        inherited = ("PATH", "HOME", *_PROXIES, *(("SSH_AUTH_SOCK",) if scheme == "ssh" else ()))
        environment = {name: os.environ[name] for name in inherited if name in os.environ}
        own = {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS[scheme],
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        }
        if self._proxy:
            # Its exceptions (no_proxy) are those from the environment's own; for the password git asks.
            environment = {name: value for name, value in environment.items() if name not in _PROXIES}
            place, pair = split(self._proxy)
            url = place.replace("://", f"://{quote(pair[0], safe='')}@", 1) if pair else place
            own.update(dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), url))
        bundles = (self._settings.ca_cert, *(os.environ.get(name, "") for name in CA_VARIABLES))
        if bundle := next(filter(None, bundles), ""):
            own["GIT_SSL_CAINFO"] = bundle
        return {**environment, **own}

    def _without_keys(self) -> dict[str, str]:
        environment = {**self._environment(), "HOME": os.devnull}
        environment.pop("SSH_AUTH_SOCK", None)
        environment["GIT_ALLOW_PROTOCOL"] = environment["GIT_ALLOW_PROTOCOL"].replace("ssh:", "")
        return environment

    def _reason(self, output: bytes, trusted: bool) -> str:
        """git's own word, on one line."""
        lines = output.decode("utf-8", "replace").splitlines()
        telling = (line for line in lines if line.startswith(("fatal:", "error:", "remote:")))
        said = re.sub(r"://[^/@\s]*@", "://", next(telling, lines[-1] if lines else ""))
        refused = "could not read" in said or "Authentication failed" in said
        if refused and not trusted:
            return "a submodule wants credentials, and no submodule gets any; strangers say where it lies"
        if refused:
            hint = "its credentials are refused" if self._reference.credentials else "it wants credentials"
            return f"{bare(self._reference.address)} refuses us: {hint} (git+https://USER:PASSWORD@…)"
        return f"git: {short(said)}"


def _answer(pair: Pair) -> str:
    """Lines, in which a line's end would begin another word of ours."""
    username, password = (text.partition("\n")[0] for text in pair)
    return f"username={username}\npassword={password}\n"


@contextmanager
def _readable(text: str) -> Iterator[IO[bytes]]:
    """A file for git's children alone: in memory where the system has that, and of no name there."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("pipmirror"), "w+b")
    else:
        file = cast("IO[bytes]", tempfile.NamedTemporaryFile())  # noqa: SIM115
    with file:
        file.write(text.encode())
        file.flush()
        yield file


def _path_of(file: IO[bytes]) -> str:
    """Where a child finds a file that it has inherited; it is opened anew, and read from its beginning."""
    return f"/dev/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)


@contextmanager
def _directory(parent: Path) -> Iterator[Path]:
    """A place for a tree that strangers have made; gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="tree-", dir=parent))
    try:
        yield place / "tree"
    finally:
        discard(place)


def _too_much(tree: Path | None) -> str:
    """Small repositories can unpack to anything: what of it is beyond bounds by now, or ''."""
    size = 0
    try:
        for number, entry in enumerate(walk(tree, DEEPEST) if tree else ()):
            size += entry.about.st_size
            if number > MEMBERS or size > LARGEST:
                return f"it unpacks to more than {MEMBERS} files or {LARGEST >> 20} MB"
    except TooDeep:
        return f"it nests more than {DEEPEST} directories"
    except FileNotFoundError:
        """git has not made it yet."""
    return ""


def _pack(tree: Path, archive: Path, when: int) -> None:
    """The tree as source/…, with git's own directory, from which tools read the version. Links stay links."""
    shutil.rmtree(tree / ".git" / "hooks", ignore_errors=True)
    if fault := _too_much(tree):
        raise ValueError(f"{fault}; it cannot be built here")
    names = sorted(entry.path for entry in walk(tree, DEEPEST))

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = when
        return member

    with (
        gzip.GzipFile(archive, "wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for name in names:
            tar.add(tree / name, arcname=f"source/{name}", recursive=False, filter=plain)
