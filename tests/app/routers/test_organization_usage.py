"""Usage and costs of OpenAI's administration API, called by OpenAI's own SDK."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import openai
import pytest
import pytest_asyncio

from app.domain.user import User
from app.routers import organization_usage as routes
from tests.support.gateway import CHAT, EMBEDDER, Gateway, GatewayFactory, new_user
from tests.support.openai_schema import validate
from tests.support.people import key_of
from tests.support.used import DAY_MS, event, keep
from tests.test_error_shape import assert_error

DAY = DAY_MS // 1000
FIRST = (int(time.time()) // DAY - 4) * DAY
"""The beginning of a day not long ago."""
PATHS = ("/organization/usage/completions", "/organization/usage/embeddings", "/organization/costs")
PREFIXES = ("", "/v1", "/api/v1")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sdk(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK with an admin's key alone."""
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="", admin_api_key=gateway.key, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def usage(sdk: openai.AsyncOpenAI) -> Any:
    return sdk.admin.organization.usage


@pytest_asyncio.fixture(loop_scope="session")
async def somebody(gateway: Gateway) -> User:
    """A user with five requests of their own on two days, a day between them; keys and projects have their name."""
    user = await new_user(gateway.services, name="Ada")
    first = FIRST * 1000
    mine = {"key_id": f"key_{user.id}", "project_id": f"proj_{user.id}"}
    chat = {"input_tokens": 10, "cached_tokens": 4, "output_tokens": 5, "cost_nano": 100_000_000, **mine}
    await keep(
        gateway,
        event(user.id, first, **chat),
        event(user.id, first + 61_000, **chat),
        event(user.id, first + 3_600_000, model="removed-model", output_tokens=1, cost_nano=200_000_000),
        event(user.id, first + 2 * DAY_MS, model=EMBEDDER, route="/v1/embeddings", input_tokens=9, cost_nano=1, **mine),
        event(user.id, first + 2 * DAY_MS + 1, **chat),
    )
    return user


async def raw(gateway: Gateway, path: str, **query: Any) -> Any:
    """An answer, checked by OpenAI's own document."""
    answer = await gateway.client.get(f"/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    validate("UsageResponse", answer.json())
    return json.loads(answer.text, parse_float=Decimal)


def results(page: Any) -> list[list[Any]]:
    return [bucket.results for bucket in page.data]


# Completions


async def test_completions_are_told_day_by_day(usage: Any, somebody: User):
    page = await usage.completions(start_time=FIRST, user_ids=[somebody.id])
    assert [(bucket.start_time, bucket.end_time) for bucket in page.data] == [
        (FIRST + number * DAY, FIRST + (number + 1) * DAY) for number in range(5)
    ]
    assert (page.object, page.has_more, page.next_page) == ("page", False, None)
    first, second, third, *rest = results(page)
    assert (second, rest) == ([], [[], []])
    assert [
        (each.object, each.num_model_requests, each.input_tokens, each.output_tokens) for each in (*first, *third)
    ] == [
        ("organization.usage.completions.result", 3, 20, 11),
        ("organization.usage.completions.result", 1, 10, 5),
    ]
    assert (first[0].input_cached_tokens, first[0].project_id, first[0].model, first[0].batch) == (8, None, None, None)


async def test_completions_by_every_field(gateway: Gateway, usage: Any, somebody: User):
    fields = ["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"]
    page = await usage.completions(start_time=FIRST, end_time=FIRST + DAY, user_ids=[somebody.id], group_by=fields)
    found = {tuple(getattr(each, field) for field in fields): each.num_model_requests for each in results(page)[0]}
    assert found == {
        (f"proj_{somebody.id}", somebody.id, f"key_{somebody.id}", CHAT, False, "default"): 2,
        (None, somebody.id, None, "removed-model", False, "default"): 1,
    }
    await raw(gateway, PATHS[0], start_time=FIRST, **{"user_ids[]": somebody.id, "group_by[]": fields})


@pytest.mark.parametrize(
    ("filters", "requests"),
    [
        ({}, 4),
        ({"models": ["chat-alias"]}, 3),
        ({"models": [CHAT, "removed-model"]}, 4),
        ({"models": [EMBEDDER]}, 0),
        ({"project_ids": ["proj_{id}"]}, 3),
        ({"api_key_ids": ["key_{id}", "key_none"]}, 3),
        ({"project_ids": ["proj_{id}"], "models": ["removed-model"]}, 0),
        ({"batch": False}, 4),
        ({"batch": True}, 0),
        ({"user_ids": ["user_none"]}, 0),
    ],
)
async def test_completions_are_filtered(usage: Any, somebody: User, filters: dict[str, Any], requests: int):
    wanted = {
        name: [each.format(id=somebody.id) for each in value] if isinstance(value, list) else value
        for name, value in filters.items()
    }
    page = await usage.completions(**{"start_time": FIRST, "user_ids": [somebody.id], **wanted})
    assert sum(each.num_model_requests for bucket in results(page) for each in bucket) == requests


@pytest.mark.parametrize(("width", "step", "found"), [("1m", 60, {0: 1, 1: 1, 60: 1}), ("1h", 3600, {0: 2, 1: 1})])
async def test_buckets_are_as_wide_as_one_wants(
    usage: Any, somebody: User, width: Any, step: int, found: dict[int, int]
):
    page = await usage.completions(
        start_time=FIRST,
        end_time=FIRST + 2 * 3600,
        bucket_width=width,
        limit=120 if step == 60 else 24,
        user_ids=[somebody.id],
    )
    assert len(page.data) == 2 * 3600 // step
    counts = {
        (bucket.start_time - FIRST) // step: bucket.results[0].num_model_requests
        for bucket in page.data
        if bucket.results
    }
    assert counts == found


async def test_pages_follow_each_other(gateway: Gateway, usage: Any, somebody: User):
    seen: list[tuple[int, int]] = []
    cursor: Any = openai.omit
    while True:
        page = await usage.completions(
            start_time=FIRST, end_time=FIRST + 3 * DAY, limit=1, page=cursor, user_ids=[somebody.id]
        )
        (bucket,) = page.data
        seen.append((bucket.start_time, sum(each.num_model_requests for each in bucket.results)))
        if not page.has_more:
            break
        cursor = page.next_page
    assert seen == [(FIRST, 3), (FIRST + DAY, 0), (FIRST + 2 * DAY, 1)]
    assert page.next_page is None


@pytest.mark.parametrize(("path", "width", "usual"), [(PATHS[0], "1d", 7), (PATHS[1], "1h", 24), (PATHS[0], "1m", 60)])
async def test_a_page_has_as_many_buckets_as_openais(gateway: Gateway, path: str, width: str, usual: int):
    body = await raw(gateway, path, start_time=FIRST - 30 * DAY, bucket_width=width)
    assert (len(body["data"]), body["has_more"]) == (usual, True)


# Embeddings


async def test_embeddings_are_told_apart_from_completions(gateway: Gateway, usage: Any, somebody: User):
    page = await usage.embeddings(start_time=FIRST, user_ids=[somebody.id], group_by=["model", "user_id"])
    found = [(each.object, each.model, each.user_id, each.input_tokens) for bucket in results(page) for each in bucket]
    assert found == [("organization.usage.embeddings.result", EMBEDDER, somebody.id, 9)]
    for models, count in (([CHAT], 0), ([EMBEDDER, CHAT], 1)):
        page = await usage.embeddings(start_time=FIRST, user_ids=[somebody.id], models=models)
        assert sum(map(len, results(page))) == count
    await raw(gateway, PATHS[1], start_time=FIRST, **{"user_ids[]": somebody.id})


# Costs


async def test_costs_are_told_day_by_day(gateway: Gateway, usage: Any, somebody: User):
    page = await usage.costs(start_time=FIRST, end_time=FIRST + 3 * DAY, project_ids=[f"proj_{somebody.id}"])
    found = [[(each.object, each.amount.value, each.amount.currency) for each in bucket] for bucket in results(page)]
    assert found == [
        [("organization.costs.result", 0.2, "usd")],
        [],
        [("organization.costs.result", 0.100000001, "usd")],
    ]
    assert results(page)[0][0].line_item is None
    body = await raw(gateway, PATHS[2], start_time=FIRST, **{"project_ids[]": f"proj_{somebody.id}"})
    assert body["data"][0]["results"][0]["amount"] == {"value": Decimal("0.2"), "currency": "usd"}


async def test_costs_have_a_line_for_each_model(gateway: Gateway, usage: Any, somebody: User):
    fields: Any = ["line_item", "project_id", "api_key_id"]
    keys = [f"key_{somebody.id}"]
    page = await usage.costs(start_time=FIRST, api_key_ids=keys, group_by=fields)
    found = {
        (number, each.line_item): (each.quantity, each.quantity_unit, each.amount.value)
        for number, bucket in enumerate(results(page))
        for each in bucket
    }
    assert found == {
        (0, CHAT): (30, "tokens", 0.2),
        (2, CHAT): (15, "tokens", 0.1),
        (2, EMBEDDER): (9, "tokens", 1e-9),
    }
    (line, *_) = results(page)[0]
    assert (line.project_id, line.api_key_id) == (f"proj_{somebody.id}", keys[0])
    await raw(gateway, PATHS[2], start_time=FIRST, **{"api_key_ids[]": keys, "group_by[]": fields})


async def test_costs_are_exact_and_in_the_installations_currency(new_gateway: GatewayFactory):
    async with new_gateway(currency="eur") as gateway:
        await keep(gateway, event("user_x", FIRST * 1000, cost_nano=9_007_199_254_740_993))
        body = await raw(gateway, PATHS[2], start_time=FIRST, limit=180)
    assert body["data"][0]["results"][0]["amount"] == {"value": Decimal("9007199.254740993"), "currency": "eur"}


# Who may, and what is refused


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_for_admins(gateway: Gateway, path: str, somebody: User):
    headers = await key_of(gateway, somebody, "read", "write", "admin")
    for prefix in PREFIXES:
        query = {"start_time": FIRST}
        assert (await gateway.client.get(prefix + path, params=query)).status_code == 200
        assert_error(await gateway.anonymous.get(prefix + path, params=query, headers=headers), 403)
        assert_error(await gateway.anonymous.get(prefix + path, params=query), 401, "missing_credentials")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_time": ""}, "start_time"),
        ({"start_time": -1}, "start_time"),
        ({"start_time": 10**12}, "start_time"),
        ({"end_time": FIRST}, "end_time"),
        ({"end_time": "now"}, "end_time"),
        ({"bucket_width": "1w"}, "bucket_width"),
        ({"limit": 0}, "limit"),
        ({"limit": 181}, "limit"),
        ({"limit": "all"}, "limit"),
        ({"page": "page_x"}, "page"),
        ({"page": "x" * 65}, "page"),
        ({"group_by": "color"}, "group_by"),
        ({"group_by[]": ["project_id", "Model"]}, "group_by"),
        ({"project_ids[]": "x" * 300}, "project_ids[].0"),
    ],
)
async def test_a_wrong_question_is_refused_by_its_parameter(
    gateway: Gateway, path: str, query: dict[str, Any], param: str
):
    assert_error(await gateway.client.get(f"/v1{path}", params={"start_time": FIRST, **query}), 400, param=param)


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        (PATHS[0], {}, "start_time"),
        (PATHS[0], {"start_time": FIRST, "limit": 32}, "limit"),
        (PATHS[0], {"start_time": FIRST, "bucket_width": "1h", "limit": 169}, "limit"),
        (PATHS[0], {"start_time": FIRST, "bucket_width": "1m", "limit": 1441}, "limit"),
        (PATHS[0], {"start_time": FIRST, "batch": "perhaps"}, "batch"),
        (PATHS[0], {"start_time": FIRST, "group_by": "line_item"}, "group_by"),
        (PATHS[1], {"start_time": FIRST, "group_by": "batch"}, "group_by"),
        (PATHS[2], {"start_time": FIRST, "group_by": "model"}, "group_by"),
        (PATHS[2], {"start_time": FIRST, "bucket_width": "1h"}, "bucket_width"),
    ],
)
async def test_each_has_its_own_bounds(gateway: Gateway, path: str, query: dict[str, Any], param: str):
    assert_error(await gateway.client.get(f"/v1{path}", params=query), 400, param=param)


async def test_a_time_that_has_not_come_has_no_buckets(gateway: Gateway):
    for path in PATHS:
        body = await raw(gateway, path, start_time=int(time.time()) + 3 * DAY)
        assert (body["data"], body["has_more"]) == ([], False)


async def test_too_many_results_are_refused_with_what_to_do(
    gateway: Gateway, somebody: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(routes, "MAX_ROWS", 1)
    query = {"start_time": FIRST, "user_ids": somebody.id, "group_by": "model"}
    assert_error(await gateway.client.get(f"/v1{PATHS[0]}", params=query), 400, param="limit")
