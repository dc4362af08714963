"""Usage as people see it: their own, and everybody's for admins."""

from __future__ import annotations

import csv
import io
import json
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest

from app.domain.page import PageRequest
from app.domain.user import User
from app.routers import usage as routes
from tests.support.gateway import CHAT, EMBEDDER, Gateway, GatewayFactory, new_user
from tests.support.people import bearer, client_of, key_of
from tests.support.used import DAY_MS, event, keep
from tests.test_error_shape import assert_error

PREFIXES = ("", "/v1", "/api/v1")
FIRST = (int(time.time() * 1000) // DAY_MS - 4) * DAY_MS
"""The beginning of a day not long ago."""


def day(number: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(FIRST / 1000 + 86_400 * number))


async def reader(gateway: Gateway, **changes: Any) -> tuple[User, dict[str, str], str]:
    """A user, the header of a key of theirs, and its id."""
    user = await new_user(gateway.services, name="Ada", email="ada@example.com")
    headers = await key_of(gateway, user, **changes)
    key = (await gateway.services.stores.keys.list(PageRequest(limit=1), owner=user.id)).items[0]
    return user, headers, key.id


async def three_days(gateway: Gateway, user: User, key_id: str | None = None) -> None:
    """Four requests: two on the first day, and one each on the two days that follow the next."""
    some = {
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 5,
        "reasoning_tokens": 2,
        "cost_nano": 1_000_000_001,
    }
    await keep(
        gateway,
        event(user.id, FIRST, key_id=key_id, project_id="proj_default", **some),
        event(user.id, FIRST + 5000, key_id=key_id, project_id="proj_default", status="failed", **some),
        event(user.id, FIRST + 2 * DAY_MS, model=EMBEDDER, input_tokens=7, cost_nano=100_000_000),
        event(user.id, FIRST + 3 * DAY_MS, key_id="key_other", input_tokens=1),
    )


def exact(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=Decimal)


# One's own


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_nothing_used_is_an_empty_list_with_sums_of_nothing(gateway: Gateway, prefix: str):
    _, headers, _ = await reader(gateway)
    body = exact(await gateway.anonymous.get(f"{prefix}/usage", headers=headers))
    assert (body["object"], body["data"], body["has_more"], body["currency"]) == ("list", [], False, "usd")
    assert body["group_by"] == ["day"]
    assert body["end"] - body["start"] == 30 * 86_400
    assert set(body["totals"].values()) == {0}


async def test_days_have_sums_and_so_has_all_of_them(gateway: Gateway):
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user)
    body = exact(await gateway.anonymous.get("/v1/usage", headers=headers))
    assert [(row["date"], row["requests"], row["cost"]) for row in body["data"]] == [
        (day(0), 2, Decimal("2.000000002")),
        (day(2), 1, Decimal("0.1")),
        (day(3), 1, 0),
    ]
    assert body["data"][0] == {
        "object": "usage",
        "date": day(0),
        "requests": 2,
        "failed_requests": 1,
        "input_tokens": 20,
        "cached_tokens": 8,
        "output_tokens": 10,
        "reasoning_tokens": 4,
        "cost": Decimal("2.000000002"),
    }
    assert (body["totals"]["requests"], body["totals"]["input_tokens"]) == (4, 28)
    assert body["totals"]["cost"] == Decimal("2.100000002")


async def test_money_is_exact_where_floats_are_not(gateway: Gateway):
    user, headers, _ = await reader(gateway)
    await keep(gateway, *(event(user.id, FIRST, cost_nano=nano) for nano in (100_000_000, 200_000_000)))
    assert '"cost":0.3}' in (await gateway.anonymous.get("/v1/usage", headers=headers)).text, "0.1 + 0.2"
    await keep(gateway, event(user.id, FIRST + DAY_MS, cost_nano=12_345_678_123_456_789))
    assert '"cost":12345678.123456789}' in (await gateway.anonymous.get("/v1/usage", headers=headers)).text


@pytest.mark.parametrize(
    "how", [{"group_by": "model,key"}, {"group_by": ["key", "model"]}, {"group_by": " key , model,"}]
)
async def test_models_and_keys_are_told_apart_over_all_days(gateway: Gateway, how: dict[str, Any]):
    user, headers, key_id = await reader(gateway)
    await three_days(gateway, user, key_id)
    body = exact(await gateway.anonymous.get("/v1/usage", params=how, headers=headers))
    assert body["group_by"] == ["model", "key"]
    found = {(row["model"], row["key_id"], row["key_name"]): row["requests"] for row in body["data"]}
    assert found == {(CHAT, key_id, "test"): 2, (EMBEDDER, None, None): 1, (CHAT, "key_other", None): 1}
    assert all("date" not in row for row in body["data"])


async def test_days_and_models_together(gateway: Gateway):
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user)
    body = exact(await gateway.anonymous.get("/v1/usage", params={"group_by": "model,day"}, headers=headers))
    found = [(row["date"], row["model"], row["requests"]) for row in body["data"]]
    assert found == [(day(0), CHAT, 2), (day(2), EMBEDDER, 1), (day(3), CHAT, 1)]


@pytest.mark.parametrize(
    ("query", "requests"),
    [
        ({"start_date": day(1)}, 2),
        ({"start_date": day(0), "end_date": day(0)}, 2),
        ({"start": FIRST // 1000 + 1, "end": FIRST // 1000 + 2 * 86_400}, 1),
        ({"start": FIRST // 1000, "end": FIRST // 1000 + 5}, 1),
        ({"days": 4}, 2),
        ({"end_date": day(2), "days": 1}, 1),
        ({"model": EMBEDDER}, 1),
        ({"model": "chat-alias"}, 3),
        ({"model": f"{CHAT},{EMBEDDER}"}, 4),
        ({"model": [CHAT, EMBEDDER]}, 4),
        ({"model": "none"}, 0),
        ({"key": "key_other"}, 1),
        ({"key": "key_other", "model": EMBEDDER}, 0),
        ({"user": "user_x", "color": "blue"}, 4),
    ],
)
async def test_a_part_can_be_asked_for(gateway: Gateway, query: dict[str, Any], requests: int):
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user)
    body = exact(await gateway.anonymous.get("/v1/usage", params=query, headers=headers))
    assert body["totals"]["requests"] == requests
    assert sum(row["requests"] for row in body["data"]) == requests


async def test_a_session_and_a_guest_see_what_is_theirs(gateway: Gateway):
    for role in ("user", "guest"):
        user, client = await client_of(gateway, role)
        async with client:
            await three_days(gateway, user)
            assert exact(await client.get("/v1/usage"))["totals"]["requests"] == 4


async def test_nobody_sees_what_is_anothers(gateway: Gateway):
    one, _, key_id = await reader(gateway)
    _, theirs, _ = await reader(gateway)
    await three_days(gateway, one, key_id)
    for query in ({}, {"user": one.id}, {"owner": one.id}, {"key": key_id}, {"key": "key_other"}, {"model": CHAT}):
        assert exact(await gateway.anonymous.get("/v1/usage", params=query, headers=theirs))["data"] == []
    assert exact(await gateway.anonymous.get("/v1/usage/requests", headers=theirs))["data"] == []
    assert_error(await gateway.anonymous.get("/v1/admin/usage", headers=theirs), 403)
    for path in ("/v1/usage", "/v1/usage/requests", "/v1/admin/usage"):
        assert_error(await gateway.anonymous.get(path), 401, "missing_credentials")


async def test_a_key_sees_all_that_is_its_owners(gateway: Gateway):
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user, "key_of_yesterday")
    assert exact(await gateway.anonymous.get("/v1/usage", headers=headers))["totals"]["requests"] == 4


@pytest.mark.parametrize(
    "changes", [{"models": [CHAT]}, {"expires_at_ms": 10**13}, {"limits": {"requests_per_minute": 9}}]
)
async def test_a_restricted_key_sees_what_itself_used_and_nothing_else(gateway: Gateway, changes: dict[str, Any]):
    user, headers, key_id = await reader(gateway, **changes)
    await three_days(gateway, user, key_id)
    for query, requests in (
        ({}, 2),
        ({"key": key_id}, 2),
        ({"key": f"key_other,{key_id}"}, 2),
        ({"key": "key_other"}, 0),
    ):
        body = exact(await gateway.anonymous.get("/v1/usage", params=query, headers=headers))
        assert body["totals"]["requests"] == requests, query
    events = exact(await gateway.anonymous.get("/v1/usage/requests", headers=headers))["data"]
    assert [each["key_id"] for each in events] == [key_id, key_id]


# Single requests


async def test_requests_are_told_one_by_one_the_newest_first(gateway: Gateway):
    user, headers, key_id = await reader(gateway)
    await three_days(gateway, user, key_id)
    body = exact(await gateway.anonymous.get("/v1/usage/requests", headers=headers))
    assert [each["created_at"] * 1000 - FIRST for each in body["data"]] == [3 * DAY_MS, 2 * DAY_MS, 5000, 0]
    assert (body["has_more"], body["first_id"], body["currency"]) == (False, body["data"][0]["id"], "usd")
    first = body["data"][-1]
    assert first.pop("id").startswith("req_")
    assert first == {
        "object": "usage.request",
        "created_at": FIRST // 1000,
        "model": CHAT,
        "key_id": key_id,
        "project_id": "proj_default",
        "route": "/v1/chat/completions",
        "stream": False,
        "status": "completed",
        "http_status": 200,
        "ttft_ms": Decimal("10.5"),
        "duration_ms": Decimal("100.25"),
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 5,
        "reasoning_tokens": 2,
        "cost": Decimal("1.000000001"),
    }


async def test_requests_are_listed_a_page_at_a_time(gateway: Gateway):
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3, "order": "asc"}
    while True:
        page = exact(await gateway.anonymous.get("/v1/usage/requests", params=query, headers=headers))
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert len(seen) == 4
    whole = exact(await gateway.anonymous.get("/v1/usage/requests", headers=headers))["data"]
    assert seen == [each["id"] for each in whole][::-1]


async def test_nobody_pages_from_what_is_anothers(gateway: Gateway):
    user, headers, _ = await reader(gateway)
    _, theirs, _ = await reader(gateway)
    await three_days(gateway, user)
    first = exact(await gateway.anonymous.get("/v1/usage/requests", headers=headers))["first_id"]
    refused = await gateway.anonymous.get("/v1/usage/requests", params={"after": first}, headers=theirs)
    assert_error(refused, 400, param="after")


# Everybody's


async def test_admins_see_users_projects_keys_and_models(gateway: Gateway):
    user, _, key_id = await reader(gateway)
    gone = f"user_gone_{user.id}"
    await three_days(gateway, user, key_id)
    await keep(gateway, event(gone, FIRST, input_tokens=3))
    query = {"group_by": "user,project,key,model", "user": f"{user.id},{gone}"}
    body = exact(await gateway.client.get("/v1/admin/usage", params=query))
    assert body["group_by"] == ["user", "project", "key", "model"]
    found = {tuple(row[name] for name in list(row)[1:9]): row["requests"] for row in body["data"]}
    ada = (user.id, "Ada", "ada@example.com")
    assert found == {
        (*ada, "proj_default", "Default project", key_id, "test", CHAT): 2,
        (*ada, None, None, None, None, EMBEDDER): 1,
        (*ada, None, None, "key_other", None, CHAT): 1,
        (gone, None, None, None, None, None, None, CHAT): 1,
    }
    assert body["totals"]["requests"] == 5


@pytest.mark.parametrize(
    ("query", "requests"),
    [
        ({"project": "proj_default"}, 2),
        ({"model": "vendor/chat"}, 3),
        ({"key": "key_other", "group_by": "day"}, 1),
        ({"project": "proj_none"}, 0),
        ({"start_date": day(2), "group_by": "day,user"}, 2),
    ],
)
async def test_admins_can_ask_for_a_part(gateway: Gateway, query: dict[str, Any], requests: int):
    user, _, _ = await reader(gateway)
    await three_days(gateway, user)
    body = exact(await gateway.client.get("/v1/admin/usage", params={**query, "user": user.id}))
    assert body["totals"]["requests"] == requests


async def test_admins_own_usage_is_their_own_alone(gateway: Gateway):
    user, _, key_id = await reader(gateway)
    await three_days(gateway, user, key_id)
    body = exact(await gateway.client.get("/v1/usage", params={"key": key_id}))
    assert body["data"] == []


async def test_a_revoked_key_is_still_known_by_its_name(gateway: Gateway):
    user, _, key_id = await reader(gateway)
    await three_days(gateway, user, key_id)
    assert (await gateway.client.delete(f"/v1/admin/api-keys/{key_id}")).status_code == 200
    body = exact(await gateway.client.get("/v1/admin/usage", params={"user": user.id, "group_by": "key"}))
    assert {row["key_name"] for row in body["data"]} == {"test", None}


# Tables


@pytest.mark.parametrize("how", [{"params": {"format": "csv"}}, {"extra": {"accept": "text/csv"}}])
async def test_a_table_has_the_same_numbers(gateway: Gateway, how: dict[str, Any]):
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user)
    answer = await gateway.anonymous.get("/v1/usage", params=how.get("params"), headers=headers | how.get("extra", {}))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"].startswith('attachment; filename="usage-20')
    lines = answer.text.split("\r\n")
    assert lines[0] == (
        "date,requests,failed_requests,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost,currency"
    )
    assert lines[1] == f"{day(0)},2,1,20,8,10,4,2.000000002,usd"
    assert (len(lines), lines[-1]) == (5, "")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/csv", "text/html", ""])
async def test_who_does_not_ask_for_a_table_gets_json(gateway: Gateway, accept: str):
    _, headers, _ = await reader(gateway)
    answer = await gateway.anonymous.get("/v1/usage", headers={**headers, "accept": accept})
    assert answer.headers["content-type"] == "application/json"
    said = await gateway.anonymous.get(
        "/v1/usage", params={"format": "json"}, headers={**headers, "accept": "text/csv"}
    )
    assert said.headers["content-type"] == "application/json"


async def test_an_empty_table_has_its_line_of_names(gateway: Gateway):
    _, headers, _ = await reader(gateway)
    query = {"format": "csv", "group_by": "key,model"}
    text = (await gateway.anonymous.get("/v1/usage", params=query, headers=headers)).text
    assert text.startswith("model,key_id,key_name,requests,")
    assert text.count("\r\n") == 1


async def test_a_name_is_no_formula_to_a_spreadsheet(gateway: Gateway):
    user = await new_user(gateway.services, name='=HYPERLINK("http://example.com","click")', email="+1@example.com")
    await keep(gateway, event(user.id, FIRST, model="@model", key_id="-key"))
    query = {"format": "csv", "group_by": "user,key,model", "user": user.id}
    text = (await gateway.client.get("/v1/admin/usage", params=query)).text
    (row,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert row["user_name"] == '\'=HYPERLINK("http://example.com","click")'
    assert (row["user_email"], row["model"], row["key_id"]) == ("'+1@example.com", "'@model", "'-key")


# What is refused


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/admin/usage"])
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"group_by": "color"}, "group_by"),
        ({"group_by": "day,DAY"}, "group_by"),
        ({"group_by": "x" * 5000}, "group_by.0"),
        ({"days": 0}, "days"),
        ({"days": 367}, "days"),
        ({"days": "many"}, "days"),
        ({"start": "yesterday"}, "start"),
        ({"start": -1}, "start"),
        ({"end": 10**12}, "end"),
        ({"start_date": "2026-02-30"}, "start_date"),
        ({"end_date": "x" * 99}, "end_date"),
        ({"start_date": day(1), "end_date": day(0)}, "start_date"),
        ({"start": 1}, "start"),
        ({"format": "xml"}, "format"),
        ({"model": ",".join(f"m{number}" for number in range(101))}, "model"),
        ({"key": [f"k{number}" for number in range(101)]}, "key"),
    ],
)
async def test_a_wrong_question_is_refused_by_its_parameter(
    gateway: Gateway, path: str, query: dict[str, Any], param: str
):
    assert_error(await gateway.client.get(path, params=query), 400, param=param)


async def test_only_admins_can_tell_users_and_projects_apart(gateway: Gateway):
    for name in ("user", "project"):
        assert_error(await gateway.client.get("/v1/usage", params={"group_by": name}), 400, param="group_by")


async def test_a_report_that_is_too_long_is_refused_with_what_to_do(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(routes, "MAX_ROWS", 2)
    user, headers, _ = await reader(gateway)
    await three_days(gateway, user)
    for query in ({}, {"format": "csv"}):
        answer = await gateway.anonymous.get("/v1/usage", params=query, headers=headers)
        assert_error(answer, 400, param="group_by")
    fewer = await gateway.anonymous.get("/v1/usage", params={"group_by": "model"}, headers=headers)
    assert len(exact(fewer)["data"]) == 2


async def test_the_currency_is_the_installations(new_gateway: GatewayFactory):
    async with new_gateway(currency="eur") as gateway:
        assert exact(await gateway.client.get("/v1/usage"))["currency"] == "eur"
        headers = bearer(gateway.key)
        text = (await gateway.anonymous.get("/v1/usage", params={"format": "csv"}, headers=headers)).text
        assert text.endswith("cost,currency\r\n")
