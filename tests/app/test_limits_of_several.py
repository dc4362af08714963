"""Several gateways, one limit: together they let in exactly what it says."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway_process import FAST, GatewayProcesses
from tests.support.mongo import MongoServer
from tests.support.people import bearer

REQUESTS = 60
TOKENS = 6000
CALLERS = 6
"""Of each gateway, at once."""

PATIENCE_S = 60.0
Headers = Mapping[str, str]


BY_REQUESTS: Mapping[str, Any] = {"user": [{"inference_requests": REQUESTS, "per": "hour"}]}
BY_TOKENS: Mapping[str, Any] = {"user": [{"tokens": TOKENS, "per": "hour"}]}


@pytest.fixture(scope="module")
def four(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcesses]:
    """Four gateways, for users on plans of their own: to start them takes longer than what is asked of them."""
    folder, limits = tmp_path_factory.mktemp("four"), {"plans": {"requests": BY_REQUESTS, "tokens": BY_TOKENS}}
    with GatewayProcesses(4, folder, mongodb.uri, f"several_{uuid.uuid4().hex}", limits) as running:
        yield running


async def somebody(running: GatewayProcesses, plan: str | None = None) -> Headers:
    """What a new user shows."""
    async with httpx.AsyncClient(base_url=running.urls[0], headers=bearer(running.key), timeout=60) as admin:
        user = (await admin.post("/v1/admin/users", json={"name": "Greedy"})).json()["id"]
        if plan is not None:
            (await admin.patch(f"/v1/admin/users/{user}", json={"plan": plan})).raise_for_status()
        made = await admin.post("/v1/admin/api-keys", json={"owner": user, "name": "k"})
        return bearer(made.json()["key"])


class Hammer:
    """Callers who ask all gateways at once, until every one of them was refused some times in a row."""

    def __init__(self, urls: list[str], headers: Headers, **body: Any) -> None:
        self._body = {"model": FAST, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, **body}
        self._urls = urls
        self._headers = headers
        self.statuses: Counter[int] = Counter()
        self.tokens = 0

    async def run(self) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for url in self._urls:
                for _ in range(CALLERS):
                    group.create_task(self._call(url))

    async def _call(self, url: str) -> None:
        refused = 0
        async with httpx.AsyncClient(base_url=url, headers=self._headers, timeout=60, verify=False) as client:
            while refused < 3:
                try:
                    answer = await client.post("/v1/chat/completions", json=self._body)
                except httpx.TransportError:
                    return  # it was killed
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    refused = 0
                    self.tokens += answer.json()["usage"]["total_tokens"]
                else:
                    refused += 1
                    await asyncio.sleep(0.3)


@pytest.mark.parametrize("number", [1, 4])
async def test_as_many_requests_get_in_as_the_limit_says_and_not_one_more(number: int, four: GatewayProcesses) -> None:
    hammer = Hammer(four.urls[:number], await somebody(four, plan="requests"))
    await hammer.run()
    assert hammer.statuses.pop(200) == REQUESTS
    assert set(hammer.statuses) == {429}


async def test_as_many_tokens_are_used_as_the_limit_says_and_not_one_more(four: GatewayProcesses) -> None:
    headers = await somebody(four, plan="tokens")
    hammer = Hammer(four.urls[:2], headers, max_tokens=60)
    await hammer.run()
    async with httpx.AsyncClient(base_url=four.urls[0], headers=headers, timeout=60) as client:
        async with asyncio.timeout(PATIENCE_S):
            while (used := (await client.get("/v1/usage")).json()["totals"])["requests"] < hammer.statuses[200]:
                await asyncio.sleep(0.2)
    spent = used["input_tokens"] + used["output_tokens"]
    assert spent == hammer.tokens <= TOKENS
    # What is left would not have been enough for one more.
    assert TOKENS - spent < 60 + 200


async def test_what_a_killed_gateway_held_is_lost_to_the_caller_and_never_given_twice(
    tmp_path: Path, mongodb: MongoServer, database_name: str
) -> None:
    with GatewayProcesses(2, tmp_path, mongodb.uri, database_name, BY_REQUESTS) as running:
        hammer = Hammer(running.urls, await somebody(running))
        async with asyncio.TaskGroup() as group:
            group.create_task(hammer.run())
            while hammer.statuses[200] < REQUESTS // 4:
                await asyncio.sleep(0.01)
            running.kill(1)
    assert REQUESTS // 4 <= hammer.statuses.pop(200) <= REQUESTS
    assert set(hammer.statuses) <= {429}


async def test_limits_that_an_admin_sets_hold_at_every_gateway_within_seconds(four: GatewayProcesses) -> None:
    headers = await somebody(four)
    first, second = (httpx.AsyncClient(base_url=url, timeout=60) for url in four.urls[:2])
    async with first, second:
        assert "x-ratelimit-limit" not in (await second.get("/v1/models", headers=headers)).headers
        table = {"user": [{"requests": 7, "per": "hour"}]}
        (await first.put("/v1/admin/limits", json=table, headers=bearer(four.key))).raise_for_status()
        try:
            assert (await first.get("/v1/models", headers=headers)).headers["x-ratelimit-limit"] == "7"
            async with asyncio.timeout(PATIENCE_S):
                while (await second.get("/v1/models", headers=headers)).headers.get("x-ratelimit-limit") != "7":
                    await asyncio.sleep(0.2)
        finally:
            (await first.delete("/v1/admin/limits", headers=bearer(four.key))).raise_for_status()
