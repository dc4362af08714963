"""What is to be kept of an answer, and where: fixed before it begins, so that it is kept once whoever does it."""

from __future__ import annotations

from typing import Any

import msgspec


class Keeping(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Travels ahead of the answer's bytes.

    Attributes:
        owner: Whose it is.
        guest: Whether that may turn out to be somebody with an account.
        created_at_ms: When it was asked for, in epoch milliseconds.
        model: The name that the caller asked for.
        tail: What the ids of its items end with.
        stream: Whether the engine sends it as events.
        conversation: The conversation that it goes into.
        turn: Its turn there; 0 elsewhere.
        untitled: Whether the conversation gets its title from this answer.
        completion_id: The stored chat completion that it becomes.
        response: The response that it is the output of.
        run: The run whose answer it is.
        attempt: The attempt under an ``Idempotency-Key`` that is over with it.
        process: Whose attempt that is.
        metadata: What was written into the answer on its way to the caller.
        extra: What only threads show of its items; see ``Item``.
    """

    owner: str
    guest: bool = False
    created_at_ms: int
    model: str
    tail: str
    stream: bool = True
    conversation: str | None = None
    turn: int = 0
    untitled: bool = False
    completion_id: str | None = None
    response: str | None = None
    run: str | None = None
    attempt: str | None = None
    process: str = ""
    metadata: dict[str, str] | None = None
    extra: dict[str, Any] = {}

    def encode(self) -> bytes:
        """As it stands in a file: one line."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Keeping:
        """What a line says.

        Raises:
            msgspec.MsgspecError: It says nothing of the kind.
        """
        return msgspec.json.decode(line, type=cls)
