"""A server that says exactly what a test wants it to say, byte by byte, and for as long as anybody listens."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterable

Speech = Callable[[], Iterable[bytes]]


class Hostile:
    """Every request gets the same answer; `asked` counts them, `sent` the bytes of the last one."""

    def __init__(self, speech: Speech, *, drip: float = 0.0) -> None:
        self.asked = self.sent = 0
        self.stopped = threading.Event()
        hostile = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    while b"\r\n\r\n" not in self.request.recv(65536):
                        pass
                    hostile.asked, hostile.sent = hostile.asked + 1, 0
                    for piece in speech():
                        self.request.sendall(piece)
                        hostile.sent += len(piece)
                        if hostile.stopped.wait(drip) if drip else hostile.stopped.is_set():
                            return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Hostile:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/simple/"

    def listeners_gone(self) -> bool:
        """Whether nobody listens any more: what is sent stands still, once the system's buffers are full."""
        for _ in range(50):
            before = self.sent
            time.sleep(0.2)
            if self.sent == before:
                return True
        return False


def forever(piece: bytes, *first: bytes) -> Speech:
    def speak() -> Iterable[bytes]:
        yield from first
        while True:
            yield piece

    return speak


def once(*pieces: bytes) -> Speech:
    return lambda: pieces
