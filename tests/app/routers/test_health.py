from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.model_state import ModelState
from app.services.catalog import CatalogEntry
from tests.support.gateway import Gateway, GatewayFactory, running_gateway, scripted
from tests.support.mongo import MongoServer


@pytest.mark.parametrize("path", ["/health", "/healthz", "/healthcheck", "/v1/health", "/api/v1/health"])
async def test_health_says_ok_and_the_time(gateway: Gateway, path: str):
    body = (await gateway.anonymous.get(path)).json()
    assert set(body) == {"status", "timestamp"}
    assert body["status"] == "ok"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(body["timestamp"])) < timedelta(minutes=1)
    assert body["timestamp"].endswith("Z")


async def test_whoever_has_database_and_models_is_ready(gateway: Gateway):
    response = await gateway.anonymous.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


async def test_without_models_nobody_is_ready(new_gateway: GatewayFactory):
    async with new_gateway([]) as gateway:
        response = await gateway.anonymous.get("/readyz")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "catalog_loading")
        assert (await gateway.anonymous.get("/v1/status")).json()["inference_model"] == "not_configured"


@pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1"])
async def test_the_status_has_its_four_parts_and_each_model(gateway: Gateway, prefix: str):
    body = (await gateway.anonymous.get(f"{prefix}/status")).json()
    models = body.pop("models")
    assert body == {
        "api_gateway": "healthy",
        "inference_model": "degraded",
        "database": "healthy",
        "external_apis": {"serper": "not_configured"},
    }
    assert len(models) == 4


@pytest.mark.parametrize(
    ("states", "condition"),
    [
        (["ready"], "healthy"),
        (["ready", "cold"], "healthy"),
        (["ready", "starting"], "degraded"),
        (["ready", "failed"], "degraded"),
        (["failed", "failed"], "unhealthy"),
        (["failed", "disabled"], "unhealthy"),
        (["disabled"], "not_configured"),
    ],
)
async def test_the_models_condition_is_that_of_what_can_answer(
    new_gateway: GatewayFactory, states: list[Any], condition: str
):
    entries = [CatalogEntry(scripted(f"m{n}"), ModelState(state)) for n, state in enumerate(states)]
    async with new_gateway(entries) as gateway:
        assert (await gateway.anonymous.get("/v1/status")).json()["inference_model"] == condition


async def test_without_its_database_a_gateway_is_healthy_but_not_ready(
    own_mongodb: MongoServer, database_name: str, tmp_path: Path
):
    async with running_gateway(tmp_path, own_mongodb.uri, database_name, mongodb_timeout_s=1) as gateway:
        await asyncio.to_thread(own_mongodb.stop)
        assert (await gateway.anonymous.get("/health")).status_code == 200
        response = await gateway.anonymous.get("/readyz")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
        assert response.headers["retry-after"].isdigit()
        response = await gateway.anonymous.get("/v1/status")
        assert (response.status_code, response.json()["database"]) == (200, "unhealthy")


@pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1"])
async def test_the_version_says_what_runs(gateway: Gateway, prefix: str):
    body = (await gateway.anonymous.get(f"{prefix}/version")).json()
    assert set(body) == {"version", "ray", "vllm"}
    assert body["ray"].startswith("2.")
