"""Limits, as callers meet them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from app.domain.limit_table import LimitTable
from app.domain.model_state import ModelState
from app.errors import ServiceUnavailable
from app.services.catalog import CatalogEntry
from app.services.limit_files import load_limits
from app.settings import ROOT
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_key, new_user, scripted
from tests.support.people import bearer, signed_in

SHIPPED = load_limits(str(ROOT / "configs/limits.yaml"))
SLOW = "slow"
PATIENCE_S = 30.0
ENTRIES = (
    CatalogEntry(
        scripted(CHAT, price={"input_per_million": 1, "output_per_million": 1000}),
        ModelState("ready", 1, max_model_len=4096),
    ),
    CatalogEntry(
        scripted(SLOW, engine_args={"tokens_per_s": 20.0, "max_model_len": 4096}),
        ModelState("ready", 1, max_model_len=4096),
    ),
)


def table(**rows: Any) -> LimitTable:
    return LimitTable.model_validate(rows)


@pytest_asyncio.fixture(loop_scope="session")
async def shipped(new_gateway: GatewayFactory) -> AsyncIterator[Gateway]:
    """A gateway with the limits that come with the project."""
    async with new_gateway(ENTRIES, limits=SHIPPED) as running:
        yield running


async def chat(client: httpx.AsyncClient, model: str = CHAT, **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, **more}
    return await client.post("/v1/chat/completions", json=body, headers=headers)


async def person(gateway: Gateway) -> dict[str, str]:
    """What somebody new shows."""
    _, pair = await signed_in(gateway, "user")
    return bearer(pair.access_token)


async def with_key(gateway: Gateway, **fields: Any) -> dict[str, str]:
    """The same by a key."""
    user = await new_user(gateway.services)
    return bearer(await new_key(gateway.services, "read", "write", owner=user.id, **fields))


def remaining(response: httpx.Response) -> tuple[str, str]:
    return response.headers["x-ratelimit-limit"], response.headers["x-ratelimit-remaining"]


async def test_a_first_chat_leaves_59_of_60_and_other_requests_999_of_1000(shipped: Gateway) -> None:
    headers = await person(shipped)
    before = time.time()
    first = await chat(shipped.anonymous, headers=headers)
    assert first.status_code == 200
    assert remaining(first) == ("60", "59")
    assert before + 50 < int(first.headers["x-ratelimit-reset"]) < time.time() + 70
    assert first.headers["x-ratelimit-limit-requests"] == "60"
    assert first.headers["x-ratelimit-remaining-requests"] == "59"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    assert "x-ratelimit-limit-tokens" not in first.headers
    other = await person(shipped)
    assert remaining(await shipped.anonymous.get("/v1/user/profile", headers=other)) == ("1000", "999")
    assert remaining(await shipped.anonymous.get("/v1/models", headers=other)) == ("1000", "998")


async def test_streams_tell_the_same(shipped: Gateway) -> None:
    first = await chat(shipped.anonymous, headers=await person(shipped), stream=True)
    assert remaining(first) == ("60", "59")
    assert first.text.endswith("data: [DONE]\n\n")


async def test_a_key_whose_limits_are_lifted_says_so_by_saying_nothing(shipped: Gateway) -> None:
    headers = await with_key(shipped, limits="none")
    for _ in range(70):
        response = await shipped.anonymous.get("/v1/user/profile", headers=headers)
        assert response.status_code == 200
    assert not [name for name in response.headers if "ratelimit" in name]
    assert not [name for name in (await chat(shipped.anonymous, headers=headers)).headers if "ratelimit" in name]


async def test_nobody_in_particular_has_ten_chats_a_minute_by_address(shipped: Gateway) -> None:
    answers = [await chat(shipped.anonymous) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    denied = answers[-1]
    error = denied.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("rate_limit_error", "rate_limit_exceeded", None)
    assert "10" in error["message"]
    assert "minute" in error["message"]
    assert remaining(denied) == ("10", "0")
    assert 0 < int(denied.headers["retry-after"]) <= 64
    elsewhere = await chat(shipped.anonymous, headers={"x-forwarded-for": "198.51.100.7"})
    assert elsewhere.status_code == 200


async def test_a_hundred_public_requests_an_hour_by_address(shipped: Gateway) -> None:
    headers = {"x-forwarded-for": "198.51.100.8"}
    statuses = [(await shipped.anonymous.get("/v1/models", headers=headers)).status_code for _ in range(102)]
    assert statuses == [200] * 100 + [429] * 2


async def test_whoever_shows_a_wrong_key_on_a_public_route_is_held_to_their_address(shipped: Gateway) -> None:
    headers = {"authorization": "Bearer nonsense", "x-forwarded-for": "198.51.100.9"}
    assert remaining(await shipped.anonymous.get("/v1/models", headers=headers)) == ("100", "99")


@pytest.mark.parametrize(
    "path", ["/health", "/healthz", "/readyz", "/v1/status", "/v1/version", "/docs", "/openapi.json"]
)
async def test_health_and_documents_have_no_limits(shipped: Gateway, path: str) -> None:
    response = await shipped.anonymous.get(path)
    assert response.status_code == 200
    assert "x-ratelimit-limit" not in response.headers


async def test_a_key_counts_for_its_owner_and_for_itself(new_gateway: GatewayFactory) -> None:
    limits = table(user=[{"requests": 5, "per": "hour"}], api_key=[{"requests": 3, "per": "hour"}])
    async with new_gateway(ENTRIES, limits=limits) as gateway:
        user = await new_user(gateway.services)
        one, two = [bearer(await new_key(gateway.services, "read", "write", owner=user.id)) for _ in "12"]
        first = [(await gateway.anonymous.get("/v1/user/profile", headers=one)).status_code for _ in range(4)]
        second = [(await gateway.anonymous.get("/v1/user/profile", headers=two)).status_code for _ in range(3)]
    assert first == [200, 200, 200, 429]
    assert second == [200, 200, 429]


async def test_what_our_load_refused_costs_its_caller_nothing(shipped: Gateway) -> None:
    headers = await person(shipped)

    async def full(*_: Any) -> Any:
        raise ServiceUnavailable("Too many requests wait.", retry_after_s=3)

    with shipped.backend.replaced(full):
        refused = await chat(shipped.anonymous, headers=headers)
    assert refused.status_code == 503
    assert remaining(await chat(shipped.anonymous, headers=headers)) == ("60", "59")


async def test_tokens_are_held_while_an_answer_is_under_way_and_what_it_did_not_need_comes_back(
    new_gateway: GatewayFactory,
) -> None:
    async with new_gateway(ENTRIES, limits=table(user=[{"tokens": 1000, "per": "minute"}])) as gateway:
        headers = await person(gateway)
        long = asyncio.create_task(chat(gateway.anonymous, SLOW, headers=headers, max_tokens=40, stream=True))
        await asyncio.sleep(0.5)
        too_much = await chat(gateway.anonymous, headers=headers, max_tokens=950)
        assert too_much.status_code == 429
        assert "tokens per minute" in too_much.json()["error"]["message"]
        assert too_much.headers["x-ratelimit-limit-tokens"] == "1000"
        assert (await long).status_code == 200
        settled = await chat(gateway.anonymous, headers=headers, max_tokens=850)
        assert settled.status_code == 200
        never = await chat(gateway.anonymous, headers=headers, max_tokens=2000)
        assert never.status_code == 429
        assert never.headers["x-should-retry"] == "false"


async def test_what_is_refused_for_its_tokens_takes_no_request_and_says_so(new_gateway: GatewayFactory) -> None:
    limits = table(user=[{"inference_requests": 5, "per": "minute"}, {"tokens": 100, "per": "minute"}])
    async with new_gateway(ENTRIES, limits=limits) as gateway:
        headers = await person(gateway)
        for _ in range(7):
            refused = await chat(gateway.anonymous, headers=headers, max_tokens=2000)
            assert refused.status_code == 429
            assert remaining(refused) == ("5", "5")
        assert remaining(await chat(gateway.anonymous, headers=headers, max_tokens=1)) == ("5", "4")


async def test_a_spent_budget_is_insufficient_quota(new_gateway: GatewayFactory) -> None:
    # Four tokens at a thousandth each, and a prompt at a millionth a token.
    limits = table(user=[{"spend": 0.0095, "per": "month"}])
    async with new_gateway(ENTRIES, limits=limits) as gateway:
        headers = await person(gateway)
        statuses = [(await chat(gateway.anonymous, headers=headers, ignore_eos=True)).status_code for _ in range(2)]
        assert statuses == [200, 200]
        refused = await chat(gateway.anonymous, headers=headers, ignore_eos=True)
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "insufficient_quota"
        assert refused.json()["error"]["code"] == "insufficient_quota"


async def test_requests_under_way_are_counted_until_they_end(new_gateway: GatewayFactory) -> None:
    async with new_gateway(ENTRIES, limits=table(user=[{"concurrent_requests": 2}])) as gateway:
        headers = await person(gateway)
        running = [asyncio.create_task(chat(gateway.anonymous, SLOW, headers=headers, max_tokens=20)) for _ in "12"]
        await asyncio.sleep(0.4)
        refused = await chat(gateway.anonymous, headers=headers)
        assert refused.status_code == 429
        assert [(await each).status_code for each in running] == [200, 200]
        assert (await chat(gateway.anonymous, headers=headers)).status_code == 200


async def test_a_caller_who_leaves_frees_what_they_held(new_gateway: GatewayFactory) -> None:
    async with new_gateway(ENTRIES, limits=table(user=[{"concurrent_requests": 1}])) as gateway:
        headers = await person(gateway)
        body = {"model": SLOW, "messages": [{"role": "user", "content": "x"}], "max_tokens": 400, "stream": True}
        async with gateway.anonymous.stream("POST", "/v1/chat/completions", json=body, headers=headers) as stream:
            assert (await chat(gateway.anonymous, headers=headers)).status_code == 429
            await anext(stream.aiter_bytes())
        async with asyncio.timeout(PATIENCE_S):
            while (await chat(gateway.anonymous, headers=headers)).status_code != 200:
                await asyncio.sleep(0.1)


async def test_people_see_what_binds_them_and_what_is_left(shipped: Gateway) -> None:
    headers = await with_key(shipped)
    await chat(shipped.anonymous, headers=headers)
    shown = (await shipped.anonymous.get("/v1/limits", headers=headers)).json()
    assert {
        (each["held_by"].partition("_")[0], each["limit"], each["per"], each["count"]) for each in shown["data"]
    } == {
        ("user", "inference_requests", "minute", 60),
        ("user", "requests", "hour", 1000),
        ("key", "requests", "hour", 1000),
    }
    left = {(each["limit"], each["per"]): each["remaining"] for each in shown["data"]}
    assert left["inference_requests", "minute"] == 59
    assert left["requests", "hour"] == 998


async def test_admins_change_limits_while_it_runs_and_go_back(shipped: Gateway) -> None:
    headers = await person(shipped)
    assert (await shipped.client.get("/v1/admin/limits")).json()["origin"] == "file"
    narrow = {"user": [{"inference_requests": 2, "per": "minute"}]}
    answer = await shipped.client.put("/v1/admin/limits", json=narrow)
    assert answer.status_code == 200
    assert answer.json()["origin"] == "admin"
    statuses = [(await chat(shipped.anonymous, headers=headers)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await shipped.client.delete("/v1/admin/limits")).json()["deleted"] is True
    # What was used still counts.
    assert remaining(await chat(shipped.anonymous, headers=headers)) == ("60", "57")
    log = (await shipped.client.get("/v1/admin/audit-log", params={"target": "limits"})).json()["data"]
    assert [event["type"] for event in log] == ["limits.reset", "limits.updated"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"user": [{"requests": -5, "per": "hour"}]}, "user[0].requests"),
        ({"user": [{"requests": 5}]}, "user[0]"),
        ({"user": {"requests": 5}}, "user"),
        ({"gueest": []}, "gueest"),
        ({"plans": {"pro": {"weight": -1}}}, "plans.pro.weight"),
        ({"models": {"m": [{"tokens": 1e400, "per": "hour"}]}}, None),
    ],
)
async def test_a_table_that_makes_no_sense_changes_nothing(shipped: Gateway, body: Any, param: str | None) -> None:
    try:
        answer = await shipped.client.put("/v1/admin/limits", json=body)
    except ValueError:
        answer = await shipped.client.put(
            "/v1/admin/limits",
            content=b'{"models": {"m": [{"tokens": 1e400, "per": "hour"}]}}',
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert (await shipped.client.get("/v1/admin/limits")).json()["origin"] == "file"


async def test_admins_give_a_user_other_limits_or_none(shipped: Gateway) -> None:
    user, pair = await signed_in(shipped, "user")
    headers, path = bearer(pair.access_token), f"/v1/admin/users/{user.id}"
    given = await shipped.client.patch(path, json={"limits": {"requests_per_minute": 3}})
    assert given.json()["limits"] == {"requests_per_minute": 3}
    assert remaining(await chat(shipped.anonymous, headers=headers)) == ("3", "2")
    await shipped.client.patch(path, json={"limits": "none"})
    assert "x-ratelimit-limit" not in (await chat(shipped.anonymous, headers=headers)).headers
    await shipped.client.patch(path, json={"limits": None})
    assert (await chat(shipped.anonymous, headers=headers)).headers["x-ratelimit-limit"] == "60"


async def test_a_plan_has_to_be_one_that_there_is(new_gateway: GatewayFactory) -> None:
    limits = table(user=[{"requests": 5, "per": "hour"}], plans={"pro": {"user": [{"requests": 50, "per": "hour"}]}})
    async with new_gateway(ENTRIES, limits=limits) as gateway:
        user, pair = await signed_in(gateway, "user")
        refused = await gateway.client.patch(f"/v1/admin/users/{user.id}", json={"plan": "gold"})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "plan"
        assert "pro" in refused.json()["error"]["message"]
        given = await gateway.client.patch(f"/v1/admin/users/{user.id}", json={"plan": "pro"})
        assert given.json()["plan"] == "pro"
        profile = await gateway.anonymous.get("/v1/user/profile", headers=bearer(pair.access_token))
        assert remaining(profile)[0] == "50"


async def test_people_cannot_widen_their_own_keys(shipped: Gateway) -> None:
    headers = await person(shipped)
    body = {"name": "wide", "limits": {"requests_per_hour": 5000}}
    made = (await shipped.anonymous.post("/v1/user/api-keys", json=body, headers=headers)).json()
    shown = await shipped.anonymous.get("/v1/user/profile", headers=bearer(made["key"]))
    assert int(shown.headers["x-ratelimit-limit"]) == 1000


async def test_the_sdk_waits_as_long_as_it_is_told_and_then_gets_its_answer(new_gateway: GatewayFactory) -> None:
    async with new_gateway(ENTRIES, limits=table(user=[{"inference_requests": 2, "per": "second"}])) as gateway:
        token = (await person(gateway))["authorization"].removeprefix("Bearer ")
        told: list[tuple[int, str | None]] = []

        async def note(response: httpx.Response) -> None:
            told.append((response.status_code, response.headers.get("retry-after")))

        # One more try: by itself it would come back after half a second, and that is too soon.
        watched = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=1, http_client=watched)
        async with client:
            answers = [
                await client.chat.completions.create(
                    model=CHAT, messages=[{"role": "user", "content": "Hello"}], max_tokens=2
                )
                for _ in range(3)
            ]
    assert len({answer.id for answer in answers}) == 3
    assert [status for status, _ in told] == [200, 200, 429, 200]
    assert int(told[2][1] or 0) >= 1


async def test_the_sdk_says_what_the_limit_was_where_it_may_not_wait(shipped: Gateway) -> None:
    user = await new_user(shipped.services)
    key = await new_key(shipped.services, "read", "write", owner=user.id, limits={"requests_per_minute": 1})
    client = openai.AsyncOpenAI(base_url=f"{shipped.url}/v1", api_key=key, max_retries=0)
    async with client:
        ask = lambda: client.chat.completions.create(  # noqa: E731
            model=CHAT, messages=[{"role": "user", "content": "Hello"}], max_tokens=2
        )
        await ask()
        with pytest.raises(openai.RateLimitError, match="this API key's") as raised:
            await ask()
    assert raised.value.code == "rate_limit_exceeded"


async def test_who_is_refused_is_held_to_their_limits_too(new_gateway: GatewayFactory) -> None:
    async with new_gateway(ENTRIES, limits=table(user=[{"requests": 2, "per": "hour"}])) as gateway:
        headers = await person(gateway)
        answers = [await gateway.anonymous.get("/v1/admin/limits", headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [403, 403, 429]


async def test_a_budget_that_no_binary_fraction_can_be_lets_its_user_in(new_gateway: GatewayFactory) -> None:
    async with new_gateway(ENTRIES) as gateway:
        user, pair = await signed_in(gateway, "user")
        given = await gateway.client.patch(f"/v1/admin/users/{user.id}", json={"limits": {"monthly_spend": 0.1 + 0.2}})
        assert given.status_code == 200
        assert (await chat(gateway.anonymous, headers=bearer(pair.access_token))).status_code == 200


async def test_a_site_of_many_addresses_is_one_tenant(new_gateway: GatewayFactory) -> None:
    async with new_gateway(ENTRIES) as gateway:
        for address in ("2001:db8:1:2::1", "2001:db8:1:2::2", "::ffff:198.51.100.9", "198.51.100.9"):
            await chat(gateway.anonymous, headers={"x-forwarded-for": address})
        tenants = [request.share.tenant for request in gateway.backend.requests]
    assert tenants == ["ip:2001:db8:1:2::/64"] * 2 + ["ip:198.51.100.9"] * 2


async def test_the_larger_bound_of_an_answer_is_reserved(new_gateway: GatewayFactory) -> None:
    limits = table(user=[{"output_tokens": 100, "per": "minute"}])
    async with new_gateway(ENTRIES, limits=limits) as gateway:
        headers = await person(gateway)
        answer = await chat(gateway.anonymous, headers=headers, max_tokens=1, max_completion_tokens=101)
        assert answer.status_code == 429
        assert answer.headers["x-should-retry"] == "false"


async def test_a_slot_comes_free_however_its_request_ends(new_gateway: GatewayFactory) -> None:
    limits = table(user=[{"concurrent_requests": 1}, {"tokens": 600, "per": "hour"}])
    async with new_gateway(ENTRIES, limits=limits) as gateway:
        headers = await person(gateway)

        async def refused(*_: Any) -> Any:
            raise ServiceUnavailable("No.")

        async def broken(*_: Any) -> Any:
            raise RuntimeError("nobody foresaw this")

        async def gave_up(*_: Any) -> Any:
            raise asyncio.CancelledError

        async def silent(*_: Any) -> Any:
            await asyncio.Event().wait()

        for sender in (refused, broken, gave_up, silent):
            for stream in (False, True):
                with gateway.backend.replaced(sender), contextlib.suppress(httpx.HTTPError):
                    await gateway.anonymous.post(
                        "/v1/chat/completions",
                        json={"model": CHAT, "messages": [{"role": "user", "content": "Hi"}], "stream": stream},
                        headers=headers,
                        timeout=0.5,
                    )
                # More tokens than are left beside what was reserved above.
                await free_again(gateway, headers, max_tokens=400)


async def free_again(gateway: Gateway, headers: dict[str, str], **more: Any) -> None:
    """Return when the next one is let in, without having anything of it."""

    async def refused(*_: Any) -> Any:
        raise ServiceUnavailable("No.")

    async with asyncio.timeout(PATIENCE_S):
        with gateway.backend.replaced(refused):
            while (answer := await chat(gateway.anonymous, headers=headers, **more)).status_code == 429:
                await asyncio.sleep(0.1)
            assert answer.status_code == 503, answer.text
