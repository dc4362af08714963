"""Engines in this process tell the meter what each request took."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.usage import NOTHING, Usage
from app.errors import EngineCrashed
from app.services.asgi_call import ASGIApp, Receive, Scope, Send, tally_of
from app.services.backend import EngineRequest
from app.services.inprocess import InProcessBackend
from tests.support.gateway import scripted
from tests.support.meter import Recorder

SPEC = scripted("m")
REQUEST = EngineRequest("/v1/completions", b"{}", "id", "m", b"account")
TOOK = Usage(3, 2)


async def start(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, b"all", more=False)
    tally_of(scope).usage = TOOK


async def patient(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    try:
        await start(send, b"first", more=True)
        await receive()
    finally:
        tally_of(scope).usage = TOOK


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await receive()


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    tally_of(scope).usage = TOOK
    raise ZeroDivisionError


def backend(app: ASGIApp) -> InProcessBackend:
    return InProcessBackend({"m": app})


async def test_a_whole_answer_is_counted():
    meter = Recorder()
    response = await backend(whole).send(SPEC, REQUEST, meter)
    assert [chunk async for chunk in response] == [b"all"]
    assert await meter.all_heard() == [TOOK]


async def test_so_is_one_whose_caller_left():
    meter = Recorder()
    response = await backend(patient).send(SPEC, REQUEST, meter)
    assert meter.heard == []
    await response.aclose()
    assert await meter.all_heard() == [TOOK]


async def test_and_one_whose_caller_left_before_it_began():
    meter = Recorder()
    sending = asyncio.create_task(backend(silent).send(SPEC, REQUEST, meter))
    await asyncio.sleep(0.01)
    sending.cancel()
    await asyncio.wait([sending])
    assert await meter.all_heard() == [NOTHING]


async def test_and_one_that_failed():
    meter = Recorder()
    with pytest.raises(EngineCrashed):
        await backend(failing).send(SPEC, REQUEST, meter)
    assert await meter.all_heard() == [TOOK]


async def test_nobody_has_to_count():
    response = await backend(whole).send(SPEC, REQUEST)
    assert [chunk async for chunk in response] == [b"all"]
