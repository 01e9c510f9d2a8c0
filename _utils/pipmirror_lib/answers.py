"""What a server answers, read within bounds: it may be anybody's, and say anything of its own length and encoding."""

from __future__ import annotations

import http.client
import zlib
from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError

from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.pages import bare

CHUNK = 256 << 10
# What is read of an answer that nobody wants, so that its connection can be used again.
_REST = 64 << 10


class Answer:
    """One answer; its body is read once."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.url = str(response.url)
        self.status_code, self.reason = response.status_code, response.reason or ""
        self.headers = response.headers

    def iter_content(self, size: int) -> Iterator[bytes]:
        """The body as it comes over the wire, as pip takes a file: what a server calls its encoding is the file's own.

        By http.client's own reading of chunks, which bounds the line that says how long one is.
        """
        received = 0
        while piece := self._read(size):
            received += len(piece)
            yield piece
        said = self.headers.get("Content-Length", "")
        whole = int(said) if said.isdecimal() and "Transfer-Encoding" not in self.headers else received
        if received < whole:  # which older versions of the library do not notice
            raise requests.ConnectionError(f"it ended after {received} of {whole} bytes")

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._response.raw.read(size, decode_content=False))
        except (HTTPError, http.client.HTTPException, ValueError) as error:
            raise requests.ConnectionError(error) from error

    def decoded(self, limit: int) -> bytes:
        """The whole body, of at most so many bytes, whatever it was compressed to."""
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding in ("", "identity"):
            pieces = self.iter_content(CHUNK)
        elif encoding in ("gzip", "x-gzip"):
            pieces = _unpacked(self.iter_content(CHUNK), limit, self.url)
        else:
            raise PackageIndexError(f"{bare(self.url)} is encoded as {encoding}, which nobody asked for")
        content = bytearray()
        for piece in pieces:
            content += piece
            if len(content) > limit:
                raise PackageIndexError(f"{bare(self.url)} is larger than {limit >> 20} MB; is it an index page?")
        return bytes(content)

    def close(self) -> None:
        """Without reading what is left: there may be no end of it."""
        self._response.close()

    def skip(self) -> None:
        """Done with it; where little is left, the connection stays."""
        try:
            left = _REST
            while left > 0 and (piece := self._read(left)):
                left -= len(piece)
        except (requests.RequestException, OSError):
            """Nobody wants it."""
        self.close()


def _unpacked(pieces: Iterator[bytes], limit: int, url: str) -> Iterator[bytes]:
    """Never more than a piece at once, and little more than `limit` altogether."""
    unpacker, begun = zlib.decompressobj(31), False
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if unpacker.eof:  # a file of several parts, one after another
                    unpacker = zlib.decompressobj(31)
                begun = True
                found = unpacker.decompress(rest, CHUNK)
                if found:
                    yield found
                rest = unpacker.unconsumed_tail or unpacker.unused_data
    except zlib.error as error:
        raise PackageIndexError(f"{bare(url)} is not the gzip that it says it is: {error}") from error
    if begun and not unpacker.eof:
        raise PackageIndexError(f"{bare(url)} ends in the middle of its gzip")
