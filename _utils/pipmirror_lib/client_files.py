"""The files in which pip and uv look for the configuration of a whole machine, and our lines in them.

Our options stand in a block between two comments. An administrator's own option of the same name is kept as a comment
behind a mark, and comes back when ours goes. https://pip.pypa.io/en/stable/topics/configuration/ and
https://docs.astral.sh/uv/concepts/configuration-files/
"""

from __future__ import annotations

import configparser
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipmirror_lib.errors import MirrorError

BEGIN, END = "# pipmirror begins: Salt writes these lines (pipmirror_client)", "# pipmirror ends"
SET_ASIDE = "# pipmirror set aside: "
_BOM = "\ufeff"
# No other character ends a line in these files, whatever `str.splitlines` says.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADER = re.compile(r"\[(.+)\]")
_TABLE = re.compile(r"\s*\[\[?([^\]]*)")
_PART = r"(?:\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)"
_KEY = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
# What may hold brackets that open nothing, the first that begins wins; long strings may end in a later line.
_QUOTED = re.compile(
    r'"""(?:.|\n)*?(?P<end>"""|\Z)'
    r"|'''(?:.|\n)*?(?P<also>'''|\Z)"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'|#[^\n]*"
)


def paths(kernel: str, environment: Mapping[str, str]) -> dict[str, Path]:
    """Where pip and uv look for the configuration of a whole machine; `kernel` is Salt's grain."""
    if kernel == "Windows":
        data = Path(environment.get("PROGRAMDATA") or "C:\\ProgramData")
        return {"pip": data / "pip" / "pip.ini", "uv": data / "uv" / "uv.toml"}
    pip = Path("/Library/Application Support/pip/pip.conf" if kernel == "Darwin" else "/etc/pip.conf")
    # uv reads the first that is there, and nothing of the others.
    return {"pip": pip, "uv": next(_of_uv(environment), Path("/etc/uv/uv.toml"))}


def unread(kernel: str, environment: Mapping[str, str]) -> list[Path]:
    """Where uv does not look any more since an administrator has written a file of his own; ours may stand there."""
    return [] if kernel == "Windows" else list(_of_uv(environment))[1:]


def _of_uv(environment: Mapping[str, str]) -> Iterator[Path]:
    folders = [*(environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), "/etc"]
    return (file for folder in folders if folder if (file := Path(folder, "uv", "uv.toml")).is_file())


@dataclass(frozen=True)
class _Statement:
    """Lines that belong together: an option (`name`), the head of a `section`, or a line that says nothing."""

    lines: list[str]
    name: str = ""
    section: str = ""


def pip_conf(text: str, options: Mapping[str, str]) -> str:
    """A pip.conf with these options in its [global] section; none leaves what stood there without us.

    Wherever else an option of that name stands, [install] say, pip would heed it more than ours: it is set aside too.
    So is one whose value is '' here, which is not written.
    """
    mark, text = _bom(text)
    own = list(_ini_statements(_restored(text)))
    if options:
        place = next((n for n, one in enumerate(own, 1) if one.section == "global"), None)
        own = list(_set_aside(own, options))
        if place is None:
            own.append(_block(options, text, head="[global]"))
        else:
            own.insert(place, _block(options, text, margin=_margin(own[place:])))
    return mark + _joined(own)


def uv_toml(text: str, options: Mapping[str, str]) -> str:
    """A uv.toml with these options at its top, before any table; none leaves what stood there without us.

    What `uv pip` would heed more than ours, in the table `pip`, is set aside as well.
    """
    mark, text = _bom(text)
    own = list(_toml_statements(_restored(text)))
    if options:
        own = [_block(options, text), *_set_aside(own, options)]
    return mark + _joined(own)


def _bom(text: str) -> tuple[str, str]:
    """Some editors of Windows begin a file with one; nothing may stand before it."""
    return (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)


def _joined(statements: Iterable[_Statement]) -> str:
    return "".join(line for one in statements for line in one.lines)


def _block(options: Mapping[str, str], text: str, *, head: str = "", margin: str = "") -> _Statement:
    """Our lines, which end as those of the file do."""
    end = "\r\n" if "\r\n" in text else "\n"
    told = [f"{margin}{name} = {value}" for name, value in options.items() if value]
    return _Statement([f"{line}{end}" for line in (BEGIN, *filter(None, [head]), *told, END)])


def _margin(following: Iterable[_Statement]) -> str:
    """How far in the next option or section begins: if ours were further out, pip would take it for a part of ours."""
    first = next((one.lines[0] for one in following if one.name or one.section), "")
    return first[: len(first) - len(first.lstrip())]


def _restored(text: str) -> list[str]:
    """Lines as they were without us, each with its end; ValueError where nobody can say which are ours."""
    lines: list[str] = []
    ours = False
    for line in _LINE.findall(text):
        plain = line.rstrip("\r\n")
        if plain in (BEGIN, END):
            if ours is (plain == BEGIN):
                raise ValueError(f"the lines {BEGIN!r} and {END!r} do not come in pairs")
            ours = not ours
        elif not ours:
            lines.append(line.removeprefix(SET_ASIDE) if line.endswith("\n") else f"{line.removeprefix(SET_ASIDE)}\n")
    if ours:
        raise ValueError(f"the line {END!r} is missing after {BEGIN!r}")
    return lines


def _set_aside(statements: Iterable[_Statement], options: Mapping[str, str]) -> Iterator[_Statement]:
    for one in statements:
        yield _Statement([f"{SET_ASIDE}{line}" for line in one.lines]) if one.name in options else one


def _ini_statements(lines: Iterable[str]) -> Iterator[_Statement]:
    """As Python's configparser divides them, with which pip reads.

    What is further in than an option goes on with it, whatever it looks like, also behind empty lines and comments.
    """
    current, waiting = _Statement([]), list[str]()
    for line in lines:
        if not line.strip() or line.lstrip()[0] in "#;":
            waiting.append(line)  # whose it is, only a later line tells
        elif current.name and _depth(line) > _depth(current.lines[0]):
            current.lines.extend([*waiting, line])
            waiting = []
        else:
            yield from (current, *(_Statement([one]) for one in waiting))
            current, waiting = _ini_statement(line), []
    yield from (current, *(_Statement([one]) for one in waiting))


def _ini_statement(line: str) -> _Statement:
    content = line.strip()
    if header := _HEADER.match(content):
        return _Statement([line], section=header[1])
    name = re.split("[=:]", content, maxsplit=1)[0].rstrip()
    return _Statement([line], name.lower().replace("_", "-").removeprefix("--"))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _toml_statements(lines: Iterable[str]) -> Iterator[_Statement]:
    table, own = "", list[str]()
    for line in lines:
        if not own and (found := _TABLE.match(line)):
            table = found[1].strip()
            yield _Statement([line], section=table)
            continue
        own.append(line)
        rest = _QUOTED.sub(_open_end, "".join(own))
        if sum(map(rest.count, "[{")) <= sum(map(rest.count, "]}")):
            yield _Statement(own, _toml_name(own[0], table))
            own = []
    yield _Statement(own)


def _toml_name(line: str, table: str) -> str:
    """The key of a statement, as at the top of the file; what stands there holds for the table `pip` too."""
    found = _KEY.match(line)
    if found is None:
        return ""
    parts = [part.strip("\"'") for part in re.findall(_PART, f"{table}.{found[1]}")]
    return ".".join(parts).removeprefix("pip.")


def _open_end(quoted: re.Match[str]) -> str:
    """Nothing, or what keeps the statement open where a long string has no end yet."""
    return "[" if "" in (quoted["end"], quoted["also"]) else ""


def check(tool: str, path: Path, text: str) -> None:
    """MirrorError where the tool itself would refuse such a file, whoever has written what is wrong with it."""
    try:
        if tool == "pip":
            configparser.RawConfigParser().read_string(text, str(path))
        elif sys.version_info >= (3, 11):  # an older Python has nothing of its own that reads TOML
            parser: Any = importlib.import_module("tomllib")
            parser.loads(text.removeprefix(_BOM))
    except (configparser.Error, ValueError) as error:
        raise MirrorError(f"{path}: {tool} cannot read it ({error}); correct it, and apply again") from error


def read(path: Path) -> str:
    """What a file says, with line ends as they are; nothing where there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise MirrorError(f"cannot read {path}: it is not UTF-8 ({error}); correct it, and apply again") from error
    except OSError as error:
        raise MirrorError(f"cannot read {path}: {error.strerror}") from error


def store(path: Path, content: str) -> None:
    """Write beside, then rename; a file that would say nothing goes. Mode and owner stay, and so does a link to it."""
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if not content.strip():
            path.unlink()
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            _fill(temporary, content, path)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MirrorError(f"cannot write {path}: {error.strerror}") from error


def _fill(temporary: Path, content: str, path: Path) -> None:
    temporary.write_text(content, encoding="utf-8", newline="")
    if not path.exists():
        temporary.chmod(0o644)
        return
    stat = path.stat()
    if hasattr(os, "chown"):
        os.chown(temporary, stat.st_uid, stat.st_gid)
    temporary.chmod(stat.st_mode & 0o7777)
