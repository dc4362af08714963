"""What a request took, what that costs, and the event that keeps both.

Amounts of money are whole numbers of a billionth of the currency's unit, so that sums are exact.
"""

from __future__ import annotations

from typing import Literal

import msgspec

NANO = 10**9
"""Parts of one unit of the currency."""

UsageStatus = Literal["completed", "client_left", "failed", "lost"]
"""``failed``: the answer broke off, or was an error. ``lost``: nobody is left who knows what became of it."""


class Usage(msgspec.Struct, array_like=True, frozen=True):
    """Tokens by the engine's own count.

    Attributes:
        cached_tokens: Those of the input that it had read before.
        reasoning_tokens: Those of the output that were thoughts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


NOTHING = Usage()


class Price(msgspec.Struct, array_like=True, frozen=True):
    """What a token costs, in billionths."""

    input_nano: int = 0
    output_nano: int = 0
    cached_nano: int = 0

    def of(self, usage: Usage) -> int:
        """What so many tokens cost, in billionths."""
        fresh = usage.input_tokens - usage.cached_tokens
        return fresh * self.input_nano + usage.cached_tokens * self.cached_nano + usage.output_tokens * self.output_nano


FREE = Price()


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a model: what is known of it from the beginning to the end.

    Attributes:
        owner: A user's id, or ``ip:<address>`` for the anonymous.
        kind: How the owner was known; see ``Principal``.
        route: The engine's path, such as ``/v1/chat/completions``.
        started_at_ms: When it was let in, in epoch milliseconds.
    """

    request_id: str
    owner: str
    kind: str
    key_id: str | None
    project_id: str | None
    model: str
    route: str
    stream: bool
    started_at_ms: int


class UsageEvent(_Request, frozen=True, kw_only=True):
    """One request to a model, once it is over. There is never a second one of the same ``request_id``.

    Attributes:
        ttft_ms: From when it was let in to the answer's first byte; None where there was none.
        duration_ms: From then to its end; None where nobody knows.
        http_status: What the caller was told; 0 where nobody knows.
        cost_nano: In billionths of the currency's unit.
    """

    status: UsageStatus
    http_status: int
    ttft_ms: float | None
    duration_ms: float | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_nano: int


class UsageDraft(_Request, frozen=True, kw_only=True):
    """All of an event that is known before the work begins.

    It travels with the request, so that whoever survives can write the event.
    """

    price: Price = FREE

    def encode(self) -> bytes:
        """As it travels."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> UsageDraft:
        """What travelled.

        Raises:
            msgspec.MsgspecError: It is no draft.
        """
        return msgspec.msgpack.decode(data, type=cls)

    def event(
        self,
        usage: Usage,
        status: UsageStatus,
        *,
        http_status: int = 0,
        ttft_ms: float | None = None,
        duration_ms: float | None = None,
    ) -> UsageEvent:
        """The event, now that the work is over."""
        return UsageEvent(
            request_id=self.request_id,
            owner=self.owner,
            kind=self.kind,
            key_id=self.key_id,
            project_id=self.project_id,
            model=self.model,
            route=self.route,
            stream=self.stream,
            started_at_ms=self.started_at_ms,
            status=status,
            http_status=http_status,
            ttft_ms=ttft_ms,
            duration_ms=duration_ms,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_nano=self.price.of(usage),
        )
