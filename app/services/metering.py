"""What one request to a model takes: reserved before, written down once when it is over, whatever became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from app.domain.limits import Amounts
from app.domain.usage import NOTHING, Usage, UsageDraft, UsageEvent, UsageStatus
from app.services.limits.reservation import Reservation
from app.services.prompt_estimates import PromptEstimates
from app.services.usage.ledger import UsageLedger

LATE_S = 15.0
"""How long a replica may take to say what an answer took that nobody reads any more, or others to say it for it."""


class MeteredRequest:
    """Hears of a request from both its ends: replicas tell what it took, the relay how it ended for its caller.

    The event is written when both have: at once where the answer came to its end, and a moment later where the caller
    left and a replica is still about to stop. It is written before the replica may forget it.

    Args:
        draft: What is known before.
        reservations: What was taken of limits on its account.
        ledger: Where the event goes.
        estimates: Learns from it.
        size: Of its body, in bytes.
        expected: The tokens that were reserved.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        draft: UsageDraft,
        reservations: Sequence[Reservation],
        ledger: UsageLedger,
        estimates: PromptEstimates,
        *,
        size: int,
        expected: Usage,
    ) -> None:
        self.account = draft.encode()
        self.events = 0
        self._draft = draft
        self._reservations = reservations
        self._ledger = ledger
        self._estimates = estimates
        self._size = size
        self._expected = expected
        self._started = time.perf_counter()
        self._ttft_ms: float | None = None
        self._duration_ms = 0.0
        self._http_status = 0
        self._status: UsageStatus = "failed"
        self._replicas = 0
        self._working = 0
        self._died = False
        self._reported = False
        self._seen = 0
        self._usage = NOTHING
        self._written: list[Callable[[], None]] = []
        self._over = False
        self._late: asyncio.TimerHandle | None = None

    def began(self) -> None:
        """See ``Meter``."""
        if not self._replicas:
            self._ledger.open(self._draft)
        self._replicas += 1
        self._working += 1

    def ended(self, usage: Usage, written: Callable[[], None]) -> None:
        """See ``Meter``."""
        self._usage += usage
        self._written.append(written)
        self._rested()

    def lost(self, tokens: int) -> None:
        """See ``Meter``."""
        self._died = True
        self._seen += tokens
        self._rested()

    def left(self, tokens: int) -> None:
        """See ``Meter``."""
        self._died = self._reported = True
        self._seen += tokens
        self._rested()

    def answered(self, http_status: int) -> None:
        """The answer's first bytes are here."""
        self._http_status = http_status
        self._ttft_ms = (time.perf_counter() - self._started) * 1000

    def over(self, status: UsageStatus, http_status: int) -> None:
        """The answer is over for its caller. Called once."""
        self._over = True
        self._status = status
        self._http_status = http_status
        self._duration_ms = (time.perf_counter() - self._started) * 1000
        if not self._replicas:
            # No replica ever had it: it cost nobody anything, and its caller neither.
            for reservation in self._reservations:
                reservation.cancel()
        elif not self._working:
            self._write()
        else:
            self._late = asyncio.get_running_loop().call_later(LATE_S, self._give_up)

    def _rested(self) -> None:
        self._working -= 1
        if self._over and not self._working:
            self._write()

    def _give_up(self) -> None:
        """A replica still does not say what it took: it counts for what was seen of it, as a dead one does."""
        self._died = True
        self._write()

    def _write(self) -> None:
        if self._late is not None:
            self._late.cancel()
        usage = self._counted()
        event = self._event(usage)
        # A second event of the same request is none: a replica that speaks after LATE_S changes nothing.
        if self._reported:
            self._ledger.write_later(event, self._event, LATE_S)
        else:
            self._ledger.write(event)
        for written in self._written:
            written()
        self._written.clear()
        if usage is self._usage:
            self._estimates.learn(self._draft.model, self._size, usage.input_tokens)
        amounts = amounts_of(usage, event.cost_nano)
        for reservation in self._reservations:
            reservation.settle(amounts)

    def _event(self, usage: Usage) -> UsageEvent:
        return self._draft.event(
            usage,
            self._status,
            http_status=self._http_status,
            ttft_ms=self._ttft_ms,
            duration_ms=self._duration_ms,
        )

    def _counted(self) -> Usage:
        """What it took; where a replica died with the count, what was seen of its work."""
        seen = self._seen
        if self._died and not seen and not self._usage.output_tokens:
            # Of an engine that does not count along. A stream's first event says no more than that there is an answer.
            seen = max(0, self.events - 1)
        if not self._died or (not seen and self._ttft_ms is None):
            return self._usage
        read = self._expected.input_tokens if not self._usage.input_tokens else 0
        return self._usage + Usage(input_tokens=read, output_tokens=seen)


def amounts_of(usage: Usage, cost_nano: int) -> Amounts:
    """What limits count of a request to a model."""
    return {
        "requests": 1,
        "inference_requests": 1,
        "concurrent_requests": 1,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "tokens": usage.input_tokens + usage.output_tokens,
        "spend": cost_nano,
    }
