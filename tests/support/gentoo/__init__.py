"""Gentoo without Gentoo: packages and a mirror of ours, and an image with an `emerge` of ours.

No Gentoo image can be had where these tests run, so what they prove is how Portage is asked, and what is made of its
answers; not that Portage answers so. What the stand-ins do is what Portage's manual pages say.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import tarfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from pipmirror_lib import gentoo_plan, gentoo_settings, gentoo_sync

from tests.support.leaks import docker
from tests.support.network import bridge_address
from tests.support.salt import Answer, Minion, State
from tests.support.site import IMAGE

PROGRAMS = Path(__file__).parent


def content(name: str, size: int = 4096) -> bytes:
    """Always the same for a name."""
    return (hashlib.sha512(name.encode()).digest() * (size // 64 + 1))[:size]


def entry(name: str, data: bytes) -> str:
    sums = f"BLAKE2B {hashlib.blake2b(data).hexdigest()} SHA512 {hashlib.sha512(data).hexdigest()}"
    return f"DIST {name} {len(data)} {sums}\n"


def hashed(name: str) -> str:
    """Where GLEP 75 has a distfile."""
    return f"distfiles/{hashlib.blake2b(name.encode()).hexdigest()[:2]}/{name}"


def snapshot(days: int) -> str:
    return f"gentoo-{datetime.now(timezone.utc) - timedelta(days=days):%Y%m%d}.tar.gz"


@dataclass
class Upstream:
    """A mirror of Gentoo's: `files` by path are served, `stalled` ones never come to their end."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    tree: dict[str, bytes] = field(default_factory=dict)

    def package(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        depends: Sequence[str] = (),
        restrict: str = "",
        sources: str = "",
        unused: Mapping[str, bytes] | None = None,
        code: str = "",
    ) -> None:
        """A package with its distfiles on the mirror; `code` stands in its ebuild, `unused` behind a USE flag."""
        everything = {**files, **(unused or {})}
        self.files.update({f"distfiles/{name}": data for name, data in everything.items()})
        addresses = sources or " ".join(f"{self.url}/distfiles/{name}" for name in files)
        ebuild = [f'SRC_URI="{addresses}"', f'DEPEND="{" ".join(depends)}"', f'RESTRICT="{restrict}"', code]
        ebuild.append('SRC_URI_UNUSED="' + " ".join(f"{self.url}/distfiles/{name}" for name in unused or ()) + '"')
        self.tree[f"{name}/{name.split('/')[1]}-1.ebuild"] = "\n".join(ebuild).encode()
        self.tree[f"{name}/Manifest"] = "".join(entry(name, data) for name, data in everything.items()).encode()

    def release(self, days: int = 1) -> str:
        """The snapshot of so many days ago, with the tree as it is now."""
        name, archive = snapshot(days), io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for path, data in {**self.tree, "metadata/timestamp.x": b"0"}.items():
                member = tarfile.TarInfo(f"gentoo/{path}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        self.files[f"snapshots/{name}"] = archive.getvalue()
        self.files[f"snapshots/{name}.md5sum"] = (
            hashlib.md5(archive.getvalue()).hexdigest().encode() + b"  " + name.encode()
        )
        self.files[f"snapshots/{name}.gpgsig"] = b"a signature"
        return name

    def fetched(self) -> set[str]:
        """The distfiles that were asked for."""
        return {path.removeprefix("distfiles/") for path in self.asked if path.startswith("distfiles/")}


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, upstream: Upstream, *arguments: Any) -> None:
        self.upstream = upstream
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.upstream.asked.append(path)
        data = self.upstream.files.get(path)
        self.send_response(404 if data is None else 200)
        self.end_headers()
        self.wfile.write(b"" if data is None else data)
        if path in self.upstream.stalled:
            self.wfile.flush()
            threading.Event().wait(60)

    def log_message(self, *_: Any) -> None:
        """`asked` is the log."""


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """On this machine's address in the network that containers are in."""
    address, found = bridge_address(), Upstream()
    with http.server.ThreadingHTTPServer((address, 0), partial(_Handler, found)) as server:
        server.daemon_threads = True
        found.url = f"http://{address}:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


@contextlib.contextmanager
def image() -> Iterator[str]:
    """Debian with our programs by Portage's names; gone at the end."""
    name = f"pipmirror-tests-gentoo:{uuid.uuid4().hex[:8]}"
    container = docker(
        "create", IMAGE, "/bin/sh", "-c", "mkdir -p /etc/portage/sets /var/db/pkg/sys-apps/installed"
    ).strip()
    try:
        docker("start", "--attach", container)
        for program in ("emerge", "emerge-webrsync"):
            docker("cp", str(PROGRAMS / program), f"{container}:/usr/bin/{program}")
        docker("cp", str(PROGRAMS), f"{container}:/usr/lib/stand-in")
        docker("commit", container, name)
    finally:
        docker("rm", "-f", container)
    try:
        yield name
    finally:
        docker("rmi", "-f", name)


@dataclass
class GentooSite:
    """A minion with a Gentoo mirror; `settings` stand in pillar under `gentoo_mirror`."""

    directory: Path
    upstream: Upstream
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        self.target = self.directory / "mirror"
        own = {"target": str(self.target), "packages": ["app-misc/hello"], "mirrors": [self.upstream.url]}
        self.settings = {**own, "container": {"timeout": 60}, **self.settings}
        self.minion = Minion(self.directory / "minion")
        self.minion.extra_pillar["gentoo_mirror"] = self.settings

    def apply(self, **options: Any) -> tuple[State, Answer]:
        """`state.apply gentoo-mirror`: (its one state that matters, all)."""
        answer = self.minion.call("state.apply", "gentoo-mirror", **options)
        return answer.states["gentoo-mirror"], answer

    def call(self, function: str, **arguments: Any) -> Answer:
        return self.minion.call(f"gentoo_mirror.{function}", **arguments)

    def sync(self, **arguments: Any) -> dict[str, Any]:
        """What `gentoo_mirror.sync` calls, in this process: it takes less time than Salt does."""
        return gentoo_sync.sync(self.mirror(**arguments), lambda step: None)

    def plan(self) -> dict[str, Any]:
        return gentoo_plan.report(self.mirror())

    def mirror(self, **arguments: Any) -> gentoo_settings.GentooMirror:
        return gentoo_settings.load(self.settings, None, arguments)

    def without_engine(self) -> None:
        """From now on nobody can reach one."""
        self.settings["container"] = {**self.settings["container"], "engine_url": "unix:///nonexistent"}

    @property
    def private(self) -> Path:
        return self.target / ".gentoo-mirror"

    @property
    def recorded(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.private / "state.json").read_text())
        return found

    def distfiles(self) -> set[str]:
        return {path.name for path in (self.target / "distfiles").glob("*/*")}

    def log(self, name: str) -> str:
        return (self.private / "logs" / f"{name}.log").read_text()

    def check(self) -> None:
        """Readers see nothing but whole files, in their places, and no staging is left."""
        for path in (self.target / "distfiles").glob("*/*"):
            assert str(path.relative_to(self.target)) == hashed(path.name)
            assert path.read_bytes() == self.upstream.files[f"distfiles/{path.name}"]
            assert not path.is_symlink()
        assert (self.target / "distfiles" / "layout.conf").read_text() == "[structure]\n0=filename-hash BLAKE2B 8\n"
        seen = {path.name for path in self.target.iterdir()}
        assert seen == {"distfiles", "snapshots", ".gentoo-mirror"}
        assert list((self.private / "incoming").iterdir()) == []
        assert list((self.private / "work").iterdir()) == []


def installed(tree: Mapping[str, bytes], directory: Path) -> Path:
    """A tree on this machine."""
    for path, data in tree.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory
