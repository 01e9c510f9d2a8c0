"""The machine's own nginx with the site that `pipmirror.server` writes, and what was asked of it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from tests.support.salt import REPOSITORY
from tests.support.upstreams import free_port

SALT = REPOSITORY / "salt" / "pipmirror"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Asked(NamedTuple):
    """One line of the access log; `agent` is the name that the client gives itself, without its version."""

    path: str
    status: int
    agent: str
    sent: int


@dataclass
class WebServer:
    place: Path
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def asked(self) -> list[Asked]:
        """Everything since the last `forget`."""
        found = []
        for line in (self.place / "access.log").read_text().splitlines():
            said = json.loads(line)
            agent = str(said["agent"]).split("/")[0]
            found.append(Asked(str(said["uri"]), int(said["status"]), agent, int(said["sent"])))
        return found

    def forget(self) -> None:
        (self.place / "access.log").write_text("")


def site(target: Path, **settings: Any) -> str:
    """The site file, as the SLS renders it from these settings of `pipmirror_server`."""
    server = {**yaml.safe_load((SALT / "server.yaml").read_text()), "target": str(target), **settings}
    template = jinja2.Environment(autoescape=False).from_string((SALT / "nginx.conf.jinja").read_text())
    return template.render(server=server, htpasswd="", tls_port="443")


@contextlib.contextmanager
def serving(
    place: Path, target: Path, *, host: str = "127.0.0.1", more: str = "", workers: int = 1
) -> Iterator[WebServer]:
    """nginx on a free port, until the test is done with it; `more` are further servers of the same nginx."""
    place.mkdir(parents=True, exist_ok=True)
    server = WebServer(place, free_port(), host)
    temporary = "".join(f"{kind}_temp_path {place}/tmp;" for kind in _TEMPORARY)
    said = '{"uri":"$request_uri","status":$status,"agent":"$http_user_agent","sent":$body_bytes_sent}'
    (place / "site.conf").write_text(site(target, listen=[f"{host}:{server.port}"]))
    # As the SLS has it where the distribution has not.
    (place / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''} worker_processes {workers}; daemon off; pid {place}/pid;"
        f"pcre_jit on; error_log {place}/error.log; events {{}}\n"
        f"http {{ include /etc/nginx/mime.types; {temporary} log_format asked escape=json '{said}';"
        f"access_log {place}/access.log asked; include {place}/site.conf; {more} }}\n"
    )
    command = ["nginx", "-e", f"{place}/error.log", "-p", str(place), "-c", f"{place}/nginx.conf"]
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _wait(server, program)
        yield server
    finally:
        program.terminate()
        program.wait(timeout=30)


def _wait(server: WebServer, program: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert program.poll() is None, (server.place / "error.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection((server.host, server.port), timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError((server.place / "error.log").read_text())
