"""A ModelBackend over Ray Serve: finds a replica for each request, and another one if that dies in time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Container
from typing import Protocol

from app.domain.model_spec import ModelSpec
from app.errors import ModelStarting, ServiceUnavailable
from app.services.backend import UNMETERED, EngineRequest, EngineResponse, Meter
from app.services.catalog import Catalog, CatalogSource, check_available, retry_after_s
from deployments.accepted import Accepted
from deployments.outcomes import Crowded, Died, Moved, NoReplicaYet, crashed_by_request
from deployments.quarantine import Quarantine
from deployments.queues import Queues, Waiting

RETRY_PAUSE_S = 0.5
PROBATION_S = 1.0
DEPARTED = ("disabled", "failed", "draining")
"""States in which a model's application is of no use to those who wait: it is gone, going, or about to be replaced."""

SOON_S = 1.0
"""What a caller is told whom a full queue turned away, of a model that nobody has waited for long enough to measure."""

DEFAULT_RETRY_AFTER_S = 10.0
"""What a caller is told of a model whose start nobody has measured yet."""


class Path(Protocol):
    """A way to send a request to a replica, once."""

    async def attempt(
        self,
        spec: ModelSpec,
        request: EngineRequest,
        deadline: float,
        accepted: Accepted,
        meter: Meter = UNMETERED,
    ) -> EngineResponse:
        """Send the request and return when its answer has begun.

        Args:
            deadline: By the loop's clock, until when it may wait for a replica.
            accepted: Set when a replica has been found.
            meter: Told when a replica has the request, and what that came to, also after this has raised.

        Raises:
            Died: The replica died before the answer.
            Moved: The application that ran this spec is gone or going.
            ApiError: What the caller is told.
        """
        ...

    def keep(self, apps: Container[str]) -> None:
        """Forget the ways to all other applications: they are gone or going."""
        ...


class ServeBackend:
    """See ``ModelBackend``.

    Args:
        path: The way to a replica.
        catalog: What is known of models now.
        queues: Counts the requests that wait.
    """

    def __init__(self, path: Path, catalog: CatalogSource, queues: Queues) -> None:
        self._path = path
        self._catalog = catalog
        self._queues = queues
        self._quarantine = Quarantine()

    async def send(self, spec: ModelSpec, request: EngineRequest, meter: Meter = UNMETERED) -> EngineResponse:
        """Bring the request to a replica; see ``ModelBackend.send``."""
        fingerprint = self._quarantine.fingerprint(spec.id, request)
        deadline = asyncio.get_running_loop().time() + spec.limits.cold_start_timeout_s
        while True:
            if self._quarantine.is_fatal(fingerprint):
                raise crashed_by_request()
            waiting = self._queues.enter(spec.id, ready=self._is_ready(spec))
            try:
                if self._quarantine.is_suspect(fingerprint):
                    response = await self._attempt_apart(spec, request, deadline, waiting, meter)
                    self._quarantine.survived(fingerprint)
                    return response
                return await self._path.attempt(spec, request, deadline, waiting, meter)
            except Died as death:
                if death.replica is not None:
                    self._quarantine.died(fingerprint, death.replica)
                await asyncio.sleep(RETRY_PAUSE_S)
            except Moved:
                spec = await self._found_again(spec, deadline)
            except NoReplicaYet as error:
                raise self._starting(spec, error) from None
            except Crowded as error:
                raise self._overloaded(spec, error) from None
            finally:
                waiting.set()

    def follow(self, catalog: Catalog) -> None:
        """Forget the ways to what is no more, and have those who wait there look again."""
        entries = catalog.entries.values()
        self._path.keep({entry.spec.app_name for entry in entries if entry.state.status not in DEPARTED})

    def _is_ready(self, spec: ModelSpec) -> bool:
        entry = self._catalog.current().entries.get(spec.id)
        return entry is not None and entry.state.status == "ready"

    async def _found_again(self, spec: ModelSpec, deadline: float) -> ModelSpec:
        """What the model is now: it may have been changed, switched off or removed while the request waited."""
        await asyncio.sleep(RETRY_PAUSE_S)
        if asyncio.get_running_loop().time() > deadline:
            raise self._starting(spec, NoReplicaYet("had no replica in time"))
        entry = self._catalog.current().get(spec.id)
        check_available(entry)
        return entry.spec

    def _starting(self, spec: ModelSpec, error: NoReplicaYet) -> ModelStarting:
        entry = self._catalog.current().entries.get(spec.id)
        wait_s = retry_after_s(entry.state) if entry is not None else None
        return ModelStarting(
            f"The model {spec.id!r} {error}. Try again shortly.", retry_after_s=wait_s or DEFAULT_RETRY_AFTER_S
        )

    def _overloaded(self, spec: ModelSpec, error: Crowded) -> ServiceUnavailable:
        wait_s = error.retry_after_s
        if wait_s is None:
            entry = self._catalog.current().entries.get(spec.id)
            starts = entry is not None and entry.state.status != "ready"
            wait_s = (retry_after_s(entry.state) if entry is not None else None) if starts else SOON_S
        # Whole seconds, and not one too early.
        wait_s = math.ceil(wait_s or DEFAULT_RETRY_AFTER_S)
        return ServiceUnavailable(
            f"Too many requests are waiting for the model {spec.id!r}. Try again in {wait_s} s.", retry_after_s=wait_s
        )

    async def _attempt_apart(
        self, spec: ModelSpec, request: EngineRequest, deadline: float, waiting: Waiting, meter: Meter
    ) -> EngineResponse:
        accepted = asyncio.Event()
        async with self._quarantine.alone(spec.id):
            attempt = asyncio.create_task(self._path.attempt(spec, request, deadline, accepted, meter))
            attempt.add_done_callback(lambda _: accepted.set())
            try:
                # The replica may still be on its way up: probation begins when it has the request.
                await accepted.wait()
                waiting.set()
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
