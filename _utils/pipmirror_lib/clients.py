"""Where a machine's pip and uv install from: the pillar key `pipmirror_client`, as options of these two tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipmirror_lib import client_files
from pipmirror_lib.errors import MirrorError, SettingsError
from pipmirror_lib.fields import Fields

KEYS = ("absent", "platform", "platforms", "url", "find_links", "ca_cert", "trusted", "pip", "uv")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@~-]*(/[A-Za-z0-9_][A-Za-z0-9_.+@~-]*)*")
# What would end a value in one of the files, or a line of it.
_UNFIT = re.compile(r"[\x00-\x1f\x7f\"]")


@dataclass(frozen=True)
class Client:
    """Where this machine installs from: an index below `url`, or a directory of wheels below `find_links`."""

    platform: str
    url: str = ""
    find_links: str = ""
    ca_cert: str = ""
    trusted: bool = False
    pip: bool = True
    uv: bool = True

    @property
    def index(self) -> str:
        return f"{self.url.rstrip('/')}/{self.platform}/simple/"

    @property
    def directory(self) -> str:
        return f"{self.find_links.rstrip('/')}/{self.platform}"

    @property
    def host(self) -> str:
        """With its port, as both tools compare it."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def load(values: object, default_platform: str) -> Client | None:
    """The pillar key `pipmirror_client`, None where it says `absent`; SettingsError with every fault."""
    faults: list[str] = []
    read = Fields(values, "pipmirror_client", faults)
    read.refuse_unknown(KEYS)
    known = Fields(read.values.get("platforms"), read.at("platforms"), faults)
    names = {key: known.text(key) for key in known.values}
    client = Client(
        platform=read.text("platform") or names.get(default_platform) or default_platform,
        url=read.text("url"),
        find_links=read.text("find_links"),
        ca_cert=read.text("ca_cert"),
        trusted=read.flag("trusted", False),
        pip=read.flag("pip", True),
        uv=read.flag("uv", True),
    )
    absent = read.flag("absent", False)
    if not absent:
        _check(client, read)
    if faults:
        raise SettingsError(faults)
    return None if absent else client


def _check(client: Client, read: Fields) -> None:
    if bool(client.url) == bool(client.find_links):
        read.fault("url", "name where the mirror is: either url (its web server) or find_links (a directory)")
    if client.url and not _is_url(client.url):
        read.fault("url", "must be a URL that starts with http:// or https:// and a host, without ? and #")
    if not _NAME.fullmatch(client.platform):
        read.fault("platform", f"{client.platform!r} is not the name of a platform")
    for key, path in (("find_links", client.find_links), ("ca_cert", client.ca_cert)):
        if path and (not os.path.isabs(path) or _UNFIT.search(path)):
            read.fault(key, f"{path!r} must be an absolute path")


def _is_url(text: str) -> bool:
    if not re.fullmatch(r"https?://[^\s\\'#?]+", text) or _UNFIT.search(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def pip_options(client: Client) -> dict[str, str]:
    """An option that is '' is not to be set at all: an administrator's own would keep pip from the mirror."""
    if client.find_links:
        # pip takes a space for the end of a path.
        place = Path(client.directory).as_uri() if re.search(r"\s", client.directory) else client.directory
        return {"no-index": "true", "find-links": place}
    # pip passes over an index on plain http unless its host is trusted.
    trusted = client.trusted or client.url.startswith("http://")
    options = {"index-url": client.index, "trusted-host": client.host if trusted else "", "cert": client.ca_cert}
    return {name: value for name, value in options.items() if value} | {"no-index": ""}


def uv_options(client: Client) -> dict[str, str]:
    """TOML values, or '' as above.

    uv takes certificates from the system's store only, where `ca_cert` then has to be as well.
    """
    if client.find_links:
        return {"no-index": "true", "find-links": f"[{_toml(client.directory)}]"}
    options = {"index-url": _toml(client.index), "no-index": ""}
    if client.trusted:
        options["allow-insecure-host"] = f"[{_toml(client.host)}]"
    if client.ca_cert:
        options["native-tls" if _is_old_uv() else "system-certs"] = "true"
    return options


def _is_old_uv() -> bool:
    """Whether the uv of this machine is older than 0.11, which brought the new name; each refuses names it lacks."""
    program = shutil.which("uv")
    if program is None:
        return False  # whoever installs one has a newer one
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.search(r"uv (\d+)\.(\d+)", done.stdout)
    return found is not None and (int(found[1]), int(found[2])) < (0, 11)


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_WRITERS = {"pip": (client_files.pip_conf, pip_options), "uv": (client_files.uv_toml, uv_options)}


def drift(client: Client | None, files: Mapping[str, Path]) -> dict[Path, tuple[str, str]]:
    """{file: (what it says, what it shall say)} where these differ; without a client, as it was without us."""
    found = {}
    for tool, path in files.items():
        write, options = _WRITERS[tool]
        own = options(client) if client and getattr(client, tool) else {}
        old = client_files.read(path)
        try:
            new = write(old, own)
        except ValueError as error:
            raise MirrorError(f"{path}: {error}; remove what is not yours between them, and apply again") from error
        if own:
            client_files.check(tool, path, new)
        if new != old:
            found[path] = (old, new)
    return found
