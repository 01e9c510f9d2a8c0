"""A socket between us and a real container engine that gives odd answers to chosen requests.

with OddEngine(tmp_path, {"GET /images/.*/json": Odd(b"no JSON")}) as odd:
    Engine.connect(odd.url).image("debian:bookworm")
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REAL = "/var/run/docker.sock"


@dataclass
class Odd:
    """What is answered instead: a body of that status, of which so much is `lacking` when the connection is closed.

    Without a body, nothing is answered: at once, or (`silent`) until the end of the test. `after` lets so many pass,
    and `asks` still has the engine do what it was asked for, which is the worse lie.
    """

    body: bytes | None = None
    status: int = 200
    lacking: int = 0
    silent: bool = False
    after: int = 0
    asks: bool = False


class OddEngine:
    """`odd` by patterns of "METHOD /path", without the version that the API's paths begin with."""

    def __init__(self, odd: Mapping[str, Odd]) -> None:
        self.odd = dict(odd)
        self.seen: list[str] = []
        self.stopping = threading.Event()

    def __enter__(self) -> OddEngine:
        self._directory = Path(tempfile.mkdtemp())  # the paths of sockets are short
        path = self._directory / "engine.sock"
        self.url = f"unix://{path}"
        self._server = _Server(str(path), _Handler)
        self._server.odd_engine = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._directory)

    def answer_to(self, request: str) -> Odd | None:
        self.seen.append(request)
        for pattern, odd in self.odd.items():
            if re.fullmatch(pattern, request):
                odd.after -= 1
                return odd if odd.after < 0 else None
        return None


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    odd_engine: OddEngine


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    rbufsize = 0  # what comes after the head is for the engine

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            head = b"".join(self._head())
            if not head:
                return
            method, target = head.decode("latin-1").split(" ")[:2]
            odd = self.server.odd_engine.answer_to(f"{method} {re.sub(r'^/v[0-9.]+', '', target).partition('?')[0]}")
            if odd is None or odd.asks:
                self._forward(head, deaf=odd is not None)
            if odd:
                self._answer(odd)

    def _head(self) -> Iterator[bytes]:
        """The request's, made the only one of its connection, so that each is looked at."""
        for line in self.rfile:
            if line in (b"\r\n", b"\n"):
                return
            if not line.lower().startswith(b"connection: keep-alive"):
                yield line

    def _answer(self, odd: Odd) -> None:
        if odd.body is None:
            if odd.silent:
                self.server.odd_engine.stopping.wait(120)
            return
        head = f"HTTP/1.1 {odd.status} odd\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.wfile.write(f"{head}Content-Length: {len(odd.body) + odd.lacking}\r\n\r\n".encode() + odd.body)

    def _forward(self, head: bytes, deaf: bool) -> None:
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(REAL)
            upgrade = b"" if b"upgrade" in head.lower() else b"Connection: close\r\n"
            real.sendall(head + upgrade + b"\r\n")
            asking = threading.Thread(target=self._ask, args=(real,), daemon=True)
            asking.start()
            while chunk := real.recv(1 << 16):
                if not deaf:
                    self.wfile.write(chunk)

    def _ask(self, real: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := self.request.recv(1 << 16):
                real.sendall(chunk)
