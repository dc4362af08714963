"""When a paced engine owes which token, and what of that came through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.domain.model_spec import ModelSpec
from deployments.engines.scripted import ScriptedArgs
from scripts.bench.client import Request

GRACE = 1e-6
"""Seconds: times went through additions."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The schedule of every stream of a job, counted from the moment at which it was due to be sent.

    Attributes:
        first_s: When its first token is due.
        interval_s: Between one token and the next.
        tokens: How many are asked for.
    """

    first_s: float
    interval_s: float
    tokens: int

    @classmethod
    def of(cls, spec: ModelSpec, tokens: int) -> Pace | None:
        """The model's, if it has one: a real engine is as fast as it can be."""
        if spec.engine != "scripted":
            return None
        args = ScriptedArgs.model_validate(spec.engine_args)
        return cls(args.ttft_s, 1 / args.tokens_per_s, tokens) if args.tokens_per_s else None

    def late(self, requests: Sequence[Request]) -> float:
        """The share of frames that came more than one interval after they were due; those that never came are late."""
        late = 0
        for request in requests:
            came = self._came(request)
            late += self.tokens - len(came)
            late += sum(at > self._due(number) + self.interval_s + GRACE for number, at in enumerate(came))
        return late / (self.tokens * len(requests))

    def delivered(self, requests: Sequence[Request]) -> float:
        """The share of offered tokens that were there one interval after their stream's last one was due."""
        end = self._due(self.tokens - 1) + self.interval_s + GRACE
        return sum(at <= end for each in requests for at in self._came(each)) / (self.tokens * len(requests))

    def _due(self, number: int) -> float:
        return self.first_s + number * self.interval_s

    def _came(self, request: Request) -> list[float]:
        if request.error is not None:
            return []
        # What follows the last token is the stream's end.
        return list(accumulate(request.gaps, initial=request.first - request.sent))[: self.tokens]
