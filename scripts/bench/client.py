"""The load: a process of its own that asks, notes when which bytes came, and looks at them only afterwards.

    python -m scripts.bench.client < job.json > result.json

While the clock runs it does nothing per read but parse HTTP framing (in C) and keep the bytes with their time: no JSON,
no search. The connections stand before the clock starts. It is open: when a request is due does not depend on how
the ones before were answered, unless a job says that it should.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import httptools
import uvloop

CONNECT_S = 10.0
ROLE = b'"role":"assistant"'
"""Marks the first frame of a chat stream, which has no token yet."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to ask.

    Attributes:
        path: The route.
        bodies: One JSON body for each caller; all callers work at once, each on a connection of its own.
        requests: How many requests each caller makes.
        every_s: Seconds from one request to the next, over all callers in turn. A request whose caller is still busy
            leaves late and is timed from when it was due. None: every caller asks again as soon as it is answered.
        expected_tokens: What the server's own usage has to say, or the request has failed; 0 for anything.
        timeout_s: How long the whole job may take.
        turns: In place of ``bodies`` and ``requests``: for each caller, the bodies to ask one after the other.
    """

    host: str
    port: int
    path: str
    headers: dict[str, str]
    bodies: list[str]
    requests: int
    expected_tokens: int
    timeout_s: float
    every_s: float | None = None
    turns: list[list[str]] | None = None

    def asked(self) -> list[list[str]]:
        """What each caller asks."""
        return self.turns if self.turns is not None else [[body] * self.requests for body in self.bodies]


@dataclass(slots=True)
class Request:
    """One request as its caller saw it. Times are seconds on the system's monotonic clock.

    Attributes:
        sent: When it was due; where nothing says when, when its bytes were handed to the socket.
        first: When the first token was there (of a whole answer: its first byte).
        last: When its last byte was there.
        tokens: Generated tokens, by the server's own usage.
        prompt: Tokens of the prompt, by the same usage.
        cached: How many of them the engine had read before, as far as it tells.
        gaps: Between the frames of a stream, from the first token on; 0 within one read.
        error: Why it counts as failed, or None.
    """

    sent: float
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    prompt: int = 0
    cached: int = 0
    gaps: list[float] = field(default_factory=list[float])
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a job came to.

    Attributes:
        cpu_s: Processor time of this client while the clock ran.
    """

    requests: list[Request]
    cpu_s: float

    @property
    def seconds(self) -> float:
        """From the first request's start to the last one's end."""
        return max(each.last for each in self.requests) - min(each.sent for each in self.requests)

    @property
    def tokens(self) -> int:
        """All that was generated."""
        return sum(each.tokens for each in self.requests)

    @property
    def errors(self) -> list[str]:
        """Why requests failed, one entry each."""
        return [each.error for each in self.requests if each.error is not None]

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        """What ``main`` wrote."""
        values = json.loads(text)
        return cls([Request(**each) for each in values["requests"]], values["cpu_s"])


class Caller(asyncio.Protocol):
    """One connection: a request at a time, every read of its answer kept with its time."""

    def __init__(self) -> None:
        self.reads: list[tuple[float, bytes]] = []
        self.status = 0
        self.last = 0.0
        self.over: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._now = 0.0
        self._transport: Any = None
        self._parser: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost: {exc or 'closed by the server'}")

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"this is not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        self.reads.append((self._now, body))

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.last = self._now
        self._end(None)

    def send(self, request: bytes) -> float:
        """Start a request; the moment it left."""
        self.reads = []
        self.status = 0
        self.over = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        sent = time.monotonic()
        if self._transport.is_closing():
            self._end("the connection was lost: closed by the server")
        else:
            self._transport.write(request)
        return sent

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _end(self, error: str | None) -> None:
        if not self.over.done():
            self.over.set_result(error)


async def run(job: Job) -> Result:
    """Do a job: connect all callers, then let them ask at once.

    Raises:
        OSError: Nobody listens there.
        TimeoutError: A connection did not come about.
    """
    async with asyncio.timeout(CONNECT_S):
        callers = await asyncio.gather(*[_connect(job) for _ in job.asked()])
    start = time.monotonic()
    deadline = asyncio.get_running_loop().time() + job.timeout_s
    cpu = time.process_time()
    seen = await asyncio.gather(*[_ask(caller, job, index, start, deadline) for index, caller in enumerate(callers)])
    cpu = time.process_time() - cpu
    for caller in callers:
        caller.close()
    return Result([_judge(raw, job.expected_tokens) for raws in seen for raw in raws], cpu)


@dataclass(frozen=True, slots=True)
class _Raw:
    sent: float
    last: float
    status: int
    reads: list[tuple[float, bytes]]
    error: str | None


async def _connect(job: Job) -> Caller:
    _, caller = await asyncio.get_running_loop().create_connection(Caller, job.host, job.port)
    return caller


async def _ask(caller: Caller, job: Job, index: int, start: float, deadline: float) -> list[_Raw]:
    bodies = job.asked()[index]
    # Most callers ask the same again and again.
    requests = {body: _request(job, body.encode()) for body in set(bodies)}
    seen: list[_Raw] = []
    for number, body in enumerate(bodies):
        due: float | None = None
        if job.every_s is not None:
            due = start + (number * len(job.asked()) + index) * job.every_s
            await asyncio.sleep(due - time.monotonic())
        sent = caller.send(requests[body])
        try:
            async with asyncio.timeout_at(deadline):
                error = await caller.over
        except TimeoutError:
            error = f"not over after {job.timeout_s:g} s"
        sent = sent if due is None else due
        seen.append(_Raw(sent, caller.last if error is None else time.monotonic(), caller.status, caller.reads, error))
        if error is not None:
            break
    return seen


def _request(job: Job, body: bytes) -> bytes:
    lines = [
        f"POST {job.path} HTTP/1.1",
        f"host: {job.host}:{job.port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *[f"{name}: {value}" for name, value in job.headers.items()],
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _judge(raw: _Raw, expected_tokens: int) -> Request:
    request = Request(raw.sent, first=raw.last, last=raw.last, error=raw.error)
    body = b"".join([read for _, read in raw.reads])
    if request.error is None and raw.status != 200:
        request.error = f"status {raw.status}: {body[:300].decode(errors='replace')}"
    if request.error is None:
        try:
            if body.startswith(b"{"):
                request.first = raw.reads[0][0]
                _read_usage(request, json.loads(body)["usage"])
            else:
                _read_stream(request, raw.reads)
        except (ValueError, LookupError, TypeError) as error:
            request.error = f"the answer cannot be read ({error}): ...{body[-300:].decode(errors='replace')}"
    if request.error is None and expected_tokens and request.tokens != expected_tokens:
        request.error = f"{request.tokens} tokens came, {expected_tokens} were asked for"
    return request


def _read_stream(request: Request, reads: list[tuple[float, bytes]]) -> None:
    frames = _frames(reads)
    if not frames or frames.pop()[1] != b"data: [DONE]":
        raise ValueError("the stream has no end")
    _read_usage(request, json.loads(frames.pop()[1].removeprefix(b"data: "))["usage"])
    times = [at for at, frame in frames if ROLE not in frame]
    if not times:
        raise ValueError("the stream has no tokens")
    request.first = times[0]
    request.gaps = [after - before for before, after in pairwise(times)]


def _read_usage(request: Request, usage: dict[str, Any]) -> None:
    request.tokens = usage["completion_tokens"]
    request.prompt = usage.get("prompt_tokens", 0)
    request.cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)


def _frames(reads: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Every data frame with the moment at which its last byte was there; comments are none."""
    frames: list[tuple[float, bytes]] = []
    rest = b""
    for at, read in reads:
        *whole, rest = (rest + read).split(b"\n\n")
        frames += [(at, frame) for frame in whole if frame.startswith(b"data: ")]
    return frames


def main() -> int:
    """Read a job, do it, write its result."""
    job = Job(**json.load(sys.stdin))
    try:
        result = uvloop.run(run(job))
    except (OSError, TimeoutError) as error:
        print(f"error: {job.host}:{job.port} cannot be reached: {error or 'it takes too long'}", file=sys.stderr)
        return 1
    json.dump(asdict(result), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
