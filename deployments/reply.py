"""What crosses the handle, replica to gateway, for one request.

First the replica's id, as a string: it has the request, and from here its death may be the request's doing. Then the
``ReplyHead`` with the answer's first bytes; then bytes, as they come.
"""

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
