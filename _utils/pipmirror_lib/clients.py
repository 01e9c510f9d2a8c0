"""The system-wide configuration of pip and uv that points at a mirror; what else stands in those files stays.

Our options stand in a block between two comments. An administrator's own option of the same name is kept as a comment
behind a mark, and comes back when ours goes. https://pip.pypa.io/en/stable/topics/configuration/ and
https://docs.astral.sh/uv/concepts/configuration-files/
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipmirror_lib.errors import MirrorError, SettingsError
from pipmirror_lib.fields import Fields

BEGIN, END = "# pipmirror begins: Salt writes these lines (pipmirror_client)", "# pipmirror ends"
SET_ASIDE = "# pipmirror set aside: "
KEYS = ("absent", "platform", "platforms", "url", "find_links", "ca_cert", "trusted", "pip", "uv")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@~-]*(/[A-Za-z0-9_][A-Za-z0-9_.+@~-]*)*")
_SECTION = re.compile(r"\s*\[")
_GLOBAL = re.compile(r"\s*\[global\]\s*")
_OPTION = re.compile(r"([^\s#;:=\[][^:=]*?)\s*[:=]")
_KEY = re.compile(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([A-Za-z0-9_-]+))\s*=")
# What may hold brackets that open nothing, the first that begins wins; long strings may end in a later line.
_QUOTED = re.compile(
    r'"""(?:.|\n)*?(?P<end>"""|\Z)'
    r"|'''(?:.|\n)*?(?P<also>'''|\Z)"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'|#[^\n]*"
)


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


def load(values: object, default_platform: str) -> Client:
    """The pillar key `pipmirror_client` with its defaults; SettingsError with every fault."""
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
    _check(client, read)
    if faults:
        raise SettingsError(faults)
    return client


def _check(client: Client, read: Fields) -> None:
    if bool(client.url) == bool(client.find_links):
        read.fault("url", "name where the mirror is: either url (its web server) or find_links (a directory)")
    if client.url and not re.fullmatch(r"https?://[^\s\\\"'#?]+", client.url):
        read.fault("url", "must be a URL that starts with http:// or https://, without ? and #")
    if not _NAME.fullmatch(client.platform):
        read.fault("platform", f"{client.platform!r} is not the name of a platform")
    for key, path in (("find_links", client.find_links), ("ca_cert", client.ca_cert)):
        if path and (not os.path.isabs(path) or re.search(r"[\x00-\x1f\"]", path)):
            read.fault(key, f"{path!r} must be an absolute path")


def paths(kernel: str, environment: Mapping[str, str]) -> dict[str, Path]:
    """Where pip and uv look for the configuration of a whole machine; `kernel` is Salt's grain."""
    if kernel == "Windows":
        data = Path(environment.get("PROGRAMDATA") or "C:\\ProgramData")
        return {"pip": data / "pip" / "pip.ini", "uv": data / "uv" / "uv.toml"}
    pip = Path("/Library/Application Support/pip/pip.conf" if kernel == "Darwin" else "/etc/pip.conf")
    # uv reads the first that is there, and nothing of the others.
    folders = [*(environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), "/etc"]
    there = (file for folder in folders if folder if (file := Path(folder, "uv", "uv.toml")).is_file())
    return {"pip": pip, "uv": next(there, Path("/etc/uv/uv.toml"))}


def pip_options(client: Client) -> dict[str, str]:
    if client.find_links:
        return {"no-index": "true", "find-links": client.directory}
    # pip passes over an index on plain http unless its host is trusted.
    trusted = client.trusted or client.url.startswith("http://")
    options = {"index-url": client.index, "trusted-host": client.host if trusted else "", "cert": client.ca_cert}
    return {name: value for name, value in options.items() if value}


def uv_options(client: Client) -> dict[str, str]:
    """TOML values. uv takes certificates from the system's store only, where `ca_cert` then has to be as well."""
    if client.find_links:
        return {"no-index": "true", "find-links": f"[{_toml(client.directory)}]"}
    options = {"index-url": _toml(client.index)}
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


def pip_conf(text: str, options: Mapping[str, str]) -> str:
    """A pip.conf with these options in its [global] section; none leaves what stood there without us."""
    lines = _restored(text)
    if not options:
        return "".join(lines)
    place = next((number for number, line in enumerate(lines) if _GLOBAL.fullmatch(line)), None)
    if place is None:
        return "".join([*lines, *_block(options, "[global]\n")])
    end = next((n for n in range(place + 1, len(lines)) if _SECTION.match(lines[n])), len(lines))
    own = _set_aside(_ini_options(lines[place + 1 : end]), options, lambda name: name.lower().replace("_", "-"))
    return "".join([*lines[: place + 1], *_block(options), *own, *lines[end:]])


def uv_toml(text: str, options: Mapping[str, str]) -> str:
    """A uv.toml with these options at its top, before any table; none leaves what stood there without us."""
    lines = _restored(text)
    if not options:
        return "".join(lines)
    own = list(_toml_statements(lines))
    top = sum(len(statement) for _, statement in own)
    return "".join([*_block(options), *_set_aside(own, options, str), *lines[top:]])


def _block(options: Mapping[str, str], head: str = "") -> list[str]:
    return [f"{BEGIN}\n{head}", *(f"{name} = {value}\n" for name, value in options.items()), f"{END}\n"]


def _restored(text: str) -> list[str]:
    """Lines as they were without us, each with its end; ValueError where nobody can say which are ours."""
    lines: list[str] = []
    ours = False
    for line in text.splitlines():
        if line in (BEGIN, END):
            if ours is (line == BEGIN):
                raise ValueError(f"the lines {BEGIN!r} and {END!r} do not come in pairs")
            ours = not ours
        elif not ours:
            lines.append(line.removeprefix(SET_ASIDE) + "\n")
    if ours:
        raise ValueError(f"the line {END!r} is missing after {BEGIN!r}")
    return lines


def _set_aside(
    statements: Iterable[tuple[str, list[str]]], options: Mapping[str, str], named: Callable[[str], str]
) -> Iterator[str]:
    for name, lines in statements:
        mark = SET_ASIDE if named(name) in options else ""
        yield from (f"{mark}{line}" for line in lines)


def _ini_options(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """(name, its lines) of each option; what belongs to none has the name ''."""
    name, own = "", list[str]()
    for line in lines:
        continues = bool(name) and line[:1].isspace() and bool(line.strip())
        if not continues:
            if own:
                yield name, own
            found = _OPTION.match(line)
            name, own = found[1] if found else "", []
        own.append(line)
    if own:
        yield name, own


def _toml_statements(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """(key, its lines) of what stands before the first table."""
    own: list[str] = []
    for line in lines:
        if not own and _SECTION.match(line):
            return
        own.append(line)
        rest = _QUOTED.sub(_open_end, "".join(own))
        if sum(map(rest.count, "[{")) <= sum(map(rest.count, "]}")):
            found = _KEY.match(own[0])
            yield next(filter(None, found.groups())) if found else "", own
            own = []
    if own:
        yield "", own


def _open_end(quoted: re.Match[str]) -> str:
    """Nothing, or what keeps the statement open where a long string has no end yet."""
    return "[" if "" in (quoted["end"], quoted["also"]) else ""


_WRITERS = {"pip": (pip_conf, pip_options), "uv": (uv_toml, uv_options)}


def drift(client: Client | None, files: Mapping[str, Path]) -> dict[Path, tuple[str, str]]:
    """{file: (what it says, what it shall say)} where these differ; without a client, as it was without us."""
    found = {}
    for tool, path in files.items():
        write, options = _WRITERS[tool]
        wanted = client is not None and getattr(client, tool)
        old = _read(path)
        try:
            new = write(old, options(client) if client and wanted else {})
        except ValueError as error:
            raise MirrorError(f"{path}: {error}; remove what is not yours between them, and apply again") from error
        if new != old:
            found[path] = (old, new)
    return found


def store(path: Path, content: str) -> None:
    """Write beside, then rename; a file that would say nothing goes. Mode and owner stay."""
    try:
        if not content.strip():
            path.unlink()
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(content, encoding="utf-8")
        if path.exists():
            stat = path.stat()
            temporary.chmod(stat.st_mode & 0o7777)
            if hasattr(os, "chown"):
                os.chown(temporary, stat.st_uid, stat.st_gid)
        else:
            temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise MirrorError(f"cannot write {path}: {error.strerror}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise MirrorError(f"cannot read {path}: {error}") from error
