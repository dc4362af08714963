from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.support.gateway import CHAT, Gateway, new_user
from tests.support.people import key_of
from tests.support.sdk import WEATHER, sdk_of
from tests.support.threads import whole
from tests.test_error_shape import assert_error

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_of(gateway) as client:
        yield client


async def test_an_assistant_is_made_shown_changed_and_deleted(gateway: Gateway, client: openai.AsyncOpenAI):
    made = await client.beta.assistants.create(
        model=CHAT,
        name="Tutor",
        instructions="Explain it.",
        tools=[WEATHER],  # type: ignore[list-item]
        metadata={"team": "school"},
        temperature=0.5,
        response_format={"type": "json_object"},
    )
    assert (made.name, made.model, made.metadata) == ("Tutor", CHAT, {"team": "school"})
    assert made.tools[0].to_dict() == WEATHER
    assert (await client.beta.assistants.retrieve(made.id)).to_dict() == made.to_dict()
    changed = await client.beta.assistants.update(made.id, name="Teacher", instructions=None)
    assert changed.to_dict() == made.to_dict() | {"name": "Teacher", "instructions": None}
    patched = await gateway.client.patch(f"/v1/assistants/{made.id}", json={"metadata": {}, "tools": []})
    assert whole("AssistantObject", patched)["tools"] == []
    deleted = await client.beta.assistants.delete(made.id)
    assert deleted.to_dict() == {"id": made.id, "object": "assistant.deleted", "deleted": True}
    assert_error(await gateway.client.get(f"/v1/assistants/{made.id}"), 404, "assistant_not_found")


async def test_what_jan_sends_is_taken_and_shown(gateway: Gateway):
    body = {"name": "Jan", "description": "Helps", "avatar": "https://example.com/a.png", "tools": [], "file_ids": []}
    made = whole("AssistantObject", await gateway.client.post("/assistants", json=body))
    assert {name: made[name] for name in body} == body
    assert made["model"] == "*"


async def test_a_list_is_read_in_both_directions(gateway: Gateway):
    owner = await new_user(gateway.services)
    headers = await key_of(gateway, owner)
    ids = [
        (await gateway.anonymous.post("/v1/assistants", json={"name": str(each)}, headers=headers)).json()["id"]
        for each in range(5)
    ]

    async def page(**query: Any) -> list[str]:
        answer = await gateway.anonymous.get("/v1/assistants", params=query, headers=headers)
        return [each["id"] for each in whole("ListAssistantsResponse", answer)["data"]]

    assert await page() == ids[::-1]
    assert await page(order="asc", limit=2, after=ids[1]) == ids[2:4]
    assert await page(order="asc", limit=2, before=ids[3]) == ids[1:3]
    async with sdk_of(gateway, headers["authorization"].removeprefix("Bearer ")) as client:
        assert [each.id async for each in client.beta.assistants.list(limit=2)] == ids[::-1]
    assert_error(
        await gateway.anonymous.get("/v1/assistants", params={"after": "asst_none"}, headers=headers),
        400,
        None,
        "after",
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"tools": [WEATHER] * 129}, "tools"),
        (
            {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}},
            "tool_resources.file_search.vector_store_ids",
        ),
        ({"name": "x" * 257}, "name"),
        ({"instructions": "x" * 256_001}, "instructions"),
        ({"temperature": 2.1}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"$set": "x"}}, "metadata.$set"),
        ({"metadata": {str(each): "x" for each in range(17)}}, "metadata"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"model": ""}, "model"),
        ({"file_ids": ["file_1"]}, "file_ids"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(gateway: Gateway, body: dict[str, Any], param: str):
    assert_error(await gateway.client.post("/v1/assistants", json={"name": "x", **body}), 400, param=param)
