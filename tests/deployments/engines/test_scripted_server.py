"""A scripted engine behind a real HTTP server: the disconnect is a closed socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from deployments.engines.scripted import ScriptedEngine
from tests.contract.calls import user
from tests.deployments.engines.scripted_support import scripted

DEADLINE_S = 10
BODY = {"messages": user("Hello"), "stream": True}


@pytest.fixture
async def served() -> AsyncIterator[tuple[ScriptedEngine, str]]:
    engine = scripted(tokens_per_s=100, default_tokens=2000)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(engine.app(), lifespan="on", log_level="critical", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield engine, f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
    server.should_exit = True
    await serving
    listener.close()
    await engine.stop()


async def idle(engine: ScriptedEngine) -> int:
    """Wait until nothing runs; returns the tokens generated till then."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            load = await engine.load()
            if not load.running:
                return load.generated_tokens
            await asyncio.sleep(0.01)


async def test_a_closed_socket_stops_the_stream(served: tuple[ScriptedEngine, str]) -> None:
    engine, url = served
    async with httpx.AsyncClient() as client, client.stream("POST", url, json=BODY) as response:
        async for line in response.aiter_lines():
            if '"content":" ' in line:
                break
        assert (await engine.load()).running == 1
    generated = await idle(engine)
    assert 0 < generated < 2000
    await asyncio.sleep(0.2)
    assert (await engine.load()).generated_tokens == generated


async def test_a_closed_socket_stops_a_whole_answer(served: tuple[ScriptedEngine, str]) -> None:
    engine, url = served
    async with httpx.AsyncClient(timeout=0.3) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(url, json=BODY | {"stream": False})
    assert await idle(engine) < 2000


async def test_every_token_arrives(served: tuple[ScriptedEngine, str]) -> None:
    engine, url = served
    async with httpx.AsyncClient() as client:
        text = (await client.post(url, json=BODY | {"max_tokens": 30})).text
    assert text.endswith("data: [DONE]\n\n")
    assert text.count('"content":') == 31
    assert (await engine.load()).generated_tokens == 30
