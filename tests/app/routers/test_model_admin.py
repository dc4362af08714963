"""Models as resources, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.gateway import CHAT, STANDARD_MODELS, Gateway, GatewayFactory, new_user
from tests.support.model_admin import ChangingModels

SPEC = {"id": "org/new", "engine": "scripted", "aliases": ["nick"], "engine_args": {"default_tokens": 3}}
PREFIXES = ("", "/v1", "/api/v1")


@pytest_asyncio.fixture(loop_scope="session")
async def changing(new_gateway: GatewayFactory) -> AsyncIterator[Gateway]:
    """A gateway whose models can be changed."""
    async with new_gateway(models=ChangingModels(tuple(STANDARD_MODELS.values()))) as running:
        yield running


def refusal(response: httpx.Response) -> tuple[int, str | None, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_model_is_added_changed_stopped_started_and_removed(changing: Gateway, prefix: str):
    client, path = changing.client, f"{prefix}/models"
    added = await client.post(path, json=SPEC)
    assert added.status_code == 200, added.text
    assert (added.json()["id"], added.json()["object"], added.json()["spec"]["engine_args"]) == (
        "org/new",
        "model",
        {"default_tokens": 3},
    )
    assert (await client.get(f"{path}/nick")).json()["id"] == "nick"
    for method in ("PATCH", "POST"):
        changed = await client.request(method, f"{path}/org/new", json={"owned_by": method})
        assert (changed.status_code, changed.json()["owned_by"]) == (200, method)
    assert (await client.post(f"{path}/org/new/stop")).json()["status"] == "disabled"
    assert (await client.post(f"{path}/start", json={"model": "nick"})).json()["status"] == "ready"
    assert (await client.post(f"{path}/stop", json={"model": "org/new"})).json()["status"] == "disabled"
    assert (await client.post(f"{path}/org/new/start")).json()["status"] == "ready"
    removed = await client.delete(f"{path}/org/new")
    assert removed.json() == {"id": "org/new", "object": "model.deleted", "deleted": True}
    assert refusal(await client.get(f"{path}/org/new")) == (404, "model_not_found", "model")


async def test_what_a_model_costs_is_changed_part_by_part(changing: Gateway):
    path = f"/v1/models/{CHAT}"
    for price, expected in (
        ({"input_per_million": 0.15, "output_per_million": 0.6}, (0.15, 0.15, 0.6)),
        ({"cached_input_per_million": 0.075}, (0.15, 0.075, 0.6)),
        ({"output_per_million": None}, (0.15, 0.075, 0)),
    ):
        changed = (await changing.client.patch(path, json={"price": price})).json()
        assert tuple(changed["price"].values()) == expected
    assert (await changing.client.patch(path, json={"price": None})).json()["price"] is None


async def test_weights_are_fetched_on_demand_in_three_ways(changing: Gateway):
    done = {"status": "done", "progress": 1.0, "detail": "in place on 1 node"}
    for pulled in (
        await changing.client.post("/v1/models/pull", json={"model": CHAT}),
        await changing.client.post(f"/v1/models/{CHAT}/pull"),
        await changing.client.get(f"/v1/models/download/{CHAT}"),
    ):
        assert (pulled.status_code, pulled.json()["pull"]) == (200, done)
    assert pulled.json()["message"] == f"Starting download {CHAT}"
    assert (await changing.anonymous.get(f"/v1/models/{CHAT}")).json()["pull"] == done


async def test_what_a_models_replicas_wrote_can_be_read(changing: Gateway):
    logs = await changing.client.get(f"/v1/models/{CHAT}/logs", params={"lines": 2})
    assert logs.json() == {"object": "list", "data": [{"replica": "0a0b", "lines": ["line 2", "line 3"]}]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**SPEC, "id": CHAT}, "id"),
        ({**SPEC, "aliases": ["chat-alias"]}, "aliases[0]"),
        ({**SPEC, "id": "../../etc"}, "id"),
        ({**SPEC, "replicas": 2}, "replicas"),
        ({**SPEC, "autoscaling": {"min_replicas": -1}}, "autoscaling.min_replicas"),
        ({**SPEC, "price": {"output_per_million": 0.0001}}, "price.output_per_million"),
        ({**SPEC, "price": {"output_per_million": -1}}, "price.output_per_million"),
        ({"id": "x"}, "source"),
        ({}, "id"),
    ],
)
async def test_a_wrong_spec_is_400_by_its_field_and_nothing_is_there(changing: Gateway, body: Any, param: str):
    response = await changing.client.post("/v1/models", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert len((await changing.client.get("/v1/models")).json()["data"]) == len(STANDARD_MODELS)


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": 3}, {"model": CHAT, "x": 1}])
@pytest.mark.parametrize("action", ["start", "stop", "pull"])
async def test_a_body_has_to_name_a_model_and_nothing_else(changing: Gateway, action: str, body: Any):
    response = await changing.client.post(f"/v1/models/{action}", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] in ("model", "x")


CALLS = [
    ("POST", "/v1/models"),
    ("PATCH", f"/v1/models/{CHAT}"),
    ("POST", f"/v1/models/{CHAT}"),
    ("DELETE", f"/v1/models/{CHAT}"),
    ("POST", "/v1/models/start"),
    ("POST", f"/v1/models/{CHAT}/stop"),
    ("POST", "/v1/models/pull"),
    ("GET", f"/v1/models/download/{CHAT}"),
    ("GET", f"/v1/models/{CHAT}/logs"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_only_admins_change_models(changing: Gateway, method: str, path: str):
    body = None if method in ("GET", "DELETE") else {"model": CHAT}
    anonymous = await changing.anonymous.request(method, path, json=body)
    assert refusal(anonymous) == (401, "missing_credentials", None)
    reader = {"authorization": f"Bearer {await changing.new_key('read')}"}
    assert (await changing.anonymous.request(method, path, json=body, headers=reader)).status_code == 403
    somebody = await new_user(changing.services)
    other = {"authorization": f"Bearer {await changing.new_key(owner=somebody.id)}"}
    assert (await changing.anonymous.request(method, path, json=body, headers=other)).status_code == 403


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_model_that_is_not_there_is_404(changing: Gateway, method: str):
    response = await changing.client.request(method, "/v1/models/nobody", json={} if method == "PATCH" else None)
    assert refusal(response) == (404, "model_not_found", "model")


async def test_where_models_are_fixed_that_is_said(gateway: Gateway):
    assert refusal(await gateway.client.post("/v1/models", json=SPEC)) == (503, "models_fixed", None)
