"""The certificates that servers are judged by, read once for all connections of a run."""

from __future__ import annotations

import os
import ssl
import threading
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util.ssl_ import create_urllib3_context

from pipmirror_lib import deadlines


class Adapter(deadlines.Adapter):
    """requests reads a bundle of 150 certificates for each connection, which takes longer than most pages do.

    Only connections that verify, and go straight to their server, share what was read: one that does not verify
    would turn that off for the others. requests before 2.32 never asks here, and is slower.
    """

    def __init__(self, connections: int) -> None:
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        super().__init__(connections)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        bundle = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
        direct = request.url.lower().startswith("https:") and not select_proxy(request.url, proxies)
        if not (verify and direct and os.path.exists(bundle)):
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        host, _ = self.build_connection_pool_key_attributes(request, True)
        pool = {"cert_reqs": "CERT_REQUIRED", "ssl_context": self.context(bundle)}
        return self.poolmanager.connection_from_host(**host, pool_kwargs=pool)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        if "ssl_context" not in conn.conn_kw:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def context(self, bundle: str) -> ssl.SSLContext:
        """What trusts the certificates of a file or a directory; OSError, or its ssl.SSLError, where there are none."""
        with self._lock:
            if bundle not in self._contexts:
                context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
                context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
                self._contexts[bundle] = context
            return self._contexts[bundle]
