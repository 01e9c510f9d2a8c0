"""A proxy on the loopback: tunnels (CONNECT) and plain forwarding, for whoever knows its password."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """`log` has the first line of every request that was let through, `refused` of those that were not."""

    username: str = ""
    password: str = ""
    log: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __enter__(self) -> Proxy:
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            rbufsize = 0  # what follows the headers is read by others

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._serve(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """With what it wants to hear."""
        return f"http://{self.username}:{self.password}@{self.address}" if self.username else f"http://{self.address}"

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        line = handler.rfile.readline().decode("latin-1").strip()
        headers: list[str] = []
        while head := handler.rfile.readline().decode("latin-1").strip():
            headers.append(head)
        secret = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if self.username and f"Proxy-Authorization: Basic {secret}" not in headers:
            self.refused.append(line)
            answer = 'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\n\r\n'
            handler.wfile.write(answer.encode())
            return
        self.log.append(line)
        method, target, _ = line.split()
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as server:
            if method == "CONNECT":
                handler.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                kept = [text for text in headers if not text.lower().startswith(("proxy-", "connection:"))]
                path = parts._replace(scheme="", netloc="").geturl()
                said = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
                server.sendall("\r\n".join(said).encode("latin-1"))
            _join(handler.connection, server)


def _join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    ends = {one: other, other: one}
    while True:
        for ready in select.select(list(ends), [], [], 60)[0] or [one]:
            data = ready.recv(65536)
            if not data:
                return
            ends[ready].sendall(data)
