"""A request over a link: sent once, its lease given back whatever happens, and the long way where there is no link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.domain.model_spec import ModelSpec
from app.domain.usage import NOTHING
from app.errors import EngineCrashed, ServerError, ServiceUnavailable
from app.services.asgi_call import Receive, Scope, Send
from app.services.backend import EngineResponse
from deployments import affinity
from deployments.affinity import NO_PREFIX
from deployments.engines.base import EngineDead
from deployments.handles import Handles
from deployments.link.listener import Listener
from deployments.link.tickets import Grant, Ticket
from deployments.link_path import LinkPath
from deployments.outcomes import Died, Moved, NoReplicaYet
from deployments.reply import ReplyHead
from tests.deployments.link.conftest import REPLICA, Behaviour, body, request, start
from tests.support.gateway import scripted
from tests.support.meter import Recorder
from tests.support.ports import free_port

pytestmark = pytest.mark.usefixtures("clean_loop")

SPEC = scripted("m", limits={"cold_start_timeout_s": 20, "request_timeout_s": 20})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in two pieces."""
    await start(send)
    await body(send, b"one")
    await body(send, b"two", more=False)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers."""
    await receive()
    assert (await receive())["type"] == "http.disconnect"


async def dead(scope: Scope, receive: Receive, send: Send) -> None:
    """Its engine is gone."""
    raise EngineDead("gone")


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    """Fails."""
    raise ZeroDivisionError


@dataclass
class Call:
    """A call of ``ModelReplica.lease``."""

    ticket: Ticket | Exception
    cancelled: bool = False

    async def __anext__(self) -> Ticket:
        if isinstance(self.ticket, Exception):
            raise self.ticket
        return self.ticket

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Model:
    """A model behind Serve's handle.

    Attributes:
        there: What a lease gives instead of a ticket to the listener.
    """

    listener: Listener
    there: Ticket | Exception | None = None
    grants: list[Grant] = field(default_factory=list[Grant])
    calls: list[Call] = field(default_factory=list[Call])
    forgotten: bool = False
    kept: list[Any] = field(default_factory=list[Any])

    async def of(self, spec: ModelSpec) -> Any:
        """What ``Handles`` does."""
        return SimpleNamespace(options=lambda method_name: self if method_name == "infer" else self._leases())

    def forget(self, spec: ModelSpec) -> None:
        """What ``Handles`` does."""
        self.forgotten = True

    def keep(self, apps: Any) -> None:
        """What ``Handles`` does."""
        self.kept.append(apps)

    def path(self) -> LinkPath:
        """The way to it."""
        return LinkPath(cast(Handles, self))

    @asynccontextmanager
    async def choose_replica(self, _: Any) -> AsyncGenerator[Any]:
        """Serve's."""
        yield SimpleNamespace(replica_id="r1")

    def dispatch(self, chosen: Any, asked: Any) -> AsyncIterator[Any]:
        """The long way."""

        async def messages() -> AsyncIterator[Any]:
            yield ReplyHead(200, "text/event-stream", b"by handle", 2)

        return messages()

    def _leases(self) -> Any:
        return SimpleNamespace(remote=self._lease)

    def _lease(self) -> Call:
        if self.there is None:
            ticket, grant = self.listener.grant()
            self.grants.append(grant)
            call = Call(ticket)
        else:
            call = Call(self.there)
        self.calls.append(call)
        return call


@pytest.fixture
async def model() -> AsyncIterator[Callable[[Behaviour], Awaitable[Model]]]:
    """Starts models; ends them."""
    made: list[Model] = []

    async def start_model(behaviour: Behaviour) -> Model:
        listener = Listener(behaviour, REPLICA, "127.0.0.1", 1)
        await listener.start()
        made.append(model := Model(listener))
        return model

    yield start_model
    for each in made:
        await each.listener.stop()
    await asyncio.sleep(0.02)


Make = Callable[[Behaviour], Awaitable[Model]]


def hang_up(model: Model) -> None:
    """What its gateways see when a replica is killed."""
    for link in list(model.listener._links):  # pyright: ignore[reportPrivateUsage]
        transport = link._out.transport  # pyright: ignore[reportPrivateUsage]
        assert transport is not None
        transport.abort()


def soon(seconds: float = 10) -> float:
    return asyncio.get_running_loop().time() + seconds


async def text_of(response: EngineResponse) -> bytes:
    return b"".join([chunk async for chunk in response])


async def test_an_answer_comes_whole_and_its_lease_serves_the_next(model: Make):
    there = await model(hello)
    path = there.path()
    for _ in range(3):
        response = await path.attempt(SPEC, request(), soon(), asyncio.Event())
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert await text_of(response) == b"onetwo"
    assert len(there.calls) == 1


async def test_where_there_is_one_replica_nothing_of_the_prompt_is_read(model: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(affinity, "prefix_of", None)
    response = await (await model(hello)).path().attempt(SPEC, request(b"x" * 5000), soon(), asyncio.Event())
    assert await text_of(response) == b"onetwo"


async def test_where_there_may_be_several_it_is(model: Make, monkeypatch: pytest.MonkeyPatch):
    read: list[bytes] = []
    monkeypatch.setattr(affinity, "prefix_of", lambda body: read.append(body) or NO_PREFIX)
    path = (await model(hello)).path()
    for routing in ("prefix_affinity", "round_robin"):
        spec = scripted("m", autoscaling={"max_replicas": 2}, routing=routing)
        response = await path.attempt(spec, request(b"x" * 5000), soon(), asyncio.Event())
        assert await text_of(response) == b"onetwo"
    assert read == [b"x" * 5000]


async def test_it_says_when_a_replica_was_found(model: Make):
    found = asyncio.Event()
    response = await (await model(hello)).path().attempt(SPEC, request(), soon(), found)
    assert found.is_set()
    await response.aclose()


async def test_a_dead_engine_is_a_death_and_its_lease_ends(model: Make):
    there = await model(dead)
    with pytest.raises(Died) as death:
        await there.path().attempt(SPEC, request(), soon(), asyncio.Event())
    assert death.value.replica == REPLICA
    async with asyncio.timeout(5):
        await there.grants[0].over.wait()


async def test_a_replica_that_goes_before_the_answer_is_a_death(model: Make):
    there = await model(silent)
    attempt = asyncio.create_task(there.path().attempt(SPEC, request(), soon(), asyncio.Event()))
    await asyncio.sleep(0.1)
    hang_up(there)
    with pytest.raises(Died) as death:
        await attempt
    assert death.value.replica == REPLICA


async def test_a_replica_that_goes_in_the_middle_is_told(model: Make):
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"one")
        await silent(scope, receive, send)

    there = await model(half)
    response = await there.path().attempt(SPEC, request(), soon(), asyncio.Event())
    hang_up(there)
    with pytest.raises(EngineCrashed, match="in the middle"):
        await text_of(response)


async def test_a_failure_of_the_application_is_ours(model: Make):
    with pytest.raises(ServerError):
        await (await model(broken)).path().attempt(SPEC, request(), soon(), asyncio.Event())


async def test_an_answer_that_takes_too_long_is_given_up(model: Make):
    spec = scripted("m", limits={"request_timeout_s": 0.05})
    with pytest.raises(ServiceUnavailable) as late:
        await (await model(silent)).path().attempt(spec, request(), soon(), asyncio.Event())
    assert late.value.code == "request_timeout"


async def test_who_waits_too_long_for_a_replica_is_told_to_come_back(model: Make, monkeypatch: pytest.MonkeyPatch):
    async def never(_: Call) -> Ticket:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Call, "__anext__", never)
    there = await model(hello)
    with pytest.raises(NoReplicaYet):
        await there.path().attempt(SPEC, request(), soon(0.05), asyncio.Event())
    await asyncio.sleep(0)
    assert there.calls[0].cancelled


async def test_a_caller_that_leaves_gives_its_lease_back(model: Make):
    there = await model(silent)
    path = there.path()
    attempt = asyncio.create_task(path.attempt(SPEC, request(), soon(), asyncio.Event()))
    await asyncio.sleep(0.1)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    second = asyncio.create_task(path.attempt(SPEC, request(), soon(), asyncio.Event()))
    await asyncio.sleep(0.1)
    assert len(there.calls) == 1, "the lease was free again"
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_where_there_is_no_way_to_the_listener_the_handle_carries_the_bytes(model: Make):
    there = await model(hello)
    there.there = Ticket("b" * 32, "127.0.0.1", free_port(), 0, "token")
    response = await there.path().attempt(SPEC, request(), soon(), asyncio.Event())
    assert await text_of(response) == b"by handle"


async def test_what_serve_says_instead_of_a_lease_is_told_in_our_words(model: Make):
    there = await model(hello)
    there.there = RuntimeError("secret")
    with pytest.raises(ServerError) as told:
        await there.path().attempt(SPEC, request(), soon(), asyncio.Event())
    assert "secret" not in str(told.value)


async def test_the_way_to_an_application_that_is_no_more_is_forgotten_and_made_again(model: Make):
    there = await model(hello)
    path = there.path()
    for apps, leases in (({SPEC.app_name}, 1), (set[str](), 2)):
        response = await path.attempt(SPEC, request(), soon(), asyncio.Event())
        path.keep(apps)
        assert await text_of(response) == b"onetwo"
        await (await path.attempt(SPEC, request(), soon(), asyncio.Event())).aclose()
        assert len(there.calls) == leases
    assert there.kept == [{SPEC.app_name}, set()]


async def test_who_waits_at_an_application_that_goes_is_told_to_look_again(
    model: Make, monkeypatch: pytest.MonkeyPatch
):
    async def never(_: Call) -> Ticket:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Call, "__anext__", never)
    there = await model(hello)
    path = there.path()
    waiting = [asyncio.create_task(path.attempt(SPEC, request(), soon(), asyncio.Event())) for _ in range(3)]
    await asyncio.sleep(0.02)
    path.keep({SPEC.app_name})
    await asyncio.sleep(0.02)
    assert not any(attempt.done() for attempt in waiting)
    path.keep(set())
    for attempt in waiting:
        with pytest.raises(Moved):
            await attempt
    assert all(call.cancelled for call in there.calls)


async def test_a_meter_hears_of_an_answer_once(model: Make):
    there, meter = await model(hello), Recorder()
    response = await there.path().attempt(SPEC, request(), soon(), asyncio.Event(), meter)
    assert await text_of(response) == b"onetwo"
    await response.aclose()
    assert await meter.all_heard() == [NOTHING]


@pytest.mark.parametrize("behaviour", [dead, broken])
async def test_a_meter_hears_of_what_failed(model: Make, behaviour: Behaviour):
    meter = Recorder()
    with pytest.raises((Died, ServerError)):
        await (await model(behaviour)).path().attempt(SPEC, request(), soon(), asyncio.Event(), meter)
    assert await meter.all_heard() == [NOTHING]


async def test_a_meter_hears_that_nobody_knows_what_a_lost_replica_did(model: Make):
    there, meter = await model(silent), Recorder()
    attempt = asyncio.create_task(there.path().attempt(SPEC, request(), soon(), asyncio.Event(), meter))
    await asyncio.sleep(0.1)
    hang_up(there)
    with pytest.raises(Died):
        await attempt
    assert await meter.all_heard() == [None]


async def test_a_meter_hears_of_what_took_too_long_when_it_is_over(model: Make):
    spec, meter = scripted("m", limits={"request_timeout_s": 0.05}), Recorder()
    with pytest.raises(ServiceUnavailable):
        await (await model(silent)).path().attempt(spec, request(), soon(), asyncio.Event(), meter)
    assert await meter.all_heard() == [NOTHING]


async def test_a_meter_goes_along_where_the_handle_carries_the_bytes(model: Make):
    there, meter = await model(hello), Recorder()
    there.there = Ticket("b" * 32, "127.0.0.1", free_port(), 0, "token")
    response = await there.path().attempt(SPEC, request(), soon(), asyncio.Event(), meter)
    assert await text_of(response) == b"by handle"
    assert await meter.all_heard() == [None], "it told nothing"
