"""Whether a conversation fits into a model's context, and what of it does.

Tokens are counted by the model's own engine, but where that can be spared: a token stands for at least one byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import msgspec

from app.errors import ApiError, InvalidRequest, ServerError
from app.services import Services
from app.services.backend import EngineRequest
from app.services.catalog import CatalogEntry

Message = dict[str, Any]
Truncation = Literal["auto", "disabled"]

UNASKED_SHARE = 8
"""Of the context, the part that an answer gets at the least whose caller named no number: one in so many."""

TEMPLATE_BYTES = 512
TOOLS_BYTES = 2048
"""What templates may write by themselves: without tools, and about them."""

MOST_CALLS = 8


@dataclass(frozen=True, slots=True)
class Fitted:
    """What goes to the engine.

    Attributes:
        messages: The system's, then those of the turns that fit.
        dropped: How many turns were left out, the oldest.
    """

    messages: list[Message]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Talk:
    """What is to be answered.

    Attributes:
        system: Instructions, which stay whatever goes.
        turns: The oldest first; the last one, which is to be answered, stays too.
        tools: What the template shows of them.
    """

    system: Sequence[Message]
    turns: Sequence[Sequence[Message]]
    tools: Sequence[Message] = ()

    def without(self, dropped: int) -> list[Message]:
        """The messages, so many of the oldest turns left out."""
        return [*self.system, *(message for turn in self.turns[dropped:] for message in turn)]


async def fit(  # noqa: PLR0913 - what it fits into, and how
    services: Services,
    entry: CatalogEntry,
    talk: Talk,
    *,
    output_tokens: int | None = None,
    truncation: Truncation = "auto",
    most: int | None = None,
) -> Fitted:
    """As much of a conversation as the model's context has room for, by whole turns.

    Args:
        services: This process's.
        entry: The model.
        talk: The conversation.
        output_tokens: How long the answer may become, if somebody said so.
        truncation: Whether turns may be left out.
        most: How many tokens of the conversation somebody pays for.

    Raises:
        InvalidRequest: It does not fit, even without the turns that may be left out.
        ServiceUnavailable: The model does not answer.
    """
    lengths = _Lengths(services, entry, talk)
    context, least = entry.state.max_model_len, output_tokens or 1
    if context is not None and lengths.bytes(0) <= _room(context, least, most):
        return Fitted(talk.without(0))
    tokens = await lengths.tokens(0)
    context = lengths.context or context
    if context is None:
        # Nobody knows: the engine will say so if it is too much.
        context = tokens + least
    room = _room(context, least, most)
    if tokens <= room:
        return Fitted(talk.without(0))
    last = lengths.cuts[-1]
    if truncation == "auto":
        spare = output_tokens or max(1, context // UNASKED_SHARE)
        dropped = await _fewest(lengths, _room(context, spare, most))
        if dropped is None and await lengths.tokens(last) <= room:
            dropped = last
        if dropped is not None:
            return Fitted(talk.without(dropped), dropped)
        tokens = await lengths.tokens(last)
    raise too_long(context, tokens, output_tokens)


def _room(context: int, answer: int, most: int | None) -> int:
    """How many tokens the conversation may have."""
    return context - answer if most is None else min(context - answer, most)


async def count(services: Services, entry: CatalogEntry, talk: Talk) -> int:
    """How many tokens all of a conversation is, by the engine's count.

    Raises:
        InvalidRequest: The engine cannot make a prompt of it.
        ServiceUnavailable: The model does not answer.
    """
    return await _Lengths(services, entry, talk).tokens(0)


def too_long(context: int, tokens: int, output_tokens: int | None) -> InvalidRequest:
    """What is said of a conversation that does not fit."""
    wanted = f" and asks for up to {output_tokens} more" if output_tokens else ""
    return InvalidRequest(
        f"This model's context is {context} tokens; the conversation has {tokens}{wanted}. Shorten it.",
        param="messages",
        code="context_length_exceeded",
    )


class _Lengths:
    """How long a conversation is without its oldest turns.

    Attributes:
        cuts: How many turns can be left out: not so many that the answer of a tool would be without its call.
        context: The model's, as its engine says.
    """

    def __init__(self, services: Services, entry: CatalogEntry, talk: Talk) -> None:
        self.context: int | None = None
        turns = talk.turns
        self.cuts = [at for at in range(max(1, len(turns))) if not at or not _hangs_on(turns[at])]
        self._services = services
        self._entry = entry
        self._talk = talk
        self._counted: dict[int, int] = {}
        behind = [0]
        for turn in reversed(turns):
            behind.append(behind[-1] + len(msgspec.json.encode(turn)))
        self._behind = behind[::-1]
        head = len(msgspec.json.encode(talk.system)) + TEMPLATE_BYTES
        self._head = head + (TOOLS_BYTES + len(msgspec.json.encode(talk.tools)) if talk.tools else 0)

    def bytes(self, dropped: int) -> int:
        """At least as many as there are tokens."""
        return self._head + self._behind[dropped]

    async def tokens(self, dropped: int) -> int:
        """By the engine's count.

        Raises:
            InvalidRequest: The engine cannot make a prompt of it.
            ServiceUnavailable: The model does not answer.
        """
        if dropped not in self._counted:
            self._counted[dropped] = await self._count(self._talk.without(dropped))
        return self._counted[dropped]

    def guess(self, dropped: int) -> float:
        """How many tokens it may be, by what was counted next to it."""
        nearest = min(self._counted, key=lambda known: abs(known - dropped))
        return self._counted[nearest] * self.bytes(dropped) / self.bytes(nearest)

    async def _count(self, messages: Sequence[Message]) -> int:
        asked: Message = {"model": self._entry.spec.id, "messages": messages}
        if self._talk.tools:
            asked["tools"] = self._talk.tools
        id_ = self._entry.spec.id
        # Nobody is charged for it: it is our own question.
        request = EngineRequest("/tokenize", msgspec.json.encode(asked), f"count-{uuid4().hex}", id_)
        response = await self._services.backend.send(self._entry.spec, request)
        try:
            body = b"".join([part async for part in response])
        finally:
            await response.aclose()
        if response.status >= 400:
            raise _refusal(response.status, body)
        told = msgspec.json.decode(body, type=_Counted)
        self.context = told.max_model_len or self.context
        return told.count


async def _fewest(lengths: _Lengths, room: int) -> int | None:
    """The fewest turns that have to be left out so that the rest has no more tokens than this; None if none are enough.

    Where that would take too many questions, a few more.
    """
    cuts = lengths.cuts
    too_few, enough = 0, len(cuts)
    for _ in range(MOST_CALLS):
        if enough - too_few <= 1:
            break
        likely = (at for at in range(too_few + 1, enough - 1) if lengths.guess(cuts[at]) <= room)
        at = next(likely, enough - 1)
        if await lengths.tokens(cuts[at]) <= room:
            enough = at
        else:
            too_few = at
    if enough == len(cuts):
        last = len(cuts) - 1
        return cuts[last] if last and await lengths.tokens(cuts[last]) <= room else None
    return cuts[enough]


def _hangs_on(turn: Sequence[Message]) -> bool:
    """Whether a turn answers calls of the one before."""
    return bool(turn) and turn[0]["role"] == "tool"


class _Counted(msgspec.Struct):
    count: int
    max_model_len: int | None = None


class _Error(msgspec.Struct):
    message: str = ""


class _Refused(msgspec.Struct):
    error: _Error


def _refusal(status: int, body: bytes) -> ApiError:
    try:
        said = msgspec.json.decode(body, type=_Refused).error.message
    except msgspec.MsgspecError:
        said = ""
    if status < 500:
        return InvalidRequest(said or "The model cannot make a prompt of this conversation.", param="messages")
    return ServerError("The model could not count the tokens of this conversation.")
