"""What the manifest and the journal must look like to be believed, after whatever has happened to the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipmirror_lib.errors import MirrorError, WheelError, why
from pipmirror_lib.wheels import parse_name

FORMAT = 1
Record = dict[str, Any]
_ANEW = "remove it and the wheels are recorded anew"
_ALWAYS: Mapping[str, type] = {"sha256": str, "origin": str, "size": int, "metadata_sha256": str, "admitted": str}
_MAYBE: Mapping[str, type] = {
    **dict.fromkeys(("url", "upload_time", "requires_python", "summary", "log", "replaced"), str),
    **dict.fromkeys(("direct", "build_requires"), list),
    "source": dict,
}


def manifest(path: Path) -> Record:
    """What is known of the wheels; MirrorError if it is there and cannot be understood."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"format": FORMAT, "wheels": {}}
    except OSError as error:
        raise MirrorError(f"cannot read {path}: {why(error)}") from error
    except (ValueError, RecursionError) as error:
        raise MirrorError(f"{path} is damaged ({error}); {_ANEW}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("wheels"), dict):
        raise MirrorError(f"{path} is of another format; {_ANEW}")
    for filename, record in data["wheels"].items():
        if fault := _fault(filename, record, _ALWAYS):
            raise MirrorError(f"{path} is damaged ({fault}); {_ANEW}")
    return data


def journal(path: Path) -> dict[str, Record]:
    """What a run has promised, by file name. It is replaced as a whole, so a part of one was never promised."""
    try:
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        promised = {str(entry["filename"]): entry["record"] for entry in entries}
        for filename, record in promised.items():
            parse_name(filename)
            if fault := _fault(filename, record, {"sha256": str}):
                raise ValueError(fault)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MirrorError(f"cannot read {path}: {why(error)}") from error
    except (ValueError, TypeError, LookupError, RecursionError, WheelError) as error:
        raise MirrorError(f"{path} is damaged ({error}); remove it and sync again") from error
    return promised


def _fault(filename: str, record: object, needed: Mapping[str, type]) -> str:
    """What is wrong with a record, or ''."""
    if not filename.endswith(".whl") or "/" in filename:
        return f"{filename!r} is no wheel's name"
    if not isinstance(record, dict):
        return f"{filename} has no record"
    for key, kind in {**_MAYBE, **needed}.items():
        absent = key not in record or (kind is str and record[key] is None)
        if key in needed if absent else not isinstance(record[key], kind):
            return f"{filename} has no proper {key}"
    return ""
