"""The way to a replica: a lease through the handle, the request and its answer over a link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Container
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError
from ray.util.metrics import Counter

from app.domain.model_spec import ModelSpec
from app.domain.usage import Usage
from app.services.backend import UNMETERED, EngineRequest, EngineResponse, Meter
from deployments.accepted import Accepted
from deployments.affinity import NO_PREFIX, routing_for
from deployments.engines.base import EngineDead
from deployments.handle_path import HandlePath
from deployments.handles import Handles
from deployments.lease import LeasePool, Place
from deployments.link.link import Answer, CallBroken, LinkLost
from deployments.links import Links, Unreachable
from deployments.outcomes import DEATHS, Died, Moved, died_midway, timed_out, translate

logger = logging.getLogger("manta")


class LinkPath:
    """One attempt at a request."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._pools: dict[tuple[str, str, int], LeasePool] = {}
        self._links = Links()
        self._detour = HandlePath(handles)
        self._detours = Counter(
            "manta_handle_detours", "Requests whose bytes had to go through Serve's handle.", tag_keys=("model",)
        )

    async def attempt(
        self,
        spec: ModelSpec,
        request: EngineRequest,
        deadline: float,
        accepted: Accepted,
        meter: Meter = UNMETERED,
    ) -> EngineResponse:
        """See ``deployments.backend.Path``."""
        pool = await self._pool(spec)
        try:
            prefix = NO_PREFIX if pool.routing is None else pool.routing.read(request)
            place = await pool.acquire(deadline, prefix, request.share, spec.limits)
        except Unreachable as error:
            logger.warning("the bytes of %s go through Serve's handle: %s", spec.id, error)
            self._detours.inc(tags={"model": spec.id})
            return await self._detour.attempt(spec, request, deadline, accepted, meter)
        except TimeoutError:
            raise timed_out(spec, accepted=False) from None
        except DEATHS:
            # A lease carries nothing of the request: it cannot be the reason.
            raise Died(None) from None
        except DeploymentUnavailableError:
            self._handles.forget(spec)
            self._pools = {key: pool for key, pool in self._pools.items() if key[0] != spec.app_name}
            raise Moved from None
        except Exception as error:
            raise translate(error, spec) from error
        accepted.set()
        return await self._call(spec, request, pool, place, meter)

    def keep(self, apps: Container[str]) -> None:
        """See ``deployments.backend.Path``; what is under way holds its pool itself."""
        for key in [key for key in self._pools if key[0] not in apps]:
            self._pools.pop(key).abandon()
        self._handles.keep(apps)

    async def _pool(self, spec: ModelSpec) -> LeasePool:
        name = (spec.app_name, spec.routing, spec.autoscaling.max_replicas)
        if name not in self._pools:
            leases = _Leases((await self._handles.of(spec)).options(method_name="lease"))
            if name in self._pools:
                return self._pools[name]
            # One of other numbers has no more to do; who has something of it gives it back to it.
            self._pools = {key: pool for key, pool in self._pools.items() if key[0] != spec.app_name}
            self._pools[name] = LeasePool(leases, self._links, routing_for(spec), spec.autoscaling.max_replicas)
        return self._pools[name]

    async def _call(
        self, spec: ModelSpec, request: EngineRequest, pool: LeasePool, place: Place, meter: Meter
    ) -> EngineResponse:
        response: _LinkResponse | None = None
        try:
            response = _LinkResponse(place.link.send(request, _Served(meter, pool, place)), pool, place, spec)
            async with asyncio.timeout(spec.limits.request_timeout_s):
                await response.begun()
        except BaseException as error:
            if response is None:
                pool.release(place)
            else:
                await response.aclose()
            if isinstance(error, TimeoutError):
                raise timed_out(spec, accepted=True) from None
            if isinstance(error, LinkLost | EngineDead):
                raise Died(place.link.replica if response is not None else None) from None
            if isinstance(error, Exception):
                raise translate(error, spec) from error
            raise
        return response


class _Leases:
    """Asks Serve for leases.

    Serve knows each of several replicas as the one that has a model of its own name loaded (see ``ModelReplica``), and
    gives it to whoever asks for that model, if it has room; if it has not, or is gone, it gives another one.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __call__(self, replica: str | None = None) -> Any:
        handle = self._handle if replica is None else self._handle.options(multiplexed_model_id=replica)
        return handle.remote()


class _Served:
    """A meter that tells the queue too what a request took, for its tenant's next turn."""

    def __init__(self, meter: Meter, pool: LeasePool, place: Place) -> None:
        self._meter = meter
        self._pool = pool
        self._place = place

    def began(self) -> None:
        self._meter.began()

    def ended(self, usage: Usage, written: Callable[[], None]) -> None:
        self._pool.served(self._place, usage.input_tokens, usage.output_tokens)
        self._meter.ended(usage, written)

    def lost(self, tokens: int) -> None:
        self._meter.lost(tokens)

    def left(self, tokens: int) -> None:
        self._meter.left(tokens)


class _LinkResponse:
    """An answer that comes over a link, and the place it holds until it is over."""

    def __init__(self, answer: Answer, pool: LeasePool, place: Place, spec: ModelSpec) -> None:
        self._answer = answer
        self._pool = pool
        self._place: Place | None = place
        self._spec = spec

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def content_type(self) -> str:
        return self._answer.content_type

    async def begun(self) -> None:
        await self._answer.begun()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer:
                yield chunk
        except (LinkLost, EngineDead):
            raise died_midway() from None
        except CallBroken as error:
            raise translate(error, self._spec) from error
        finally:
            self._release()

    async def aclose(self) -> None:
        self._answer.close()
        self._release()

    def _release(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            self._pool.release(place)
