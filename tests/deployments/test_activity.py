"""When a replica was used last."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.services.asgi_call import Message, Receive, Scope, Send
from deployments.activity import Activity


async def receive() -> Message:
    return {"type": "http.disconnect"}


async def send(message: Message) -> None:
    pass


async def test_it_is_idle_from_its_beginning():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    activity = Activity(app)
    await asyncio.sleep(0.02)
    assert 0.01 < activity.idle_s < 5


async def test_while_a_call_lasts_it_is_not_idle():
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await over.wait()

    activity = Activity(app)
    calls = [asyncio.create_task(activity({}, receive, send)) for _ in range(2)]
    await asyncio.sleep(0.02)
    assert activity.idle_s == 0
    calls[0].cancel()
    await asyncio.wait([calls[0]])
    assert activity.idle_s == 0
    over.set()
    await calls[1]
    began = time.monotonic()
    await asyncio.sleep(0.02)
    assert 0.01 < activity.idle_s <= time.monotonic() - began + 0.01


async def test_a_call_that_fails_is_over():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no")

    activity = Activity(app)
    with pytest.raises(RuntimeError):
        await activity({}, receive, send)
    await asyncio.sleep(0.02)
    assert activity.idle_s > 0.01
