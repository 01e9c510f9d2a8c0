"""A requirement as an administrator declares it: a PEP 508 string or a URL, never an option and never a path.

https://packaging.python.org/en/latest/specifications/dependency-specifiers/
"""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.requirements import InvalidRequirement, Requirement

from pipmirror_lib.references import DirectReference

# What the Ansible role's users handed through to pip, and the setting that says the same here.
OPTIONS = {
    "--pre": "prereleases",
    "--no-binary": "no_binary",
    "--only-binary": "no_binary (leave it out: wheels are preferred anyway)",
    "-c": "constraints",
    "--constraint": "constraints",
    "--build-constraint": "build_constraints",
    "-r": "packages (list the file's lines)",
    "--requirement": "packages (list the file's lines)",
    "-i": "index:url",
    "--index-url": "index:url",
    "--extra-index-url": "index:extra_urls",
    "--trusted-host": "index:trusted_hosts",
    "--cert": "index:ca_cert",
    "--proxy": "index:proxy",
    "--retries": "index:retries",
    "--timeout": "index:timeout",
    "-U": "upgrade",
    "--upgrade": "upgrade",
}
_NEVER = {"\n": "a line break", "\r": "a line break", "\0": "a NUL", "\\": "a backslash", "${": "'${'"}
_LOCAL = re.compile(r"\.{0,2}/|~|file:|[A-Za-z]:\\", re.IGNORECASE)
_URL = re.compile(r"(git\+)?[a-z]+(\+[a-z]+)?://", re.IGNORECASE)


@lru_cache(maxsize=4096)
def parse(text: str) -> Requirement:
    """Read one declared requirement; ValueError says what is wrong with it and what to write instead."""
    text = text.strip()
    if not text:
        raise ValueError("is empty; remove it")
    shown = repr(_shown(text))
    if fault := _no_requirement(text):
        raise ValueError(f"{shown} {fault}")
    try:
        if _URL.match(text):
            return DirectReference(text, named=False)
        requirement = Requirement(text)
        return DirectReference(text, named=True) if requirement.url else requirement
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{shown} is not a valid requirement: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{shown} {error}") from error


def _no_requirement(text: str) -> str:
    """What else it is, and what to write instead; '' where it may be a requirement."""
    for bad, name in _NEVER.items():
        if bad in text:
            return f"holds {name}; write one PEP 508 requirement"
    option = re.search(r"(?:^|\s)(--?[A-Za-z][\w-]*)", text)
    if text.startswith("-") or (option and option[1] in OPTIONS):
        name = option[1] if option else text
        setting = OPTIONS.get(name)
        advice = f"use the setting {setting}" if setting else "pip's options are not passed on"
        return f"holds the pip option {name}; {advice}"
    if _LOCAL.match(text) or (text.endswith((".whl", ".tar.gz")) and "://" not in text):
        return (
            "is a local path, which other minions cannot follow; "
            "put the wheel into the platform's directory and name the project"
        )
    return ""


def _shown(text: str) -> str:
    """For messages: without anything that may be a part of credentials, however badly they are written."""
    scheme, separator, rest = text.partition("://")
    before, at, after = (rest if separator else text).rpartition("@")
    if not separator:
        return text if not at or ":" not in before else f"…@{after}"
    hidden = f"…@{after}" if at else after
    return f"{scheme}://{re.split('[?#]', hidden)[0]}"
