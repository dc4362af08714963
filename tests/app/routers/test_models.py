from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from app.domain.model_state import ModelState
from app.services.catalog import CatalogEntry
from tests.support.gateway import BROKEN, CHAT, EMBEDDER, OFF, Gateway, GatewayFactory, running_gateway, scripted
from tests.support.mongo import MongoServer
from tests.support.openai_schema import needs_openai_schema, validate

PREFIXES = ("", "/v1", "/api/v1")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_every_known_model_is_listed_whatever_its_state(gateway: Gateway, prefix: str):
    body = (await gateway.anonymous.get(f"{prefix}/models")).json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == sorted((CHAT, EMBEDDER, BROKEN, OFF))


async def test_a_model_says_what_it_can_and_how_it_is(gateway: Gateway):
    assert (await gateway.anonymous.get(f"/v1/models/{CHAT}")).json() == {
        "id": CHAT,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "manta",
        "aliases": ["chat-alias", "vendor/chat"],
        "capabilities": ["chat", "completions"],
        "price": None,
        "max_model_len": 2048,
        "replicas": 1,
        "queued": 0,
        "status": "ready",
        "phase": None,
        "progress": None,
        "detail": None,
        "started_at": None,
        "retry_at": None,
        "last_start": None,
        "pull": None,
    }


async def test_a_model_says_what_it_costs(new_gateway: GatewayFactory):
    entries = [CatalogEntry(scripted("m", price={"input_per_million": 0.15, "output_per_million": 2}))]
    async with new_gateway(entries) as running:
        shown = (await running.anonymous.get("/v1/models/m")).json()["price"]
    assert shown == {"input_per_million": 0.15, "cached_input_per_million": 0.15, "output_per_million": 2}


async def test_a_model_that_failed_says_why(gateway: Gateway):
    body = (await gateway.anonymous.get(f"/v1/models/{BROKEN}")).json()
    assert (body["status"], body["detail"]) == ("failed", "its weights are not there")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", [CHAT, "chat-alias", "vendor/chat", quote("vendor/chat", safe=""), EMBEDDER])
async def test_a_model_is_found_by_every_name_of_it_slashes_included(gateway: Gateway, prefix: str, name: str):
    response = await gateway.anonymous.get(f"{prefix}/models/{name}")
    assert response.status_code == 200
    assert response.json()["id"] == name.replace("%2F", "/")


@needs_openai_schema
async def test_models_are_as_openai_describes_them(gateway: Gateway):
    validate("ListModelsResponse", (await gateway.client.get("/v1/models")).json())
    validate("Model", (await gateway.client.get(f"/v1/models/{CHAT}")).json())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ten(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway with the models m0 to m9."""
    entries = [CatalogEntry(scripted(f"m{n}"), ModelState()) for n in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]
    async with running_gateway(tmp_path_factory.mktemp("ten"), mongodb.uri, "ten_models", entries) as running:
        yield running


async def page(gateway: Gateway, **query: Any) -> tuple[list[int], bool]:
    response = await gateway.anonymous.get("/v1/models", params=query)
    assert response.status_code == 200, response.text
    body = response.json()
    ids = [model["id"] for model in body["data"]]
    assert (body["first_id"], body["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return [int(id_[1:]) for id_ in ids], body["has_more"]


async def test_without_a_limit_the_list_is_whole(ten: Gateway):
    assert await page(ten) == (list(range(10)), False)


@pytest.mark.parametrize(
    ("query", "numbers", "more"),
    [
        ({"limit": 3}, [0, 1, 2], True),
        ({"limit": 3, "after": "m2"}, [3, 4, 5], True),
        ({"limit": 3, "after": "m6"}, [7, 8, 9], False),
        ({"after": "m9"}, [], False),
        ({"limit": 10}, list(range(10)), False),
        ({"order": "desc", "limit": 2}, [9, 8], True),
        ({"order": "desc", "limit": 2, "after": "m8"}, [7, 6], True),
        ({"before": "m3"}, [0, 1, 2], False),
        ({"after": "m1", "before": "m5"}, [2, 3, 4], False),
        ({"order": "desc", "before": "m7"}, [9, 8], False),
        ({"after": "m4x", "limit": 2}, [5, 6], True),
        ({"colour": "grey", "limit": 1}, [0], True),
    ],
)
async def test_a_list_is_read_page_by_page(ten: Gateway, query: dict[str, Any], numbers: list[int], more: bool):
    assert await page(ten, **query) == (numbers, more)


async def test_the_pages_make_the_whole(ten: Gateway):
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        numbers, more = await page(ten, **query)
        seen += numbers
        if not more:
            break
        query["after"] = f"m{numbers[-1]}"
    assert seen == list(range(10))
