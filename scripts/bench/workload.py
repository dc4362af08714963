"""What is asked of the servers: the same bodies for both."""

from __future__ import annotations

import json
from typing import Any, Protocol

from scripts.bench.client import Job
from scripts.bench.models import BenchModel
from scripts.bench.servers import HOST

CHAT = "/v1/chat/completions"
SHORT_ANSWER = 2
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class Target(Protocol):
    """Who is asked."""

    @property
    def port(self) -> int: ...

    @property
    def headers(self) -> dict[str, str]: ...


class Workload:
    """Jobs for one model.

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

    def streams(self, target: Target, level: int, max_tokens: int | None = None) -> Job:
        """One stream a caller, all at once."""
        tokens = max_tokens or self.max_tokens
        return self._job(target, [self._body(caller, tokens) | STREAM for caller in range(level)], 1, tokens)

    def unary(self, target: Target, level: int) -> Job:
        """Whole answers of two tokens, one after the other from each caller."""
        bodies = [self._body(caller, SHORT_ANSWER) for caller in range(level)]
        return self._job(target, bodies, max(1, self._requests // level), SHORT_ANSWER)

    def _body(self, caller: int, tokens: int) -> dict[str, Any]:
        return {
            "model": self._model.spec.id,
            "messages": [{"role": "user", "content": f"Caller {caller}: what is the capital of France?"}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
        }

    def _job(self, target: Target, bodies: list[dict[str, Any]], requests: int, tokens: int) -> Job:
        return Job(
            host=HOST,
            port=target.port,
            path=CHAT,
            headers=target.headers,
            bodies=[json.dumps(body) for body in bodies],
            requests=requests,
            expected_tokens=tokens,
            timeout_s=self._timeout_s,
        )
