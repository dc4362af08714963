"""Whatever becomes of callers and gateways: what is heard and what is left behind is what the engine generated."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from app.domain.usage import NOTHING, Usage
from app.services.backend import EngineRequest
from deployments.engines.scripted import ScriptedEngine
from deployments.link.link import CallBroken, Link, LinkLost
from deployments.link.listener import Listener
from deployments.slate.slate import Line
from tests.deployments.engines.scripted_support import scripted
from tests.support.meter import Recorder

pytestmark = pytest.mark.usefixtures("clean_loop")

GATEWAYS = 6
REQUESTS = 50


def asked(chance: random.Random, account: str) -> EngineRequest:
    """Any request, short or long, whole or streamed, of one choice or three; some are refused."""
    body = {"prompt": "word " * chance.randint(1, 30), "max_tokens": chance.randint(1, 60), "ignore_eos": True}
    body |= {"n": chance.choice([1, 1, 3]), "stream": chance.random() < 0.7}
    if chance.random() < 0.05:
        body["max_tokens"] = 1_000_000
    return EngineRequest("/v1/completions", json.dumps(body).encode(), account, "m", account.encode())


async def caller(link: Link, request: EngineRequest, meter: Recorder, patience_s: float | None) -> None:
    """Reads an answer, but no longer than its patience lasts."""
    try:
        answer = link.send(request, meter)
    except LinkLost:
        return
    try:
        async with asyncio.timeout(patience_s):
            await answer.begun()
            async for _ in answer:
                pass
    except (TimeoutError, LinkLost, CallBroken):
        pass
    finally:
        answer.close()


async def gateway(listener: Listener, number: int, chance: random.Random) -> dict[str, Usage | None]:
    """Sends requests; some gateways go in the middle of them. What it was told each took, if anything."""
    link = await Link.connect(listener.grant()[0])
    requests = [asked(chance, f"{number}-{index}") for index in range(REQUESTS)]
    meters = [Recorder() for _ in requests]
    patience = [chance.choice([None, chance.random() * 0.4]) for _ in requests]
    work = asyncio.gather(*map(caller, [link] * REQUESTS, requests, meters, patience))
    if number % 2:
        ended = chance.randint(1, REQUESTS // 2)
        while sum(len(meter.heard) for meter in meters) < ended:
            await asyncio.sleep(0.005)
        link.close()
    await work
    heard = {request.request_id: (await meter.all_heard())[0] for request, meter in zip(requests, meters, strict=True)}
    link.close()
    return heard


async def engine() -> ScriptedEngine:
    made = scripted(tokens_per_s=200, ttft_s=0.02, max_num_seqs=128)
    await made.start(lambda *_: None)
    return made


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_is_heard_and_what_is_left_is_what_the_engine_generated(seed: int):
    orphans: list[Line] = []
    working = await engine()
    listener = Listener(working.app(), "a" * 32, "127.0.0.1", 64, orphans.extend)
    await listener.start()
    chance = random.Random(seed)
    gateways = [gateway(listener, number, random.Random(chance.random())) for number in range(GATEWAYS)]
    heard = [told for each in await asyncio.gather(*gateways) for told in each.items()]
    await listener.drain()
    await listener.stop()
    ledger = {account: usage for account, usage in heard if usage is not None}
    for orphan in orphans:
        # One that was heard too is the same: the word that it was on record was under way when its link was lost.
        assert ledger.setdefault(orphan.account.decode(), orphan.usage) == orphan.usage
    load = await working.load()
    assert load.running == load.waiting == 0
    assert len(ledger) == len(heard) == GATEWAYS * REQUESTS
    assert sum(ledger.values(), NOTHING).output_tokens == load.generated_tokens > 0
    assert NOTHING in ledger.values(), "some were refused"
    assert any(usage is None for _, usage in heard), "some gateways went"
    await working.stop()
