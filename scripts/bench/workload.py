"""What is asked of the servers: the same bodies for both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from scripts.bench.client import Job
from scripts.bench.models import BenchModel
from scripts.bench.pace import Pace
from scripts.bench.servers import HOST
from scripts.bench.summary import Kind

CHAT = "/v1/chat/completions"
SHORT_ANSWER = 2
RATED_S = 4.0
"""How long requests come at a given rate."""

RATED_CALLERS = 64
"""Connections that they come on."""
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class Target(Protocol):
    """Who is asked."""

    @property
    def port(self) -> int: ...

    @property
    def headers(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server.

    Attributes:
        level: Streams or callers at once, or requests a second.
        pace: When the tokens of its streams are due, where the engine keeps a pace.
    """

    kind: Kind
    level: int
    job: Job
    pace: Pace | None = None


class Workload:
    """Loads of one model.

    Args:
        model: The model.
        max_tokens: Length of a stream.
        requests: Whole answers a job, over all its callers.
        timeout_s: How long a job may take.
    """

    def __init__(self, model: BenchModel, max_tokens: int, requests: int, timeout_s: float) -> None:
        self.max_tokens = max_tokens
        self._model = model
        self._requests = requests
        self._timeout_s = timeout_s

    def streams(self, target: Target, level: int, max_tokens: int | None = None) -> Load:
        """One stream a caller."""
        tokens = max_tokens or self.max_tokens
        bodies = [self._body(caller, tokens) | STREAM for caller in range(level)]
        job = self._job(target, bodies, 1, tokens, self._model.spread_s / level)
        return Load("streams", level, job, Pace.of(self._model.spec, tokens))

    def unary(self, target: Target, level: int, requests: int | None = None) -> Load:
        """Whole answers of two tokens, one after the other from each caller: as many a second as can be had."""
        bodies = [self._body(caller, SHORT_ANSWER) for caller in range(level)]
        job = self._job(target, bodies, max(1, (requests or self._requests) // level), SHORT_ANSWER)
        return Load("unary", level, job)

    def rated(self, target: Target, rate: int) -> Load:
        """Whole answers of two tokens, so many asked for a second whether they come or not."""
        bodies = [self._body(caller, SHORT_ANSWER) for caller in range(min(rate, RATED_CALLERS))]
        job = self._job(target, bodies, max(1, round(rate * RATED_S / len(bodies))), SHORT_ANSWER, 1 / rate)
        return Load("rated", rate, job)

    def _body(self, caller: int, tokens: int) -> dict[str, Any]:
        return {
            "model": self._model.spec.id,
            "messages": [{"role": "user", "content": f"Caller {caller}: what is the capital of France?"}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
        }

    def _job(
        self, target: Target, bodies: list[dict[str, Any]], requests: int, tokens: int, every_s: float | None = None
    ) -> Job:
        return Job(
            host=HOST,
            port=target.port,
            path=CHAT,
            headers=target.headers,
            bodies=[json.dumps(body) for body in bodies],
            requests=requests,
            expected_tokens=tokens,
            timeout_s=self._timeout_s,
            every_s=every_s,
        )
