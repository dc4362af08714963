"""What calls took gets to whoever counts: over the link while there is one, as orphans after that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.domain.usage import NOTHING, Usage
from app.services.asgi_call import Receive, Scope, Send, tally_of
from app.services.backend import EngineRequest
from deployments.engines.base import EngineDead
from deployments.link.link import CallBroken, LinkLost
from deployments.link.wire import WINDOW
from tests.deployments.link.conftest import Behaviour, Replica, body, request, start
from tests.support.meter import Recorder

pytestmark = pytest.mark.usefixtures("clean_loop")
Start = Callable[[Behaviour], Awaitable[Replica]]

TOOK = Usage(7, 5, 3, 1)
MIDWAY = Usage(7, 2)


def counted(account: bytes = b"account") -> EngineRequest:
    return EngineRequest("/v1/completions", b"{}", "id", "alias", account)


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers."""
    await start(send)
    await body(send, b"all", more=False)
    tally_of(scope).usage = TOOK


async def patient(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a little, and works until the caller leaves."""
    await receive()
    try:
        await start(send)
        await body(send, b"first")
        assert (await receive())["type"] == "http.disconnect"
    finally:
        tally_of(scope).usage = MIDWAY


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_answer_says_what_it_took_and_is_forgotten_once_that_is_on_record(replica: Start):
    there, meter = await replica(whole), Recorder(writes=False)
    answer = (await there.link()).send(counted(), meter)
    assert [chunk async for chunk in answer] == [b"all"]
    assert await meter.all_heard() == [TOOK]
    assert there.unwritten == 1
    meter.kept[0]()
    await until(lambda: there.unwritten == 0)
    await there.listener.stop()
    assert there.orphans == []


async def test_a_call_without_an_account_is_counted_and_not_kept(replica: Start):
    there, meter = await replica(whole), Recorder(writes=False)
    (await there.link()).send(request(), meter)
    assert await meter.all_heard() == [TOOK]
    assert there.unwritten == 0


async def test_who_leaves_is_told_what_it_took_until_the_work_was_over(replica: Start):
    there, meter = await replica(patient), Recorder()
    link = await there.link()
    answer = link.send(counted(), meter)
    await answer.begun()
    answer.close()
    assert meter.heard == [], "the work is not over"
    assert await meter.all_heard() == [MIDWAY]
    again = link.send(counted(), meter)
    await again.begun()
    again.close()
    assert await meter.all_heard(2) == [MIDWAY, MIDWAY]


async def test_a_number_is_not_given_again_before_its_call_has_ended(replica: Start):
    there, meter = await replica(patient), Recorder()
    link = await there.link()
    link._numbers = iter([1, 1, 2, 3])  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    first = link.send(counted(), meter)
    await first.begun()
    first.close()
    second = link.send(counted(), meter)
    await second.begun()
    second.close()
    assert await meter.all_heard(2) == [MIDWAY, MIDWAY]


async def test_a_full_window_does_not_keep_the_end_from_whoever_left(replica: Start):
    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        tally_of(scope).usage = MIDWAY
        await start(send)
        for _ in range(4):
            await body(send, b"x" * WINDOW)
        await body(send, b"", more=False)

    there, meter = await replica(flood), Recorder()
    answer = (await there.link()).send(counted(), meter)
    await answer.begun()
    await asyncio.sleep(0.05)
    answer.close()
    assert await meter.all_heard() == [MIDWAY]
    assert [chunk async for chunk in answer] == [], "nobody wants it any more"


async def test_a_call_that_does_not_listen_is_counted_when_it_is_ended(replica: Start, monkeypatch: pytest.MonkeyPatch):
    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"first")
        try:
            await asyncio.sleep(60)
        finally:
            tally_of(scope).usage = MIDWAY

    monkeypatch.setattr("deployments.link.listener.CLOSE_S", 0.05)
    there, meter = await replica(deaf), Recorder()
    answer = (await there.link()).send(counted(), meter)
    await answer.begun()
    answer.close()
    assert await meter.all_heard() == [MIDWAY]


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), EngineDead("gone")], ids=["broken", "dead"])
async def test_what_fails_says_what_it_took_by_then(replica: Start, error: Exception):
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        tally_of(scope).usage = MIDWAY
        raise error

    there, meter = await replica(fails), Recorder()
    answer = (await there.link()).send(counted(), meter)
    with pytest.raises((CallBroken, EngineDead)):
        await answer.begun()
    assert await meter.all_heard() == [MIDWAY]
    await until(lambda: there.unwritten == 0)


async def test_a_lost_link_leaves_what_is_not_on_record_and_what_was_under_way(replica: Start):
    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (whole if scope["path"] == "/score" else patient)(scope, receive, send)

    there, meter, slow = await replica(either), Recorder(), Recorder(writes=False)
    link = await there.link()
    link.send(EngineRequest("/score", b"{}", "id", "m", b"written"), meter)
    assert await meter.all_heard() == [TOOK]
    link.send(EngineRequest("/score", b"{}", "id", "m", b"unwritten"), slow)
    assert await slow.all_heard() == [TOOK]
    for account in (b"left", b"", b"left too"):
        await link.send(EngineRequest("/v1/completions", b"{}", "id", "m", account), meter).begun()
    await until(lambda: there.unwritten == 1)
    link.close()
    await until(lambda: len(there.orphans) == 3)
    left = {orphan.account: orphan.usage for orphan in there.orphans}
    assert left == {b"unwritten": TOOK, b"left": MIDWAY, b"left too": MIDWAY}
    assert all(orphan.ended_at_ms > 1_600_000_000_000 for orphan in there.orphans)
    assert await meter.all_heard(4) == [TOOK, None, None, None]


async def test_who_left_before_the_link_was_lost_is_no_different(replica: Start):
    async def slow_to_end(scope: Scope, receive: Receive, send: Send) -> None:
        await patient(scope, receive, send)
        await asyncio.sleep(0.1)

    there, meter = await replica(slow_to_end), Recorder()
    link = await there.link()
    answer = link.send(counted(), meter)
    await answer.begun()
    answer.close()
    link.close()
    assert await meter.all_heard() == [None]
    await until(lambda: [orphan.usage for orphan in there.orphans] == [MIDWAY])


async def test_a_replica_that_stops_tells_first_and_waits_for_the_word(replica: Start):
    there, meter = await replica(patient), Recorder()
    answer = (await there.link()).send(counted(), meter)
    await answer.begun()
    await there.listener.stop()
    assert await meter.all_heard() == [MIDWAY]
    assert there.orphans == []
    with pytest.raises((CallBroken, LinkLost)):
        assert [chunk async for chunk in answer] == [b"first"]


async def test_what_a_gateway_does_not_get_on_record_in_time_is_left_when_the_replica_stops(
    replica: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deployments.link.listener.WRITTEN_S", 0.05)
    there, meter = await replica(patient), Recorder(writes=False)
    answer = (await there.link()).send(counted(), meter)
    await answer.begun()
    await there.listener.stop()
    assert await meter.all_heard() == [MIDWAY]
    assert [orphan.usage for orphan in there.orphans] == [MIDWAY]


async def test_a_call_on_a_lost_link_never_began(replica: Start):
    there, meter = await replica(whole), Recorder()
    link = await there.link()
    link.close()
    await until(lambda: not link.alive)
    with pytest.raises(LinkLost):
        link.send(counted(), meter)
    assert (meter.begun, meter.heard) == (0, [])


async def test_an_application_that_counts_nothing_took_nothing(replica: Start):
    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"", more=False)

    there, meter = await replica(plain), Recorder()
    (await there.link()).send(counted(), meter)
    assert await meter.all_heard() == [NOTHING]
