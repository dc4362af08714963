"""The way into Serve's own queue, which is first come first served: it stays short, and we order the rest."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.domain.model_spec import RequestLimits
from app.services.backend import Share
from deployments.waiters import Waiters


class Door:
    """One model's.

    Attributes:
        inside: How many ask Serve for a replica.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._waiters: Waiters[None] = Waiters()

    @asynccontextmanager
    async def open(self, share: Share, limits: RequestLimits) -> AsyncGenerator[None]:
        """Be one of those who ask Serve: as many as a replica takes, so that it sees that there is more to do.

        Raises:
            Crowded: See ``Waiters``.
        """
        await self._enter(share, limits)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, share: Share, limits: RequestLimits) -> None:
        # Half of those who may wait at most: or nobody would be left to put in order.
        if not self._waiters and self.inside < min(
            limits.max_ongoing_requests, max(1, limits.max_queued_requests // 2)
        ):
            self.inside += 1
            self._waiters.pass_by(share)
            return
        waiter = self._waiters.join(share, limits, asking=self.inside)
        try:
            await waiter.turn
        except CancelledError:
            # Its turn may have come in this very moment.
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self._leave()
            raise
        finally:
            self._waiters.leave(waiter)

    def _leave(self) -> None:
        if (found := self._waiters.next()) is not None:
            found[0].turn.set_result(None)
        else:
            self.inside -= 1
