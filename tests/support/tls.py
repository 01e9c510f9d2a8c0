"""A private certificate authority, and servers' certificates of it: good, expired, for another name."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme


class Authority:
    """`bundle` is the file that clients trust."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        directory.mkdir(parents=True, exist_ok=True)
        self.bundle = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.bundle)

    def issue(self, directory: Path, *names: str) -> tuple[Path, Path]:
        """(certificate, key) of a server of these names, as files."""
        issued = self._ca.issue_cert(*names)
        certificate, key = directory / "server.pem", directory / "server.key"
        issued.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return certificate, key

    def context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """What a server of these names (localhost and its address, unless told) serves with."""
        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), not_after=past if expired else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        return context
