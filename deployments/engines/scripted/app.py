"""The scripted engine's ASGI application: routes in, bytes out, faults between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from uuid import uuid4

from app.domain.usage import Usage
from app.errors import ApiError, EngineCrashed, MethodNotAllowed, NotFound, ServerError
from app.services.asgi_call import Receive, Scope, Send, Tally, tally_of
from deployments.engines.base import EngineDead
from deployments.engines.scripted.asgi import Disconnected, Out, lifespan, read_body, watched
from deployments.engines.scripted.books import Books, Page
from deployments.engines.scripted.chat import chat
from deployments.engines.scripted.completions import complete
from deployments.engines.scripted.faults import DEATH, Fault, Faults
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
        books: Where is written down what leaves.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        model: str,
        script: Script,
        scheduler: Scheduler,
        faults: Faults,
        die: Callable[[], None],
        books: Books,
    ) -> None:
        self._model = model
        self._script = script
        self._scheduler = scheduler
        self._faults = faults
        self._die = die
        self._books = books

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            EngineDead: The engine died before anything was sent: another replica can take the request.
        """
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the scripted engine speaks HTTP, not {scope['type']}")
        out = Out(send)
        # Anthropic's clients see an error by the event's name; OpenAI's read the data alone.
        event = b"error" if scope["path"] == "/v1/messages" else b""
        try:
            await self._answer(scope, receive, out)
        except Disconnected:
            pass
        except EngineDead:
            if not out.started:
                raise
            await out.fail(EngineCrashed("The engine died while working on this request."), event)
        except ApiError as error:
            await out.fail(error, event)
        except Exception:
            logger.exception("the scripted engine failed on %s", scope["path"])
            await out.fail(ServerError("The engine failed while working on this request."), event)

    async def _answer(self, scope: Scope, receive: Receive, out: Out) -> None:
        handler = HANDLERS.get(scope["path"])
        if handler is None:
            raise NotFound(f"There is no {scope['path'][:200]} here.")
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST only.", headers={"Allow": "POST"})
        caller = self._caller(scope)
        count = _Count(tally_of(scope), self._books.page(caller.request_id))
        job = handler(await read_body(receive), caller, self._script)
        if not job.lengths:
            await out.whole(job.body())
            return
        run = Run(self._scheduler, job.lengths, job.reading, job.texts_tokens)
        try:
            async with watched(receive, run), run:
                count.read(run.usage())
                await self._perform(job, run, out, count)
        finally:
            count.final(run.took)

    async def _perform(self, job: Job, run: Run, out: Out, count: _Count) -> None:
        telling = _Whole(job, run, out, count) if job.stream is None else _Streamed(job.stream, run, out, count)
        for fault in self._faults.armed(job.prompt, run.longest):
            await telling.advance(fault.after)
            if fault.strikes():
                await self._strike(fault, run)
        await telling.advance(run.longest)
        await telling.close()

    async def _strike(self, fault: Fault, run: Run) -> None:
        match fault.kind:
            case "die":
                self._die()
                raise EngineDead(DEATH)
            case "stall":
                await run.stall()
            case "error":
                raise ServerError(f"The scripted engine failed after {fault.after} tokens, as it was told to.")

    def _caller(self, scope: Scope) -> Caller:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        return Caller(headers.get(b"x-request-id") or uuid4().hex, headers.get(b"x-manta-model") or self._model)


class _Count:
    """Tells the caller, and the books, how much of an answer leaves."""

    def __init__(self, tally: Tally, page: Page) -> None:
        self._tally = tally
        self._page = page

    def read(self, usage: Usage) -> None:
        self._tally.usage = usage

    def leaves(self, tokens: int) -> None:
        self._tally.so_far = tokens
        self._page.gives(tokens)

    def final(self, usage: Usage) -> None:
        self._tally.usage = usage
        self._page.ends(usage.output_tokens)


class _Whole:
    """An answer that is sent when it is complete."""

    def __init__(self, job: Job, run: Run, out: Out, count: _Count) -> None:
        self._job = job
        self._run = run
        self._out = out
        self._count = count

    async def advance(self, end: int) -> None:
        await self._run.reach(end)

    async def close(self) -> None:
        self._count.leaves(self._run.generated())
        await self._out.whole(self._job.body())


class _Streamed:
    """An answer that is sent token by token, once the first is there: what fails before has a status of its own."""

    def __init__(self, stream: Stream, run: Run, out: Out, count: _Count) -> None:
        self._stream = stream
        self._run = run
        self._out = out
        self._count = count
        self._done = 0
        self._opening = stream.opening()

    async def advance(self, end: int) -> None:
        if not end:
            await self._run.due(0)
        while self._done < end:
            first, self._done = self._done, min(end, await self._run.due(self._done))
            self._run.hand_over(self._done)
            self._count.leaves(self._run.generated())
            await self._out.stream(self._opened(self._stream.tokens(first, self._done)))

    async def close(self) -> None:
        await self._out.stream(self._opened(self._stream.closing()), last=True)

    def _opened(self, body: bytes) -> bytes:
        opening, self._opening = self._opening, b""
        return opening + body if opening else body
