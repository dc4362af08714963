"""What crosses the handle, replica to gateway, for one request.

First the replica's actor id, as a string: it has the request, and the time it takes runs from here. Then the
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


class ReplicaLost(Exception):
    """The replica that a request was sent to is gone, or cannot be reached: nobody knows what became of the request.

    Attributes:
        replica: Its actor id, in hex.
    """

    def __init__(self, replica: str) -> None:
        super().__init__(replica)
        self.replica = replica
