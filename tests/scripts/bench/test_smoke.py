"""A short round of the client against the gateway, scripted engine behind it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from scripts.bench import client
from scripts.bench.models import BenchModel
from scripts.bench.summary import Measurement, summarise
from scripts.bench.workload import Workload
from tests.support.gateway import CHAT, Gateway, scripted


@dataclass
class Target:
    """What a workload needs to know of a server."""

    port: int
    headers: dict[str, str]

    @classmethod
    def of(cls, gateway: Gateway, key: str) -> Target:
        return cls(urlsplit(gateway.url).port or 0, {"authorization": f"Bearer {key}"})


async def test_a_round_of_streams_and_whole_answers_succeeds_on_the_gateway(gateway: Gateway):
    target = Target.of(gateway, gateway.key)
    work = Workload(BenchModel(scripted(CHAT), 12), 12, 6, 60)
    streams = await client.run(work.streams(target, 4).job)
    unary = await client.run(work.unary(target, 3).job)
    assert streams.errors == unary.errors == []
    assert streams.tokens == 4 * 12
    assert len(unary.requests) == 6
    rated = await client.run(work.rated(target, 10).job)
    assert rated.errors == []
    assert len(rated.requests) == 40

    found = summarise([Measurement("x", "streams", 4, 0, streams, {}), Measurement("x", "unary", 3, 0, unary, {})])
    assert [(level.kind, level.figures[0].failed) for level in found] == [("streams", 0), ("unary", 0)]


async def test_a_wrong_key_makes_every_request_fail_with_the_gateways_words(gateway: Gateway):
    target = Target.of(gateway, "sk-manta-wrong")
    result = await client.run(Workload(BenchModel(scripted(CHAT), 4), 4, 2, 60).streams(target, 2).job)
    assert len(result.errors) == 2
    assert all("status 401" in error for error in result.errors)
