"""Whatever somebody asks of limits and usage, the answer says what is wrong with it."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import pytest

from tests.support.gateway import Gateway

REPORT = ("start", "end", "start_date", "end_date", "days", "group_by", "model", "key", "format")
BUCKETS = ("end_time", "bucket_width", "limit", "page", "group_by", "group_by[]", "models", "project_ids")
ROUTES: Final = {
    "/v1/limits?": ("anything",),
    "/v1/usage?": REPORT,
    "/v1/usage/requests?": ("limit", "after", "before", "order"),
    "/v1/admin/usage?": (*REPORT, "user", "project"),
    "/v1/organization/usage/completions?start_time=1700000000&": (*BUCKETS, "start_time", "batch"),
    "/v1/organization/usage/embeddings?start_time=1700000000&": BUCKETS,
    "/v1/organization/costs?start_time=1700000000&": BUCKETS,
}
VALUES: Final = ("", "-1", "NaN", "9" * 400, "99999999999", "%00", "%ED%A0%80", "a" * 5000, "2026-02-30", '{"$gt":1}')

BAD_TABLES: Final[tuple[Any, ...]] = (
    {"models": {"a\x00b": []}},
    {"models": {"$set": []}},
    {"models": {"": []}},
    {"models": {"x": None}},
    {"user": {"requests": 1}},
    {"user": [None]},
    {"user": [{"spend": "NaN", "per": "month"}]},
    {"user": [{"spend": "1e-999999999", "per": "month"}]},
    {"user": [{"spend": True, "per": "month"}]},
    {"user": [{"requests": 10**400, "per": "hour"}]},
    {"user": [{"requests": 1, "per": ["hour"]}]},
    {"plans": {"pro": {"weight": "inf"}}},
)


@pytest.mark.parametrize("route", ROUTES)
async def test_no_query_is_our_fault(gateway: Gateway, route: str) -> None:
    for name, value in product(ROUTES[route], VALUES):
        for query in (f"{name}={value}", f"{name}={value}&{name}=1"):
            answer = await gateway.client.get(f"{route}{query}")
            assert answer.status_code < 500, query[:100]


@pytest.mark.parametrize("table", BAD_TABLES, ids=lambda table: str(table)[:40])
async def test_no_table_is_our_fault(gateway: Gateway, table: Any) -> None:
    answer = await gateway.client.put("/v1/admin/limits", json=table)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
