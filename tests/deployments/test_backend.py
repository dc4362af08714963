from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState, StartTimes
from app.domain.usage import Usage
from app.errors import EngineCrashed, ModelDisabled, ModelNotFound, ModelStarting, ServerError, ServiceUnavailable
from app.services.backend import EngineRequest
from app.services.catalog import Catalog, CatalogEntry
from deployments import backend as module
from deployments.backend import ServeBackend
from deployments.engines.base import EngineDead
from deployments.handle_path import HandlePath
from deployments.handles import Handles
from deployments.link.wire import COUNT
from deployments.outcomes import Crowded
from deployments.queues import Queues
from deployments.reply import ReplyHead
from tests.support.gateway import scripted
from tests.support.meter import Recorder

pytestmark = pytest.mark.usefixtures("clean_loop")

SPEC = scripted("m", limits={"cold_start_timeout_s": 20, "request_timeout_s": 20})
HEAD = ReplyHead(200, "text/event-stream", b"first", 1)
SECOND = COUNT.pack(3) + b"second"
HANG = object()


def request(text: str = "a") -> EngineRequest:
    return EngineRequest("/v1/completions", text.encode(), "id", "m")


class Reply:
    """What a handle's call gives: messages that can be cancelled."""

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self._messages = messages
        self.cancelled = False

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._messages)

    def cancel(self) -> None:
        self.cancelled = True


Script = Callable[[EngineRequest, int], Awaitable[list[Any]]]


@dataclass
class Replicas:
    """Stands for Serve: answers as the test says, the number of the try given."""

    script: Script
    calls: list[bytes] = field(default_factory=list[bytes])
    replies: list[Reply] = field(default_factory=list[Reply])
    asked: list[ModelSpec] = field(default_factory=list[ModelSpec])
    kept: Container[str] = ()

    state: ModelState = field(default_factory=lambda: ModelState("ready"))
    now: ModelSpec | None = None
    queues: Queues = field(default_factory=lambda: Queues(cast(Any, None), "gateway"))

    def backend(self) -> ServeBackend:
        return ServeBackend(HandlePath(cast(Handles, self)), self, self.queues)

    def current(self) -> Catalog:
        """What a catalog source does."""
        return Catalog.of([CatalogEntry(self.now or SPEC, self.state)] if self.state.status != "draining" else [])

    def forget(self, spec: ModelSpec) -> None:
        """What ``Handles`` does."""

    def keep(self, apps: Container[str]) -> None:
        """What ``Handles`` does."""
        self.kept = apps

    async def of(self, spec: ModelSpec) -> Any:
        """What ``Handles`` does."""
        self.asked.append(spec)
        return SimpleNamespace(options=lambda **_: self)

    @contextlib.asynccontextmanager
    async def choose_replica(self, asked: EngineRequest) -> AsyncGenerator[Any]:
        """The first message is the replica that was chosen."""
        reply = self._infer(asked)
        try:
            replica = await anext(reply)
        except asyncio.CancelledError:
            reply.cancel()
            raise
        yield SimpleNamespace(replica_id=replica, reply=reply)

    def dispatch(self, chosen: Any, asked: EngineRequest) -> Reply:
        """What follows is its answer."""
        return chosen.reply

    def _infer(self, asked: EngineRequest) -> Reply:
        self.calls.append(asked.body)
        reply = Reply(self._messages(asked, self.calls.count(asked.body)))
        self.replies.append(reply)
        return reply

    async def _messages(self, asked: EngineRequest, attempt: int) -> AsyncIterator[Any]:
        for message in await self.script(asked, attempt):
            await asyncio.sleep(0)
            if message is HANG:
                await asyncio.Event().wait()
            if isinstance(message, Exception):
                raise message
            yield message


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "PROBATION_S", 0.05)


def always(*messages: Any) -> Script:
    async def script(asked: EngineRequest, attempt: int) -> list[Any]:
        return list(messages)

    return script


async def test_an_answer_is_the_head_and_what_follows():
    response = await Replicas(always("r1", HEAD, SECOND)).backend().send(SPEC, request())
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert [chunk async for chunk in response] == [b"first", b"second"]


async def test_a_death_before_the_answer_is_tried_again():
    async def once(asked: EngineRequest, attempt: int) -> list[Any]:
        return ["r1", EngineDead("x")] if attempt == 1 else ["r2", HEAD]

    replicas = Replicas(once)
    response = await replicas.backend().send(SPEC, request())
    assert [chunk async for chunk in response] == [b"first"]
    assert len(replicas.calls) == 2


async def test_two_deaths_are_enough_and_the_payload_is_not_tried_again():
    async def deadly(asked: EngineRequest, attempt: int) -> list[Any]:
        return [f"r{attempt}", EngineDead("x")]

    replicas = Replicas(deadly)
    backend = replicas.backend()
    for _ in range(2):
        with pytest.raises(EngineCrashed) as crash:
            await backend.send(SPEC, request())
        assert crash.value.code == "engine_crashed_by_request"
        assert crash.value.headers == {"x-should-retry": "false"}
    assert len(replicas.calls) == 2


async def test_a_death_that_nobody_can_place_blames_nobody():
    async def unlucky(asked: EngineRequest, attempt: int) -> list[Any]:
        return [EngineDead("x")] if attempt < 6 else ["r1", HEAD]

    replicas = Replicas(unlucky)
    response = await replicas.backend().send(SPEC, request())
    assert len(replicas.calls) == 6
    await response.aclose()


async def test_whoever_was_there_when_a_replica_died_does_not_pay_for_the_culprit():
    """One payload kills; of those that shared its replica none is refused, although all are tried again."""
    generation = 1
    up = asyncio.Event()
    died = asyncio.Event()

    async def replica(asked: EngineRequest, attempt: int) -> list[Any]:
        nonlocal generation, died
        if attempt > 1:
            await up.wait()  # the replica takes its time to come back, and all wait for it
        mine, end = generation, died
        if attempt == 1:
            await asyncio.sleep(0.05)
        if asked.body == b"bad":
            generation, died = generation + 1, asyncio.Event()
            end.set()
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), 0.02 if attempt > 1 else 5)
        return [f"r{mine}", EngineDead("x") if end.is_set() else HEAD]

    replicas = Replicas(replica)
    backend = replicas.backend()
    names = ["good-1", "good-2", "bad", "good-3", "good-4"]
    sends = [asyncio.create_task(backend.send(SPEC, request(name))) for name in names]
    await asyncio.sleep(0.3)
    up.set()
    outcomes = dict(zip(names, await asyncio.gather(*sends, return_exceptions=True), strict=True))
    assert isinstance(outcomes.pop("bad"), EngineCrashed)
    assert [name for name, outcome in outcomes.items() if isinstance(outcome, BaseException)] == []


async def test_suspects_are_tried_one_after_the_other():
    together: list[int] = []
    running = 0

    async def script(asked: EngineRequest, attempt: int) -> list[Any]:
        nonlocal running
        if attempt == 1:
            return ["r1", EngineDead("x")]
        running += 1
        together.append(running)
        await asyncio.sleep(0.02)
        running -= 1
        return ["r2", HEAD]

    backend = Replicas(script).backend()
    responses = await asyncio.gather(*(backend.send(SPEC, request(str(n))) for n in range(5)))
    assert together == [1] * 5
    for response in responses:
        await response.aclose()


async def test_a_suspect_whose_caller_leaves_holds_nobody_up():
    async def script(asked: EngineRequest, attempt: int) -> list[Any]:
        if attempt == 1:
            return ["r1", EngineDead("x")]
        return [HANG] if asked.body == b"slow" else ["r2", HEAD]

    replicas = Replicas(script)
    backend = replicas.backend()
    slow = asyncio.create_task(backend.send(SPEC, request("slow")))
    await asyncio.sleep(0.05)
    other = asyncio.create_task(backend.send(SPEC, request("other")))
    await asyncio.sleep(0.05)
    assert not other.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    assert replicas.replies[1].cancelled
    async with asyncio.timeout(5):
        await (await other).aclose()


async def test_a_caller_that_leaves_cancels_the_call():
    replicas = Replicas(always("r1", HANG))
    sending = asyncio.create_task(replicas.backend().send(SPEC, request()))
    await asyncio.sleep(0.02)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert replicas.replies[0].cancelled


async def test_closing_an_answer_cancels_the_call_once_and_only_while_it_runs():
    replicas = Replicas(always("r1", HEAD))
    response = await replicas.backend().send(SPEC, request())
    assert [chunk async for chunk in response] == [b"first"]
    await response.aclose()
    assert not replicas.replies[0].cancelled

    replicas = Replicas(always("r1", HEAD, HANG))
    response = await replicas.backend().send(SPEC, request())
    await response.aclose()
    await response.aclose()
    assert replicas.replies[0].cancelled


async def test_a_death_in_the_middle_is_told():
    response = await Replicas(always("r1", HEAD, EngineDead("x"))).backend().send(SPEC, request())
    with pytest.raises(EngineCrashed, match="in the middle"):
        assert [chunk async for chunk in response]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BackPressureError(1, 1), ServiceUnavailable),
        (RuntimeError("secret"), ServerError),
        (ModelStarting("Later."), ModelStarting),
    ],
)
async def test_what_serve_says_is_told_in_our_words(error: Exception, told: type[Exception]):
    with pytest.raises(told) as raised:
        await Replicas(always(error)).backend().send(SPEC, request())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("crowded", "state", "seconds"),
    [
        (Crowded(2.2), ModelState("ready"), 3),
        (Crowded(0.01), ModelState("ready"), 1),
        (Crowded(None), ModelState("ready"), 1),
        (Crowded(None), ModelState("starting", start=StartTimes(0.0, 40.0, 2.0, 0.0)), 42),
        (Crowded(None), ModelState("cold"), 10),
    ],
)
async def test_who_is_not_to_wait_is_told_when_to_come_back(crowded: Crowded, state: ModelState, seconds: int):
    replicas = Replicas(always(crowded), state=state)
    with pytest.raises(ServiceUnavailable, match=f"Try again in {seconds} s") as refused:
        await replicas.backend().send(SPEC, request())
    await replicas.queues.stop()
    assert refused.value.code == "overloaded"
    assert refused.value.headers["Retry-After"] == str(seconds)


async def test_of_a_flood_those_are_refused_that_would_wait_last():
    spec = scripted("m", limits={"max_ongoing_requests": 1, "max_queued_requests": 4})
    replicas = Replicas(always(HANG))
    backend = replicas.backend()
    flood = [asyncio.create_task(backend.send(spec, request())) for _ in range(10)]
    await asyncio.sleep(0.01)
    refused = [task.exception() for task in flood if task.done()]
    assert len(refused) == 6
    assert all(isinstance(error, ServiceUnavailable) for error in refused)
    assert len(replicas.calls) == 1, "Serve was not asked for them"
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_who_waits_too_long_for_a_replica_is_told_to_come_back():
    spec = scripted("m", limits={"cold_start_timeout_s": 0.05})
    replicas = Replicas(always(HANG))
    backend = replicas.backend()
    with pytest.raises(ModelStarting) as late:
        await backend.send(spec, request())
    assert int(late.value.headers["Retry-After"]) >= 1
    assert replicas.replies[0].cancelled


def gone_once(asked: EngineRequest, attempt: int) -> list[Any]:
    return [DeploymentUnavailableError(cast(Any, "m"))] if attempt == 1 else ["r1", HEAD]


def moving() -> Replicas:
    """A model whose application goes while a request waits for it."""

    async def script(asked: EngineRequest, attempt: int) -> list[Any]:
        return gone_once(asked, attempt)

    return Replicas(script)


async def test_a_request_follows_a_model_that_was_changed_while_it_waited():
    replicas = moving()
    replicas.now = scripted("m", engine_args={"ttft_s": 1})
    response = await replicas.backend().send(SPEC, request())
    assert replicas.asked == [SPEC, replicas.now]
    await response.aclose()


async def test_a_request_for_a_model_that_was_removed_while_it_waited_is_told_so():
    replicas = moving()
    replicas.state = ModelState("draining")
    with pytest.raises(ModelNotFound):
        await replicas.backend().send(SPEC, request())
    await replicas.queues.stop()


async def test_a_request_for_a_model_that_was_switched_off_while_it_waited_is_told_so():
    replicas = moving()
    replicas.state = ModelState("disabled")
    with pytest.raises(ModelDisabled):
        await replicas.backend().send(SPEC, request())
    await replicas.queues.stop()


async def test_who_waited_too_long_is_told_when_to_come_again_by_what_starts_take():
    spec = scripted("m", limits={"cold_start_timeout_s": 0.05})
    replicas = Replicas(always(HANG))
    replicas.state = ModelState("starting", start=StartTimes(load_s=34))
    with pytest.raises(ModelStarting, match=r"no free replica within 0.05 s") as refusal:
        await replicas.backend().send(spec, request())
    assert refusal.value.headers["Retry-After"] == "34"
    await replicas.queues.stop()


async def test_the_ways_to_what_is_no_more_are_forgotten():
    replicas = Replicas(always("r1", HEAD))
    replicas.backend().follow(replicas.current())
    assert SPEC.app_name in replicas.kept
    assert scripted("n").app_name not in replicas.kept


TOOK = Usage(7, 5)


async def test_by_handle_the_last_message_says_what_it_took():
    meter = Recorder()
    response = await Replicas(always("r1", HEAD, SECOND, TOOK)).backend().send(SPEC, request(), meter)
    assert (meter.begun, meter.heard) == (1, [])
    assert [chunk async for chunk in response] == [b"first", b"second"]
    await response.aclose()
    assert await meter.all_heard() == [TOOK]


async def test_by_handle_each_replica_that_had_it_is_heard_of():
    async def once(asked: EngineRequest, attempt: int) -> list[Any]:
        if attempt == 1:
            return ["r1", Usage(7), EngineDead("x")]
        return ["r2", EngineDead("x")] if attempt == 2 else ["r3", HEAD, TOOK]

    meter = Recorder()
    with pytest.raises(EngineCrashed):
        await Replicas(once).backend().send(SPEC, request(), meter)
    assert await meter.all_heard(2) == [Usage(7), None]


async def test_by_handle_who_leaves_hears_no_more():
    meter = Recorder()
    response = await Replicas(always("r1", HEAD, SECOND, HANG)).backend().send(SPEC, request(), meter)
    parts = aiter(response)
    assert [await anext(parts), await anext(parts)] == [b"first", b"second"]
    await response.aclose()
    await response.aclose()
    assert await meter.all_heard() == [None]
    assert (meter.times_left, meter.seen) == (1, [3]), "the replica gets on record what it took"


@pytest.mark.parametrize("end", [[TOOK, ValueError("x")], [EngineDead("x")], []], ids=["failed", "dead", "silent"])
async def test_by_handle_a_stream_that_breaks_is_heard_of_once(end: list[Any]):
    meter = Recorder()
    response = await Replicas(always("r1", HEAD, *end)).backend().send(SPEC, request(), meter)
    with contextlib.suppress(EngineCrashed, ServerError):
        assert [chunk async for chunk in response] == [b"first"]
    await response.aclose()
    assert await meter.all_heard() == [TOOK if TOOK in end else None]
    assert meter.seen == ([] if TOOK in end else [1])
    assert meter.times_left == len(meter.seen), "what a dead one had on its slate may be more than came here"


async def test_a_request_that_no_replica_got_never_began():
    meter = Recorder()
    with pytest.raises(ServiceUnavailable):
        await Replicas(always(BackPressureError(1, 1))).backend().send(SPEC, request(), meter)
    assert (meter.begun, meter.heard) == (0, [])


async def test_a_suspect_is_counted_as_any_other():
    async def once(asked: EngineRequest, attempt: int) -> list[Any]:
        return ["r1", EngineDead("x")] if attempt == 1 else ["r2", HEAD, TOOK]

    meter = Recorder()
    response = await Replicas(once).backend().send(SPEC, request(), meter)
    assert [chunk async for chunk in response] == [b"first"]
    assert await meter.all_heard(2) == [None, TOOK]


async def test_a_request_can_go_to_another_process():
    asked = EngineRequest("/v1/completions", b"{}", "id", "m", b"account")
    assert pickle.loads(pickle.dumps(asked)) == asked
