"""A ModelBackend over Ray Serve: the handle chooses the replica and, for now, carries the bytes too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import ray.exceptions
from ray import serve
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from app.domain.model_spec import ModelSpec
from app.errors import ApiError, EngineCrashed, ModelStarting, ServerError, ServiceUnavailable
from app.services.backend import EngineRequest, EngineResponse
from deployments.engines.base import EngineDead
from deployments.quarantine import Quarantine
from deployments.reply import ReplicaLost, ReplyHead

logger = logging.getLogger("manta")

DEATHS = (
    EngineDead,
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
)
"""How Ray says that whoever had the request is gone."""

RETRY_PAUSE_S = 0.5
PROBATION_S = 1.0
DEFAULT_RETRY_AFTER_S = 10.0


class _Died(Exception):
    """The replica died before the answer's first byte.

    Attributes:
        replica: Its actor id, or None if that cannot be told.
    """

    def __init__(self, replica: str | None) -> None:
        super().__init__(replica)
        self.replica = replica


class ServeBackend:
    """See ``ModelBackend``."""

    def __init__(self) -> None:
        self._handles: dict[str, DeploymentHandle[Any]] = {}
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
                return await self._attempt(spec, request, deadline)
            except _Died as death:
                if death.replica is not None:
                    self._quarantine.died(fingerprint, death.replica)
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _attempt_apart(self, spec: ModelSpec, request: EngineRequest, deadline: float) -> EngineResponse:
        accepted = asyncio.Event()
        async with self._quarantine.alone(spec.id):
            attempt = asyncio.create_task(self._attempt(spec, request, deadline, accepted))
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

    async def _attempt(
        self, spec: ModelSpec, request: EngineRequest, deadline: float, accepted: asyncio.Event | None = None
    ) -> EngineResponse:
        replica: str | None = None
        handle = await self._handle(spec)
        messages: Any = handle.remote(request)
        try:
            async with asyncio.timeout_at(deadline):
                replica = await anext(messages)
            if accepted is not None:
                accepted.set()
            async with asyncio.timeout(spec.limits.request_timeout_s):
                head = await anext(messages)
        except TimeoutError:
            messages.cancel()
            raise timed_out(spec, accepted=replica is not None) from None
        except asyncio.CancelledError:
            messages.cancel()
            raise
        except ReplicaLost as lost:
            raise _Died(lost.replica) from None
        except DEATHS as death:
            # It may have been too quick to say that it has the request: Ray knows whom it was sent to.
            raise _Died(replica or getattr(death, "actor_id", None)) from None
        except Exception as error:
            raise translate(error, spec) from error
        return _ServeResponse(head, messages, spec)

    async def _handle(self, spec: ModelSpec) -> DeploymentHandle[Any]:
        name = spec.deployment_name
        if name not in self._handles:
            try:
                handle = await asyncio.to_thread(serve.get_deployment_handle, name, spec.app_name)
            except RayServeException:
                raise ModelStarting(
                    f"The model {spec.id!r} is being set up. Try again shortly.", retry_after_s=2
                ) from None
            self._handles[name] = handle.options(stream=True, method_name="infer")
        return self._handles[name]


class _ServeResponse:
    def __init__(self, head: ReplyHead, messages: Any, spec: ModelSpec) -> None:
        self.status = head.status
        self.content_type = head.content_type
        self._first = head.first
        self._messages = messages
        self._spec = spec
        self._over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        try:
            async for chunk in self._messages:
                yield chunk
            self._over = True
        except asyncio.CancelledError:
            raise
        except DEATHS:
            self._over = True
            raise EngineCrashed(
                "The model's engine died in the middle of this answer. What came before is all there is; try again."
            ) from None
        except Exception as error:
            raise translate(error, self._spec) from error

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            self._messages.cancel()


async def _abandon(attempt: asyncio.Task[EngineResponse]) -> None:
    """End an attempt that nobody waits for any more, and its answer if that came in the same moment."""
    attempt.cancel()
    await asyncio.wait((attempt,))
    if not attempt.cancelled() and not attempt.exception():
        await attempt.result().aclose()


def crashed_by_request() -> EngineCrashed:
    """The answer to a request that the engine did not survive twice."""
    return EngineCrashed(
        "The model's engine died twice while working on this request, so it is not tried again. "
        "Something in the request kills it: change the request, and report it.",
        code="engine_crashed_by_request",
        headers={"x-should-retry": "false"},
    )


def timed_out(spec: ModelSpec, *, accepted: bool) -> ApiError:
    """The answer to a request that waited too long."""
    if accepted:
        return ServiceUnavailable(
            f"The model {spec.id!r} did not answer within {spec.limits.request_timeout_s:g} s.", code="request_timeout"
        )
    return ModelStarting(
        f"The model {spec.id!r} had no free replica within {spec.limits.cold_start_timeout_s:g} s. Try again shortly.",
        retry_after_s=DEFAULT_RETRY_AFTER_S,
    )


def translate(error: Exception, spec: ModelSpec) -> ApiError:
    """Serve's and Ray's exceptions in our words: the one table of this seam."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BackPressureError):
        return ServiceUnavailable(f"Too many requests are waiting for the model {spec.id!r}. Try again shortly.")
    if isinstance(error, DeploymentUnavailableError):
        return ModelStarting(f"The model {spec.id!r} is not available at the moment. Try again shortly.")
    logger.error("a request to %s failed in a way that nobody foresaw", spec.id, exc_info=error)
    return ServerError(f"The request to the model {spec.id!r} failed on our side.")
