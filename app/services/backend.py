"""The seam between the gateway and whatever runs the models.

``deployments.backend`` implements it over Ray Serve; ``app.services.inprocess`` over engines in this process.
The bytes that cross it are final: an engine answers in OpenAI's (or Anthropic's) shapes, errors included, and the
gateway relays what comes as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from app.domain.model_spec import ModelSpec
from app.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class Share:
    """Who waits, and for how much: what order among those who wait goes by.

    Attributes:
        tenant: Whose request it is; tenants get the same, as long as their weights are.
        weight: How much more of a model a tenant gets than one of weight 1, while both wait.
        priority: Those of a higher one come first, whatever they had.
        input_tokens: How long the prompt is, roughly.
        output_tokens: How long the answer may become.
    """

    tenant: str = ""
    weight: float = 1.0
    priority: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


NOBODY = Share()


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One request as the engine gets it.

    Attributes:
        path: The engine's route, such as ``/v1/chat/completions``.
        body: The checked JSON body; its ``model`` is the model's id.
        request_id: Ours; the engine derives the answer's id from it.
        model: The name the caller asked for: the answer carries it.
        account: The ``UsageDraft`` on its way, encoded; empty where nobody counts.
        share: What its place in a queue goes by.
    """

    path: str
    body: bytes
    request_id: str
    model: str
    account: bytes = b""
    share: Share = NOBODY


class Meter(Protocol):
    """Hears what a request takes: once for every replica that had it, whatever becomes of answer and caller."""

    def began(self) -> None:
        """A replica has the request: ``ended``, ``lost`` or ``left`` will be called once for it."""
        ...

    def ended(self, usage: Usage, written: Callable[[], None]) -> None:
        """The replica's work is over, also where it was cut short.

        Args:
            usage: What it took.
            written: To be called as soon as that is on record: until then the replica keeps it, and writes it itself
                if it loses its gateway.
        """
        ...

    def lost(self, tokens: int) -> None:
        """In place of ``ended``: the replica is gone, and did not say what it took.

        Args:
            tokens: Of the answer, that came before; 0 where nobody counted them.
        """
        ...

    def left(self, tokens: int) -> None:
        """In place of ``ended``: what the replica took it gets on record by itself, or others do if it is gone.

        Args:
            tokens: Of the answer, that came before; they count where nobody says more.
        """
        ...


class NoMeter:
    """Counts nothing."""

    def began(self) -> None:
        """Nothing to do."""

    def ended(self, usage: Usage, written: Callable[[], None]) -> None:
        """Let the replica forget it."""
        written()

    def lost(self, tokens: int) -> None:
        """Nothing to do."""

    def left(self, tokens: int) -> None:
        """Nothing to do."""


UNMETERED = NoMeter()


def forget_nothing() -> None:
    """The ``written`` of a replica that keeps nothing."""


class EngineResponse(Protocol):
    """An answer under way: its first bytes exist already, the rest come as the engine makes them.

    Iterate once. After an engine's death the iteration raises ``EngineCrashed``. ``aclose`` ends the engine's work
    when the caller is gone; it may be called at any time, more than once.
    """

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def content_type(self) -> str:
        """The media type: ``application/json`` or ``text/event-stream``."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Stop the work behind the answer, if it has not ended."""
        ...


Fetch = Callable[[], Awaitable[EngineResponse]]
"""Sends a request that is prepared; returns when its answer's first bytes are here."""


class ModelBackend(Protocol):
    """Brings a request to a replica of its model."""

    async def send(self, spec: ModelSpec, request: EngineRequest, meter: Meter = UNMETERED) -> EngineResponse:
        """Queue, wake the model if it sleeps, choose a replica, and return when its answer's first bytes are here.

        A replica's death before that is retried once on another (or the restarted) one. Cancelling the call cancels
        the work.

        Raises:
            ModelStarting: No replica within the model's ``cold_start_timeout_s``.
            ServiceUnavailable: The queue is full.
            EngineCrashed: The engine died twice while working on this request.
        """
        ...
