"""Answers over a link: whole, bounded, and over when either end is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.services.asgi_call import WRITER, Receive, Scope, Send
from deployments.engines.base import EngineDead
from deployments.link.link import CallBroken, Link, LinkLost
from deployments.link.wire import WINDOW
from tests.deployments.link.conftest import Behaviour, Replica, body, request, start

pytestmark = pytest.mark.usefixtures("clean_loop")
Start = Callable[[Behaviour], Awaitable[Replica]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what it was asked."""
    asked = (await receive())["body"]
    await start(send)
    for part in (scope["path"].encode(), asked, dict(scope["headers"])[b"x-manta-model"]):
        await body(send, part + b"\n")
    await body(send, b"", more=False)


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a little, and then waits until the caller leaves."""
    await receive()
    await start(send)
    await body(send, b"first")
    assert (await receive())["type"] == "http.disconnect"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_answer_comes_as_it_was_sent(replica: Start):
    link = await (await replica(echo)).link()
    answer = link.send(request(b'{"a": 1}'))
    await answer.begun()
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert b"".join([chunk async for chunk in answer]) == b'/v1/completions\n{"a": 1}\nalias\n'


async def test_what_is_written_past_send_comes_between_what_was_sent(replica: Start):
    async def writes(scope: Scope, receive: Receive, send: Send) -> None:
        writer = scope["extensions"][WRITER]
        await start(send)
        await body(send, b"sent,")
        writer.write(b"written,")
        await body(send, b"sent", more=False)

    answer = (await (await replica(writes)).link()).send(request())
    assert b"".join([chunk async for chunk in answer]) == b"sent,written,sent"


async def test_a_writer_is_not_ready_until_its_reader_has_caught_up(replica: Start):
    readiness: list[bool] = []

    async def writes(scope: Scope, receive: Receive, send: Send) -> None:
        writer = scope["extensions"][WRITER]
        await start(send)
        await body(send, b"first")
        readiness.append(writer.ready())
        writer.write(b"x" * WINDOW)
        readiness.append(writer.ready())
        await body(send, b"y")
        readiness.append(writer.ready())
        await body(send, b"", more=False)

    answer = (await (await replica(writes)).link()).send(request())
    await answer.begun()
    await until(lambda: len(readiness) == 2)
    await asyncio.sleep(0.02)
    assert readiness == [True, False], "nobody has read yet"
    assert len(b"".join([chunk async for chunk in answer])) == WINDOW + 6
    assert readiness == [True, False, True]


async def test_what_is_written_for_a_reader_who_left_goes_nowhere(replica: Start):
    async def writes(scope: Scope, receive: Receive, send: Send) -> None:
        writer = scope["extensions"][WRITER]
        await receive()
        await start(send)
        await body(send, b"first")
        assert (await receive())["type"] == "http.disconnect"
        writer.write(b"x" * WINDOW)
        readiness.append(writer.ready())

    readiness: list[bool] = []
    answer = (await (await replica(writes)).link()).send(request())
    await answer.begun()
    answer.close()
    await until(lambda: bool(readiness))
    assert readiness == [True], "nothing of it is under way"


async def test_many_answers_share_a_link_and_keep_apart(replica: Start):
    link = await (await replica(echo)).link()
    answers = [link.send(request(b"%d" % number)) for number in range(100)]
    for number, answer in enumerate(answers):
        assert b"\n%d\n" % number in b"".join([chunk async for chunk in answer])


async def test_a_large_request_and_a_large_answer_pass(replica: Start):
    link = await (await replica(echo)).link()
    large = bytes(range(256)) * 4 * 4096
    answer = link.send(request(large))
    assert large in b"".join([chunk async for chunk in answer])


async def test_an_answer_that_is_not_a_stream_has_its_status(replica: Start):
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, 400, b"application/json")
        await body(send, b"{}", more=False)

    answer = (await (await replica(refuses)).link()).send(request())
    await answer.begun()
    assert (answer.status, answer.content_type) == (400, "application/json")
    assert [chunk async for chunk in answer] == [b"{}"]


async def test_leaving_an_answer_ends_its_call(replica: Start):
    there = await replica(endless)
    answer = (await there.link()).send(request())
    await answer.begun()
    assert there.running == 1
    answer.close()
    await until(lambda: there.running == 0)


async def test_a_call_that_does_not_listen_is_ended_all_the_same(replica: Start, monkeypatch: pytest.MonkeyPatch):
    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"first")
        await asyncio.sleep(60)

    monkeypatch.setattr("deployments.link.listener.CLOSE_S", 0.05)
    there = await replica(deaf)
    answer = (await there.link()).send(request())
    await answer.begun()
    answer.close()
    await until(lambda: there.running == 0)


async def test_a_gateway_that_goes_takes_its_calls_and_leases_along(replica: Start):
    there = await replica(endless)
    ticket, grant = there.ticket()
    link = await Link.connect(ticket)
    more, adopted = there.ticket()
    link.adopt(more.token)
    answers = [link.send(request()) for _ in range(3)]
    for answer in answers:
        await answer.begun()
    link.close()
    await until(lambda: there.running == 0)
    await until(lambda: grant.over.is_set() and adopted.over.is_set())
    for answer in answers:
        with pytest.raises(LinkLost):
            assert [chunk async for chunk in answer] == [b"first"]


async def test_a_replica_that_goes_is_noticed_by_every_reader(replica: Start):
    there = await replica(endless)
    link = await there.link()
    begun, waiting = link.send(request()), link.send(request())
    await begun.begun()
    await there.listener.stop()
    with pytest.raises((LinkLost, CallBroken)):
        assert [chunk async for chunk in begun] == [b"first"]
    with pytest.raises((LinkLost, CallBroken)):
        assert [chunk async for chunk in waiting]
    await until(lambda: not link.alive)
    with pytest.raises(LinkLost):
        link.send(request())


async def test_a_dead_engine_says_why_and_retires_the_link(replica: Start):
    async def dead(scope: Scope, receive: Receive, send: Send) -> None:
        raise EngineDead("it is gone")

    link = await (await replica(dead)).link()
    answer = link.send(request())
    with pytest.raises(EngineDead, match="it is gone"):
        await answer.begun()
    assert link.retired


@pytest.mark.parametrize("before", [True, False])
async def test_an_application_that_fails_breaks_its_own_answer_alone(replica: Start, before: bool):
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["body"] == b"good":
            await start(send)
            await body(send, b"fine", more=False)
            return
        if not before:
            await start(send)
            await body(send, b"first")
        raise ZeroDivisionError

    link = await (await replica(fails)).link()
    bad, good = link.send(request(b"bad")), link.send(request(b"good"))
    with pytest.raises(CallBroken):
        async for _ in bad:
            pass
    assert [chunk async for chunk in good] == [b"fine"]


async def test_a_slow_reader_stops_its_writer_and_nobody_else(replica: Start):
    sent = 0

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await start(send)
        if (await receive())["body"] == b"small":
            await body(send, b"small", more=False)
            return
        for _ in range(64):
            await body(send, b"x" * 65536)
            sent += 65536
        await body(send, b"", more=False)

    link = await (await replica(flood)).link()
    slow = link.send(request(b"flood"))
    await slow.begun()
    small = link.send(request(b"small"))
    assert [chunk async for chunk in small] == [b"small"]
    await asyncio.sleep(0.1)
    assert sent <= WINDOW
    assert len(b"".join([chunk async for chunk in slow])) == 64 * 65536


async def test_an_answer_whose_reader_left_before_it_began_is_not_missed(replica: Start):
    there = await replica(echo)
    link = await there.link()
    for _ in range(50):
        link.send(request()).close()
    answer = link.send(request(b"kept"))
    assert b"kept" in b"".join([chunk async for chunk in answer])
    await until(lambda: there.running == 0)
