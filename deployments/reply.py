"""What crosses the handle, replica to gateway, for a request whose bytes go that way: the head, then bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """How the answer begins.

    Attributes:
        first: The answer's first bytes.
    """

    status: int
    content_type: str
    first: bytes
