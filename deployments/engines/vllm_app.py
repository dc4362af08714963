"""The door in front of vLLM's application: few routes in, final answers out.

Whole answers are rewritten once; chunks of a stream pass untouched. The start of a stream is held until its first
chunk, so that a request which fails before its first token gets a plain error with its own status.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field

import msgspec

from app.errors import ApiError, EngineCrashed, InvalidRequest, MethodNotAllowed, NotFound, ServerError
from app.services.asgi_call import WRITER, ASGIApp, Message, Receive, Scope, Send, Tally, Writer, tally_of
from app.services.inprocess import MODEL_HEADER
from deployments.engines import conform
from deployments.engines.base import ROUTES, EngineDead
from deployments.engines.vllm_usage import Sequences

logger = logging.getLogger("manta")

HEADERS_IN = frozenset((b"x-request-id", b"traceparent", b"tracestate"))
"""What vLLM gets to see: it also takes orders (priority, data-parallel rank, session) from headers."""

ERROR_CHUNKS = (b'data: {"error"', b"event: error")
ANTHROPIC = "/v1/messages"
FAILED = "The engine failed while working on this request."


@dataclass(slots=True)
class Call:
    """One request on its way through vLLM.

    Attributes:
        path: The route.
        model: The name the caller used; answers carry it.
        fingerprint: What answers and chunks state as ``system_fingerprint``.
        error: Set by vLLM's own error seam when a stream breaks.
        gone: The caller left.
        writer: The reader's own end, where it has one.
        sequences: What it has of vLLM.
        tally: What its caller hears of that.
    """

    path: str
    model: str | None = None
    fingerprint: str | None = None
    error: ApiError | None = None
    gone: bool = False
    writer: Writer | None = None
    sequences: Sequences = field(default_factory=Sequences)
    tally: Tally = field(default_factory=Tally)


GiveUp = Callable[[Sequences], Awaitable[None]]

CALL: ContextVar[Call] = ContextVar("manta_vllm_call")


async def _left_nothing(_: Sequences) -> None:
    pass


class EngineApp:
    """The allow-list, and one ``_Answer`` per request.

    Args:
        inner: vLLM's application.
        served: The paths it serves for this model.
        died: Why the engine is dead, or None.
        fingerprint: See ``Call``.
        give_up: Ends what a call has left behind in vLLM.
    """

    def __init__(
        self,
        inner: ASGIApp,
        served: Collection[str],
        died: Callable[[], EngineDead | None],
        fingerprint: str | None,
        give_up: GiveUp = _left_nothing,
    ) -> None:
        self._inner = inner
        self._served = frozenset(served) & ROUTES
        self._died = died
        self._fingerprint = fingerprint
        self._give_up = give_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request.

        Raises:
            EngineDead: The engine died before anything was sent: another replica can take the request.
        """
        if scope["type"] != "http":
            raise RuntimeError(f"an engine speaks HTTP, not {scope['type']}")
        path: str = scope["path"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        model = headers.get(MODEL_HEADER)
        name = model.decode("latin-1") if model else None
        writer, tally = scope.get("extensions", {}).get(WRITER), tally_of(scope)
        call = Call(path, name, self._fingerprint, writer=writer, tally=tally)
        answer = _Answer(call, receive, send, self._died)
        if refused := self._refuse(path, scope["method"]):
            await answer.send_error(refused)
            return
        token = CALL.set(call)
        try:
            await self._run(answer, _inner_scope(scope, headers))
        finally:
            try:
                await self._give_up(call.sequences)
            finally:
                tally.usage = call.sequences.usage()
                CALL.reset(token)

    async def _run(self, answer: _Answer, scope: Scope) -> None:
        try:
            await self._inner(scope, answer.receive, answer.send)
        except Exception as error:
            answer.broke(error)
        await answer.finish()

    def _refuse(self, path: str, method: str) -> ApiError | None:
        if path not in ROUTES:
            return NotFound("There is no such route on an engine.")
        if method != "POST":
            return MethodNotAllowed("Use POST.")
        if path not in self._served:
            return InvalidRequest(f"This model does not serve {path}.", param="model", code="unsupported_capability")
        return None


class _Answer:
    """What vLLM sends for one request, on its way out."""

    def __init__(self, call: Call, receive: Receive, send: Send, died: Callable[[], EngineDead | None]) -> None:
        self._call = call
        self._receive = receive
        self._send = send
        self._died = died
        self._status = 0
        self._content_type = b""
        self._streaming = False
        self._body: list[bytes] = []
        self._complete = False
        self._started = False
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._call.gone = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: dict[bytes, bytes] = dict(message.get("headers", []))
            self._status = message["status"]
            self._content_type = headers.get(b"content-type", b"")
            self._streaming = self._status == 200 and self._content_type.startswith(b"text/event-stream")
        elif self._streaming:
            await self._pass_on(message)
        else:
            self._body.append(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def broke(self, error: Exception) -> None:
        # Starlette answers first and raises afterwards: then the answer says all there is to say.
        if not self._complete and not self._call.gone:
            logger.error("vLLM failed on %s", self._call.path, exc_info=error)
            self._call.error = self._call.error or ServerError(FAILED)

    async def finish(self) -> None:
        """Send what was held back.

        Raises:
            EngineDead: See ``EngineApp``.
        """
        if self._ended or self._call.gone:
            return
        if self._call.error is not None:
            await self._break_off(self._call.error)
        elif self._streaming:
            await self._break_off(ServerError("The engine ended the stream early."))
        else:
            await self._send_whole()

    async def send_error(self, error: ApiError) -> None:
        await self._send_json(error.status, error.json(), error.headers)

    async def _pass_on(self, message: Message) -> None:
        if self._ended or self._call.gone:
            return
        body: bytes = message.get("body", b"")
        if body.startswith(ERROR_CHUNKS) and self._call.error is None:
            self._call.error = ServerError(FAILED)
        if self._call.error is not None:
            # Told by finish(): what vLLM still sends (its own words, [DONE]) goes nowhere.
            return
        if not self._started:
            if not body and message.get("more_body", False):
                return
            self._started = True
            self._call.tally.usage = self._call.sequences.usage()
            await self._send({"type": "http.response.start", "status": 200, "headers": [_EVENT_STREAM]})
        self._ended = not message.get("more_body", False)
        await self._send(message)

    async def _break_off(self, error: ApiError) -> None:
        dead = self._died()
        if not self._started:
            if dead is not None:
                raise dead
            await self.send_error(error)
            return
        self._ended = True
        error = EngineCrashed("The engine died while working on this request.") if dead is not None else error
        # Anthropic's clients see an error by the event's name; OpenAI's read the data alone.
        name = b"event: error\n" if self._call.path == ANTHROPIC else b""
        await self._send({"type": "http.response.body", "body": name + error.event(), "more_body": False})

    async def _send_whole(self) -> None:
        body = b"".join(self._body)
        dead = self._died() if self._status >= 500 or not self._complete else None
        if dead is not None:
            raise dead
        try:
            parsed = msgspec.json.decode(body)
            failure = conform.error(self._call.path, self._status, parsed) if self._status >= 400 else None
            whole = b"" if failure else msgspec.json.encode(conform.answer(self._call.path, parsed))
        except (msgspec.MsgspecError, LookupError, TypeError, AttributeError) as error:
            logger.error("vLLM's answer on %s has an unknown shape", self._call.path, exc_info=error)
            failure, whole = ServerError("The engine's answer could not be read."), b""
        if failure is not None:
            await self.send_error(failure)
        else:
            await self._send_json(200, whole, {})

    async def _send_json(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._ended = True
        out = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        out += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": out})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


def _inner_scope(scope: Scope, headers: dict[bytes, bytes]) -> Scope:
    kept = [(name, value) for name, value in headers.items() if name in HEADERS_IN]
    return {
        **scope,
        # Below 2.4 Starlette watches receive() during a stream, which is how it learns that the reader left.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "headers": [(b"content-type", b"application/json"), *kept],
        "query_string": b"",
        "root_path": "",
        "state": {},
    }
