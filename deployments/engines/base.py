"""The seam between a replica and what generates its tokens.

An engine is an ASGI application with a life cycle. The application answers, on an allow-list of routes:

    POST /v1/chat/completions   /v1/completions   /v1/embeddings   /v1/messages   /v1/messages/count_tokens
    POST /tokenize   /detokenize   /rerank   /score

Its answers are final: bodies as OpenAI's (for ``/v1/messages*`` Anthropic's) published schemas have them, errors as
``app.errors`` writes them, an error inside a stream as one last ``data:`` event without ``[DONE]`` after it. The header
``x-manta-model`` names the model as the caller did: answers carry that name. ``x-request-id`` gives the id of the
answer (``chatcmpl-<id>``, ``cmpl-<id>``). When the caller disconnects, the work stops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.domain.model_state import StartPhase
from app.services.asgi_call import ASGIApp

ROUTES = frozenset(
    (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/tokenize",
        "/detokenize",
        "/rerank",
        "/score",
    )
)
"""All that an engine answers: everything else an engine may have (admin, profiling, weights) is out of reach."""

Report = Callable[[StartPhase, float | None, str | None], None]
"""Called while an engine starts: phase, share done (0 to 1) or None, and a sentence or None."""


class EngineDead(Exception):
    """The engine is gone for good; its replica has to be replaced. The message says why, in words for a caller."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine is doing right now, by its own counters.

    Attributes:
        running: Sequences being generated.
        waiting: Sequences admitted and not yet running.
        generated_tokens: Tokens generated since the start.
        prompt_tokens: Tokens of the prompts taken in since the start.
        waiting_tokens: Tokens of those prompts whose first token of an answer is not there yet.
        kv_usage: Share of the attention cache that is in use, 0 to 1.
    """

    running: int
    waiting: int
    generated_tokens: int
    prompt_tokens: int = 0
    waiting_tokens: int = 0
    kv_usage: float = 0.0


class Engine(Protocol):
    """One model's engine, in the replica's process (it may own child processes)."""

    @property
    def max_model_len(self) -> int:
        """Longest sequence, prompt and answer together, in tokens."""
        ...

    async def start(self, report: Report) -> None:
        """Bring the engine up until it can answer.

        Raises:
            EngineDead: It cannot start; the message says why and what to do.
        """
        ...

    def app(self) -> ASGIApp:
        """The engine's application, once started."""
        ...

    async def check_health(self) -> None:
        """Return if the engine works.

        Raises:
            EngineDead: It does not.
        """
        ...

    async def load(self) -> EngineLoad:
        """The engine's own counters."""
        ...

    async def stop(self) -> None:
        """End the engine and its child processes."""
        ...
