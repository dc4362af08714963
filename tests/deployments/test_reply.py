"""What crosses the handle for a request: the answer, then what it took; or an orphan where nobody listens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from app.domain.usage import NOTHING, Usage
from app.services.asgi_call import ASGIApp, Receive, Scope, Send, tally_of
from app.services.backend import EngineRequest
from deployments.engines.base import EngineDead
from deployments.link.wire import COUNT
from deployments.reply import ReplyHead, reply
from deployments.slate.file import read
from deployments.slate.slate import NAME, Line, Slate
from tests.deployments.link.conftest import body, start

pytestmark = pytest.mark.usefixtures("clean_loop")
TOOK = Usage(7, 5)


def counted(account: bytes = b"account") -> EngineRequest:
    return EngineRequest("/v1/completions", b"{}", "id", "alias", account)


def ignored(_: list[Line]) -> None:
    pass


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"one")
    await asyncio.sleep(0)
    await body(send, b"two", more=False)
    tally_of(scope).usage = TOOK


async def patient(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await start(send)
    await body(send, b"first")
    await receive()
    tally_of(scope).usage = TOOK


def failing(error: Exception, *, midway: bool) -> ASGIApp:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if midway:
            await start(send)
            await body(send, b"first")
        tally_of(scope).usage = TOOK
        raise error

    return fails


async def test_an_answer_is_followed_by_what_it_took():
    orphans: list[Line] = []
    told: list[Line] = []
    messages = [message async for message in reply(hello, counted(), orphans.extend, told.extend, Slate())]
    assert isinstance(messages[0], ReplyHead)
    parts = [part[COUNT.size :] for part in messages[1:-1] if isinstance(part, bytes)]
    assert b"".join([messages[0].first, *parts]) == b"onetwo"
    assert messages[-1] == TOOK
    assert orphans == []
    assert [(each.account, each.usage) for each in told] == [(b"account", TOOK)], "perhaps nobody heard it"


async def test_what_comes_says_how_many_tokens_have_come():
    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for so_far in (1, 3, 4):
            tally_of(scope).so_far = so_far
            await body(send, b"x" * so_far, more=so_far < 4)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    head, *parts, _ = [message async for message in reply(counting, counted(), ignored, ignored, Slate())]
    assert isinstance(head, ReplyHead)
    assert head.tokens == 1
    assert [(COUNT.unpack_from(part)[0], len(part) - COUNT.size) for part in parts if isinstance(part, bytes)] == [
        (3, 3),
        (4, 4),
    ]


@pytest.mark.parametrize("midway", [True, False])
async def test_a_failure_comes_behind_what_was_taken_by_then(midway: bool):
    orphans: list[Line] = []
    messages: list[Any] = []
    coming = reply(failing(EngineDead("gone"), midway=midway), counted(), orphans.extend, ignored, Slate())
    for _ in range(1 + midway):
        messages.append(await anext(coming))
    with pytest.raises(EngineDead, match="gone"):
        await anext(coming)
    assert messages[-1] == TOOK
    assert orphans == []


async def test_what_nobody_hears_any_more_is_an_orphan():
    orphans: list[Line] = []
    async with aclosing(reply(patient, counted(), orphans.extend, ignored, Slate())) as messages:
        assert isinstance(await anext(messages), ReplyHead)
    assert [(orphan.account, orphan.usage) for orphan in orphans] == [(b"account", TOOK)]


async def test_so_is_what_is_cancelled():
    orphans: list[Line] = []

    async def read() -> None:
        async with aclosing(reply(patient, counted(), orphans.extend, ignored, Slate())) as messages:
            async for _ in messages:
                pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.wait([reading])
    assert [orphan.usage for orphan in orphans] == [TOOK]


async def test_without_an_account_there_is_nothing_to_report():
    orphans: list[Line] = []
    async with aclosing(reply(patient, counted(b""), orphans.extend, ignored, Slate())) as messages:
        await anext(messages)
    assert orphans == []


async def test_an_application_that_counts_nothing_took_nothing():
    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"x", more=False)

    assert [message async for message in reply(plain, counted(), ignored, ignored, Slate())][-1] == NOTHING


@pytest.mark.parametrize("heard", [True, False])
async def test_while_nobody_has_it_on_record_it_stands_on_the_slate(tmp_path: Path, heard: bool):
    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        tally_of(scope).usage = Usage(7)
        for so_far in (0, 2):
            tally_of(scope).so_far = so_far
            await (body(send, b"two") if so_far else start(send))
        await go_on.wait()
        tally_of(scope).usage = TOOK
        await body(send, b"three", more=False)

    def standing() -> list[Usage]:
        return [each.usage for path in tmp_path.glob(f"*/{NAME}") for each in read(path)]

    go_on, orphans, told = asyncio.Event(), list[Line](), list[Line]()
    messages = reply(counting, counted(), orphans.extend, told.extend, Slate.make(tmp_path, 1))
    await anext(messages)
    assert standing() == [Usage(7, 2)]
    go_on.set()
    if heard:
        assert [message async for message in messages][-1] == TOOK
        assert standing() == [TOOK]
        told[0].wipe()
        assert standing() == []
    else:
        await messages.aclose()
        assert standing() == [TOOK]
        assert orphans[0].usage == TOOK
