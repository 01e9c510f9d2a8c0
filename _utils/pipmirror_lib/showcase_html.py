"""The pages for people, from the data that is published beside them; whole without a script.

Names, reasons and summaries are strangers' words: all of them are escaped, and nothing on the pages is inline, so that
a policy (and the one that our server sends) can forbid whatever would run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

Data = Mapping[str, Any]
# How a page of ours begins, and how a line of it that is one project.
GENERATOR = '<meta name="generator" content="pipmirror">'
PROJECT = '<details class="project" id="p-'
CSS_NAME, JS_NAME, DATA_NAME = "pipmirror.css", "pipmirror.js", "mirror.json"
_ORIGINS = {"index": "fetched", "built": "built here", "url": "fetched from a URL", "adopted": "lay there"}
# Beyond this a line tells how many more there are.
_VERSIONS, _RELATED = 3, 200
_COLUMNS = ("Platform", "State", "Wheels", "Size", "Python", "Last sync")


def platform_page(data: Data) -> tuple[str, str]:
    """What stands before and after the projects of one platform, each of which is a line that `project` makes."""
    name = data["platform"]
    body = [
        f'<nav aria-label="Pages"><a href="{"../" * (name.count("/") + 1)}">All platforms</a></nav>',
        f"<header><h1>{escape(name)}</h1> {_badge(data)}{_facts(data)}</header>",
        "<main>",
        _missing(data["missing"]),
        _install(),
        _sets(data["sets"]),
        '<section aria-labelledby="projects-title"><h2 id="projects-title">Projects</h2>',
        '<p class="search" hidden><label for="search">Search</label> <input type="search" id="search"'
        ' autocomplete="off" placeholder="name, version, summary, declared, built …" aria-describedby="found">'
        ' <span id="found" role="status"></span></p>',
        '<div id="projects">\n\0\n</div></section></main>',
        _footer(),
        '<dialog id="picture" aria-labelledby="picture-title"><div class="bar"><h2 id="picture-title"></h2>'
        '<button type="button" id="picture-back">Back</button><button type="button" id="picture-close">Close</button>'
        '</div><div id="drawing"></div><div id="related"></div></dialog>',
    ]
    before, _, after = _page(name, body, f'<script src="{JS_NAME}" defer></script>').partition("\0")
    return before, after


def root_page(platforms: Iterable[Data]) -> str:
    """All platforms of a mirror."""
    heads = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in _COLUMNS)
    rows = "".join(map(_row, platforms))
    table = (
        f'<table role="table"><thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table>'
    )
    wide = f'<div class="wide" role="region" aria-label="Platforms" tabindex="0">{table}</div>'
    title = "Python packages"
    note = "<p>Wheels, with all that they need, for each of these platforms. A page tells how to install from it.</p>"
    return _page(title, [f"<header><h1>{title}</h1>{note}</header>", f"<main>{wide}</main>", _footer()])


def _row(one: Data) -> str:
    """One platform; a narrow screen has it as a block, where only the roles still tell that it is a row."""
    values = (_badge(one), one["wheels"], size(one["bytes"]), escape(one["python"]), _moment(one["synced"]))
    cells = zip(_COLUMNS[1:], values, strict=True)
    told = "".join(f'<td role="cell" data-name="{name}">{value}</td>' for name, value in cells)
    return f'<tr role="row"><th scope="row" role="rowheader">{_link(one)}</th>{told}</tr>'


def _link(summary: Data) -> str:
    """A platform, with its page where there is one."""
    name = escape(summary["platform"])
    return f'<a href="{quote(summary["platform"])}/">{name}</a>' if summary["published"] else name


def project(data: Data) -> str:
    """One project as one line, so that it can be told from its neighbours."""
    name, files = escape(data["name"]), data["files"]
    versions = list(dict.fromkeys(escape(file["version"]) for file in files))
    more = f" and {len(versions) - _VERSIONS} more" if len(versions) > _VERSIONS else ""
    tags = "".join(f' <em class="tag">{tag}</em>' for tag in _tags(data))
    return (
        f'{PROJECT}{name}"><summary><b>{name}</b> <span>{", ".join(versions[:_VERSIONS])}{more}</span>{tags}'
        f" <i>{escape(data['summary'])}</i></summary>"
        f"{_relations(data)}<ul>{''.join(map(_file, files))}</ul></details>"
    )


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _page(title: str, body: Iterable[str], script: str = "") -> str:
    lines = "\n".join(part for part in body if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{GENERATOR}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{CSS_NAME}">{script}</head>\n'
        f"<body>\n{lines}\n</body></html>\n"
    )


def _footer() -> str:
    return f'<footer>The same as data: <a href="{DATA_NAME}">{DATA_NAME}</a></footer>'


def _badge(data: Data) -> str:
    good = data["satisfied"]
    return f'<span class="{"good" if good else "bad"}">{"satisfied" if good else "incomplete"}</span>'


def _moment(text: str) -> str:
    """A moment, as it is read by people and by programs."""
    return f'<time datetime="{escape(text)}">{escape(text[:16].replace("T", " "))} UTC</time>' if text else "never"


def _facts(data: Data) -> str:
    python = f"{escape(data['python'])}, pip {escape(data['pip'])}" if data["python"] else "not known yet"
    facts = {
        "Wheels": f"{data['wheels']} ({size(data['bytes'])}), {data['built']} of them built here",
        "Image": escape(data["image"]) or "none: the mirror's own machine",
        "Python": python,
        "Last sync": _moment(data["synced"]),
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items()) + "</dl>"


def _install() -> str:
    """Where this page lies only the browser knows; without a script the reader fills it in."""
    lines = (
        "pip install --index-url HERE/simple/ PROJECT",
        "uv pip install --default-index HERE/simple/ PROJECT",
        "wget -r -A whl -np -nd HERE/",
    )
    shown = "".join(f'<p class="copy"><code>{line}</code></p>' for line in lines)
    note = '<p class="plain">HERE is the address of this page.</p>'
    return f'<section aria-label="How to install">{shown}{note}</section>'


def _missing(missing: Mapping[str, str]) -> str:
    if not missing:
        return ""
    rows = "".join(f"<dt>{escape(wanted)}</dt><dd>{escape(why)}</dd>" for wanted, why in missing.items())
    return f'<section class="missing"><h2>Missing</h2><dl>{rows}</dl></section>'


def _sets(sets: Mapping[str, Iterable[str]]) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{', '.join(f'<code>{escape(text)}</code>' for text in wanted) or 'nothing'}</dd>"
        for name, wanted in sets.items()
    )
    return f'<details class="sets"><summary>What is declared</summary><dl>{rows}</dl></details>'


def _tags(data: Data) -> Iterable[str]:
    if data["declared"]:
        yield "declared"
    if any(file["origin"] == "built" for file in data["files"]):
        yield "built here"
    versions = dict.fromkeys(file["version"] for file in data["files"])
    good = {file["version"] for file in data["files"] if "yanked" not in file}
    if yanked := [version for version in versions if version not in good]:
        yield escape(f"{', '.join(yanked[:_VERSIONS])} yanked") if good else "yanked"
    if all(file["needed"] is False for file in data["files"]):
        yield "not needed"


def _relations(data: Data) -> str:
    parts = []
    if data["declared"]:
        parts.append(f"Declared as {', '.join(f'<code>{escape(text)}</code>' for text in data['declared'])}.")
    for key, text in (("wanted_by", "Needed by"), ("needs", "Needs")):
        if names := data[key]:
            links = ", ".join(f'<a href="#p-{escape(name)}">{escape(name)}</a>' for name in names[:_RELATED])
            more = f" and {len(names) - _RELATED} more" if len(names) > _RELATED else ""
            parts.append(f'<span class="{key}" data-count="{len(names)}">{text} {links}{more}.</span>')
    if not parts:
        known = all(file["needed"] is False for file in data["files"])
        parts.append("No set needs it." if known else "Who needs it, nobody can say while something is missing.")
    return f"<p>{' '.join(parts)}</p>"


def _file(file: Data) -> str:
    about = [size(file["size"]), _ORIGINS.get(file["origin"], escape(file["origin"]))]
    if file["uploaded"]:
        about.append(f"uploaded {escape(file['uploaded'][:10])}")
    if file["needed"] is False:
        about.append("needed by no set")
    if "yanked" in file:
        about.append(f"<strong>yanked{': ' + escape(file['yanked']) if file['yanked'] else ''}</strong>")
    name = file["filename"]
    return (
        f'<li><a href="{quote(name)}">{escape(name)}</a> {", ".join(about)}'
        f"<br>sha256 <code>{escape(file['sha256'])}</code></li>"
    )
