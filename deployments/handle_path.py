"""The long way to a replica: the handle carries the bytes too, where the replica's listener cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from contextlib import AsyncExitStack
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError

from app.domain.model_spec import ModelSpec
from app.domain.usage import Usage
from app.services.backend import UNMETERED, EngineRequest, EngineResponse, Meter, forget_nothing
from deployments.accepted import Accepted
from deployments.door import Door
from deployments.handles import Handles
from deployments.link.wire import COUNT
from deployments.outcomes import DEATHS, Died, Moved, died_midway, timed_out, translate
from deployments.reply import ReplyHead


class HandlePath:
    """One attempt at a request, through ``ModelReplica.infer``."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._doors: dict[str, Door] = {}

    async def attempt(
        self,
        spec: ModelSpec,
        request: EngineRequest,
        deadline: float,
        accepted: Accepted,
        meter: Meter = UNMETERED,
    ) -> EngineResponse:
        """See ``deployments.backend.Path``."""
        account = _Account(meter)
        try:
            return await self._attempt(spec, request, deadline, accepted, account)
        except BaseException:
            account.left()
            raise

    def keep(self, apps: Container[str]) -> None:
        """See ``deployments.backend.Path``."""
        self._doors = {name: door for name, door in self._doors.items() if name in apps}
        self._handles.keep(apps)

    async def _attempt(
        self, spec: ModelSpec, request: EngineRequest, deadline: float, accepted: Accepted, account: _Account
    ) -> EngineResponse:
        handle = (await self._handles.of(spec)).options(method_name="infer")
        door = self._doors.setdefault(spec.app_name, Door())
        replica: str | None = None
        messages: Any = None
        try:
            async with asyncio.timeout_at(deadline) as waiting:
                # Chosen first and sent then: a request that is simply called with is sent again by Serve, without a
                # word, when its replica dies before saying that it has it; one that kills at once would kill on and on.
                async with AsyncExitStack() as stack:
                    async with door.open(request.share, spec.limits):
                        chosen = await stack.enter_async_context(handle.choose_replica(request))
                    accepted.set()
                    waiting.reschedule(asyncio.get_running_loop().time() + spec.limits.request_timeout_s)
                    replica = chosen.replica_id
                    messages = handle.dispatch(chosen, request)
                    account.began()
                    head: ReplyHead | Usage = await anext(messages)
                    if isinstance(head, Usage):
                        account.ended(head)
                        head = await anext(messages)  # the error that it came to
        except TimeoutError:
            _cancel(messages)
            raise timed_out(spec, accepted=replica is not None) from None
        except asyncio.CancelledError:
            _cancel(messages)
            raise
        except DEATHS:
            raise Died(replica) from None
        except DeploymentUnavailableError:
            self._handles.forget(spec)
            raise Moved from None
        except Exception as error:
            raise translate(error, spec) from error
        assert isinstance(head, ReplyHead)
        return _HandleResponse(head, messages, spec, account)


class _Account:
    """Tells a meter once.

    Attributes:
        tokens: Of the answer, that have come.
    """

    def __init__(self, meter: Meter) -> None:
        self.tokens = 0
        self._meter = meter
        self._open = False

    def began(self) -> None:
        self._open = True
        self._meter.began()

    def ended(self, usage: Usage) -> None:
        if self._open:
            self._open = False
            self._meter.ended(usage, forget_nothing)

    def left(self) -> None:
        """The replica is told to stop, or dead: it reports what the request took itself, or its slate is read."""
        if self._open:
            self._open = False
            self._meter.left(self.tokens)


class _HandleResponse:
    def __init__(self, head: ReplyHead, messages: Any, spec: ModelSpec, account: _Account) -> None:
        self.status = head.status
        self.content_type = head.content_type
        self._first = head.first
        account.tokens = head.tokens
        self._messages = messages
        self._spec = spec
        self._account = account
        self._over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        try:
            async for message in self._messages:
                if isinstance(message, Usage):
                    self._account.ended(message)
                else:
                    (self._account.tokens,) = COUNT.unpack_from(message)
                    yield message[COUNT.size :]
            self._over = True
        except asyncio.CancelledError:
            raise
        except DEATHS:
            self._over = True
            raise died_midway() from None
        except Exception as error:
            raise translate(error, self._spec) from error
        finally:
            if self._over:
                self._account.left()

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            self._messages.cancel()
            self._account.left()


def _cancel(messages: Any) -> None:
    if messages is not None:
        messages.cancel()
