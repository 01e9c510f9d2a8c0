"""Whose credentials go where: the declared ones and those of netrc, each to its own origin and to nobody else."""

from __future__ import annotations

import netrc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.pages import bare
from pipmirror_lib.settings import Index

Pair = tuple[str, str]
Origin = tuple[str, str, int]


def _parts(url: str) -> SplitResult:
    """SplitResult's own fields raise for nonsense when they are first looked at."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError as error:
        raise PackageIndexError(f"the index sends us to {bare(url)}: {error}") from error
    return parts


def origin_of(url: str) -> Origin:
    """Scheme, host and port."""
    parts = _parts(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def covers(known: Origin, other: Origin) -> bool:
    """Whether what one is told is for the other, too: itself, or the same host that moves on from http to https."""
    return other == known or (known[::2] == ("http", 80) and other == ("https", known[1], 443))


def split(url: str) -> tuple[str, Pair | None]:
    """The URL without the credentials that stand in it, and these."""
    parts = _parts(url)
    pair = (unquote(parts.username or ""), unquote(parts.password or ""))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), pair if any(pair) else None


def is_trusted(url: str, hosts: Sequence[str]) -> bool:
    """Whether nobody's certificate is asked for there: `index:trusted_hosts` are hosts, or host:port."""
    if not hosts:
        return False
    _, host, port = origin_of(url)
    known = {text.lower() for text in hosts}
    return bool(known & {host, f"[{host}]", f"{host}:{port}", f"[{host}]:{port}"})


@dataclass(frozen=True)
class _Declared:
    """A declared index, and what it is told."""

    origin: Origin
    path: str
    pair: Pair | None

    def nearness(self, path: str) -> int:
        """How many directories of a path it shares: one host may keep indexes of several owners."""
        pairs = zip(self.path.split("/"), path.split("/"), strict=False)
        return next((number for number, (one, other) in enumerate(pairs) if one != other), len(self.path))


class Keyring:
    """What the declaration and this machine's netrc say."""

    def __init__(self, urls: Sequence[str], settings: Index) -> None:
        self._declared = []
        for number, url in enumerate(urls):
            place, pair = split(url)
            if number == 0 and settings.username:
                pair = (settings.username, settings.password)
            self._declared.append(_Declared(origin_of(place), urlsplit(place).path, pair))

    def of(self, url: str) -> Pair | None:
        """What the server of a URL is told.

        pip takes any entry of netrc for any address. Here strangers say where files lie: the default entry is for the
        declared indexes alone, and a password that was meant for a machine does not go there in the clear.
        """
        origin = origin_of(url)
        declared = [one for one in self._declared if covers(one.origin, origin)]
        known = [one for one in declared if one.pair]
        if known:
            path = urlsplit(url).path
            return max(known, key=lambda one: one.nearness(path)).pair
        if declared or origin[::2] == ("https", 443):
            return self._noted(origin[1], default=bool(declared))
        return None

    def _noted(self, host: str, *, default: bool) -> Pair | None:
        notes = self._netrc[0]
        if notes is None or not (default or host in notes.hosts):
            return None
        found = notes.authenticators(host)
        return (found[0], found[2] or "") if found and found[0] else None

    def setting_of(self, url: str) -> str:
        """Under which key of the declaration the index stands that the URL belongs to; '' for none of them."""
        origin, path = origin_of(url), urlsplit(url).path
        near = [
            (one.nearness(path), "index:extra_urls" if number else "index:url")
            for number, one in enumerate(self._declared)
            if covers(one.origin, origin)
        ]
        return " or ".join(dict.fromkeys(setting for nearness, setting in near if nearness == max(near)[0]))

    @property
    def fault(self) -> str:
        """Why this machine's netrc is of no use, for people; '' where it is, or where there is none."""
        return self._netrc[1]

    @cached_property
    def _netrc(self) -> tuple[netrc.netrc | None, str]:
        named = os.environ.get("NETRC")
        for path in [Path(named)] if named else [Path("~/.netrc"), Path("~/_netrc")]:
            try:
                return netrc.netrc(str(path.expanduser())), ""
            except FileNotFoundError:
                continue
            except netrc.NetrcParseError as error:  # whose own words repeat what may be a password
                return None, f"{path} is not understood at line {error.lineno}"
            except (OSError, ValueError, RuntimeError) as error:
                return None, f"{path} cannot be read: {getattr(error, 'strerror', '') or type(error).__name__}"
        return None, ""
