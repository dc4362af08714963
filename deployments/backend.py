"""A ModelBackend over Ray Serve: finds a replica for each request, and another one if that dies in time."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.domain.model_spec import ModelSpec
from app.services.backend import EngineRequest, EngineResponse
from deployments.outcomes import Died, crashed_by_request
from deployments.quarantine import Quarantine

RETRY_PAUSE_S = 0.5
PROBATION_S = 1.0


class Path(Protocol):
    """A way to send a request to a replica, once."""

    async def attempt(
        self, spec: ModelSpec, request: EngineRequest, deadline: float, accepted: asyncio.Event | None = None
    ) -> EngineResponse:
        """Send the request and return when its answer has begun.

        Args:
            deadline: By the loop's clock, until when it may wait for a replica.
            accepted: Set when a replica has been found.

        Raises:
            Died: The replica died before the answer.
            ApiError: What the caller is told.
        """
        ...


class ServeBackend:
    """See ``ModelBackend``.

    Args:
        path: The way to a replica.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._quarantine = Quarantine()

    async def send(self, spec: ModelSpec, request: EngineRequest) -> EngineResponse:
        """Bring the request to a replica; see ``ModelBackend.send``."""
        fingerprint = self._quarantine.fingerprint(spec.id, request)
        deadline = asyncio.get_running_loop().time() + spec.limits.cold_start_timeout_s
        while True:
            if self._quarantine.is_fatal(fingerprint):
                raise crashed_by_request()
            suspect = self._quarantine.is_suspect(fingerprint)
            try:
                if suspect:
                    response = await self._attempt_apart(spec, request, deadline)
                    self._quarantine.survived(fingerprint)
                    return response
                return await self._path.attempt(spec, request, deadline)
            except Died as death:
                if death.replica is not None:
                    self._quarantine.died(fingerprint, death.replica)
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _attempt_apart(self, spec: ModelSpec, request: EngineRequest, deadline: float) -> EngineResponse:
        accepted = asyncio.Event()
        async with self._quarantine.alone(spec.id):
            attempt = asyncio.create_task(self._path.attempt(spec, request, deadline, accepted))
            attempt.add_done_callback(lambda _: accepted.set())
            try:
                # The replica may still be on its way up: probation begins when it has the request.
                await accepted.wait()
                await asyncio.wait((attempt,), timeout=PROBATION_S)
            except BaseException:
                await _abandon(attempt)
                raise
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await _abandon(attempt)
            raise


async def _abandon(attempt: asyncio.Task[EngineResponse]) -> None:
    """End an attempt that nobody waits for any more, and its answer if that came in the same moment."""
    attempt.cancel()
    await asyncio.wait((attempt,))
    if not attempt.cancelled() and not attempt.exception():
        await attempt.result().aclose()
