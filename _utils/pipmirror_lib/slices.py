"""The files of a JSON page, each left as it is written until somebody looks at it.

A decision looks at a few files of pages that have thousands. To make objects of all of them takes longer than to
fetch the pages, and most of the memory of a run.

https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

import json
import re
from typing import Any

_FILES = re.compile(r'"files"\s*:\s*\[\s*(?=\{)')
_BETWEEN = re.compile(r"\}\s*,\s*\{")
_NAME = re.compile(r'"filename"\s*:\s*"')
_MOST_AROUND = 1 << 20


def sliced(content: bytes) -> dict[str, str] | None:
    """{file: the object as it is written}; None for a page that must be read as a whole to tell.

    What is between two files is looked for without reading what stands before, so it may be found within a file: in a
    text, or between objects in it. Then one of the parts has no name, and the page is none for this.
    """
    try:
        page = content.decode()
        head = _FILES.search(page)
        if head is None:
            return None
        between = _BETWEEN.search(page, head.end())
        body = page[head.end() + 1 :]
        parts = body.split(between[0]) if between else [body]
        parts[-1], tail = _parted(parts[-1])
        around = page[: head.end()] + tail
        if len(around) > _MOST_AROUND or json.loads(around)["files"] != [] or '"files"' in tail:
            return None
        return _named(parts)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _parted(last: str) -> tuple[str, str]:
    """The last file, and what follows it."""
    if len(last) > _MOST_AROUND:
        raise ValueError("it is not looked into before somebody has counted what it is made of")
    end = json.JSONDecoder().raw_decode("{" + last)[1] - 1
    return last[: end - 1], last[end:]


def _named(parts: list[str]) -> dict[str, str] | None:
    """Each part by its name; None where one has none, or more than one, or one that is not written plainly."""
    # Within a text every quote has a backslash before it, so this is a key wherever it stands.
    if not (written := _NAME.search(parts[0])):
        return None
    key, length, found = written[0], len(written[0]), {}
    for part in parts:
        begin = part.find(key) + length
        end = part.find('"', begin)
        name = part[begin:end]
        if begin < length or end < 0 or "\\" in name or part.find(key, end) >= 0:
            return None
        found[name] = part
    return found if len(found) == len(parts) else None


def whole(name: str, part: str) -> dict[str, Any]:
    """The file that is written there; ValueError where that is no object with this name."""
    found = json.loads("{" + part + "}")
    if not isinstance(found, dict) or found.get("filename") != name:
        raise ValueError(f"the file {name} is not written as one object")
    return found
