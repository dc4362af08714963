"""The scripted engine's ASGI application: routes in, bytes out, faults between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import AsyncIterator
from uuid import uuid4

import msgspec

from app.errors import ApiError, MethodNotAllowed, NotFound, ServerError
from app.services.asgi_call import Message, Receive, Scope, Send
from deployments.engines.base import EngineDead
from deployments.engines.scripted.chat import chat
from deployments.engines.scripted.completions import complete
from deployments.engines.scripted.faults import Fault, Faults
from deployments.engines.scripted.messages import count_tokens, messages
from deployments.engines.scripted.pooling import embeddings, rerank, score
from deployments.engines.scripted.schedule import Run, Scheduler
from deployments.engines.scripted.script import Script
from deployments.engines.scripted.tokenization import detokenize, tokenize
from deployments.engines.scripted.wire import Caller, Job, Stream

logger = logging.getLogger(__name__)

Handler = Callable[[bytes, Caller, Script], Job]

HANDLERS: Mapping[str, Handler] = {
    "/v1/chat/completions": chat,
    "/v1/completions": complete,
    "/v1/embeddings": embeddings,
    "/v1/messages": messages,
    "/v1/messages/count_tokens": count_tokens,
    "/tokenize": tokenize,
    "/detokenize": detokenize,
    "/rerank": rerank,
    "/score": score,
}


class ScriptedApp:
    """Answers requests.

    Args:
        model: The name that answers carry when the request names none.
        script: What to say.
        scheduler: When.
        faults: What goes wrong.
        die: Makes the engine dead; it may not return.
    """

    def __init__(self, model: str, script: Script, scheduler: Scheduler, faults: Faults, die: Callable[[], None]) -> None:
        self._model = model
        self._script = script
        self._scheduler = scheduler
        self._faults = faults
        self._die = die

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the scripted engine speaks HTTP, not {scope['type']}")
        out = _Out(send)
        try:
            await self._answer(scope, receive, out)
        except _Disconnected:
            pass
        except EngineDead:
            # As much of a crash as can be had in a process that lives on: the connection breaks.
            raise
        except ApiError as error:
            await out.fail(error)
        except Exception:
            logger.exception("The scripted engine has a bug.")
            await out.fail(ServerError("The engine failed on this request."))

    async def _answer(self, scope: Scope, receive: Receive, out: _Out) -> None:
        handler = HANDLERS.get(scope["path"])
        if handler is None:
            raise NotFound(f"There is no {scope['path'][:200]} here.")
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST only.", headers={"Allow": "POST"})
        job = handler(await _body(receive), self._caller(scope), self._script)
        if not job.lengths:
            await out.whole(job)
            return
        run = Run(self._scheduler, job.lengths)
        async with _watched(receive, run), run:
            await self._perform(job, run, out)

    async def _perform(self, job: Job, run: Run, out: _Out) -> None:
        reader = _Whole(run) if job.stream is None else _Streamed(run, job.stream, out)
        for fault in self._faults.armed(job.prompt, run.longest):
            await reader.advance(fault.after)
            if fault.strikes():
                await self._strike(fault, run)
        await reader.advance(run.longest)
        if job.stream is None:
            await out.whole(job)
        else:
            await out.stream(job.stream.closing(), last=True)

    async def _strike(self, fault: Fault, run: Run) -> None:
        match fault.kind:
            case "die":
                self._die()
                raise EngineDead("The scripted engine died, as it was told to.")
            case "stall":
                await run.stall()
            case "error":
                raise ServerError(f"The scripted engine failed after {fault.after} tokens, as it was told to.")

    def _caller(self, scope: Scope) -> Caller:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        return Caller(headers.get(b"x-request-id") or uuid4().hex, headers.get(b"x-manta-model") or self._model)


class _Disconnected(Exception):
    """The caller left."""


class _Whole:
    """An answer that is sent at its end."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def advance(self, end: int) -> None:
        await self._run.reach(end)


class _Streamed:
    """An answer that is sent as it comes; nothing leaves before the first token, so that failures till then have a status."""

    def __init__(self, run: Run, stream: Stream, out: _Out) -> None:
        self._run = run
        self._stream = stream
        self._out = out
        self._done = 0

    async def advance(self, end: int) -> None:
        if not end:
            await self._run.due(0)
        while self._done < end:
            first, self._done = self._done, min(end, await self._run.due(self._done))
            self._run.hand_over(self._done)
            await self._out.stream(self._stream.tokens(first, self._done), self._stream.opening if not first else None)


class _Out:
    """The response: its head leaves together with its first bytes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def whole(self, job: Job) -> None:
        await self._all(200, msgspec.json.encode(job.body()), {})

    async def stream(self, body: bytes, *, last: bool = False) -> None:
        if not self._started:
            await self._start(200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"})
        if body or last:
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def fail(self, error: ApiError) -> None:
        if self._started:
            await self.stream(error.event(), last=True)
        else:
            await self._all(error.status, error.json(), error.headers)

    async def _all(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self._start(status, {"content-type": "application/json", "content-length": str(len(body)), **headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._started = True
        fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
