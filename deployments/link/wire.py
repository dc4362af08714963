"""What goes over a link: an HTTP/1.1 upgrade, then frames, both ways.

length   4 bytes, big-endian, of the payload
stream   4 bytes, a number that the gateway gives a request; 0 where no request is meant
tokens   4 bytes: of the answer up to the end of these bytes, where the engine counts along; 0 otherwise
kind     1 byte
payload
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

import msgspec

from app.domain.usage import Usage

PATH = "/link"
PROTOCOL = "manta-link/3"
SCHEME = "Ticket"

HEADER = Struct("!IIIB")
MAX_PAYLOAD = 64 * 1024 * 1024
"""No frame of ours is longer; a longer one comes from somebody else."""

WINDOW = 256 * 1024
"""Bytes of one answer that may be under way to a reader that has not said it took them."""

COUNT = Struct("!I")


class Kind(IntEnum):
    """What a frame says."""

    REQUEST = 1
    """Gateway: run this (``Request``, msgpack)."""
    CANCEL = 2
    """Gateway: nobody waits for this answer any more; the replica still says when its work is over."""
    TAKEN = 3
    """Gateway: so many more bytes of this answer have been taken (``COUNT``)."""
    ADOPT = 4
    """Gateway: another lease belongs to this link (its token)."""
    RELEASE = 5
    """Gateway: a lease is over (its token)."""
    WRITTEN = 6
    """Gateway: what the call that had this number took is on record; the replica may forget it."""

    HEAD = 16
    """Replica: the answer begins (``Head``, msgpack)."""
    DATA = 17
    """Replica: bytes of the answer."""
    END = 18
    """Replica: the answer is whole, and this is what it took (``Usage``, msgpack)."""
    DEAD = 19
    """Replica: the engine died before the answer began (``Death``, msgpack)."""
    BROKEN = 20
    """Replica: the work ended before the answer was whole, having taken this (``Usage``, msgpack)."""


class Request(msgspec.Struct, array_like=True, frozen=True):
    """An ``EngineRequest`` on the wire."""

    path: str
    request_id: str
    model: str
    body: bytes
    account: bytes = b""


class Head(msgspec.Struct, array_like=True, frozen=True):
    """How an answer begins."""

    status: int
    content_type: str


class Death(msgspec.Struct, array_like=True, frozen=True):
    """How an engine ended."""

    reason: str
    usage: Usage


class WireError(Exception):
    """The other end does not speak as agreed."""


def frame(kind: Kind, stream: int, payload: bytes = b"", tokens: int = 0) -> bytes:
    """One frame."""
    return HEADER.pack(len(payload), stream, tokens, kind) + payload


class Decoder:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
        """Kind, stream, payload and tokens of every frame that is whole now.

        Raises:
            WireError: A frame is longer than any of ours.
        """
        if self._rest:
            data = self._rest + data
        start, size = 0, len(data)
        while size - start >= HEADER.size:
            length, stream, tokens, kind = HEADER.unpack_from(data, start)
            if length > MAX_PAYLOAD:
                raise WireError(f"a frame of {length} bytes")
            end = start + HEADER.size + length
            if end > size:
                break
            yield kind, stream, data[start + HEADER.size : end], tokens
            start = end
        self._rest = data[start:]
