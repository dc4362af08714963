"""Nothing but the allow-list answers, on any engine."""

from __future__ import annotations

import pytest

from app.services.asgi_call import ASGIApp
from deployments.engines.base import ROUTES
from tests.contract.calls import assert_error, post, request

DANGEROUS = (
    "/sleep",
    "/wake_up",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/update_weights",
    "/start_profile",
    "/v1/load_lora_adapter",
    "/server_info",
    "/inference/v1/generate",
    "/invocations",
    "/pause",
    "/shutdown",
)
OTHERS = ("/", "/health", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v1/responses", "/v1/chat/completions/")
TRICKS = ("//sleep", "/v1/chat/completions/../../sleep", "/v1/chat/completions/../../../sleep", "/TOKENIZE")


@pytest.mark.parametrize("path", [*DANGEROUS, *OTHERS, *TRICKS])
async def test_other_routes_do_not_exist(engine_app: ASGIApp, path: str) -> None:
    assert_error(await post(engine_app, path, {}), 404, "not_found_error", "not_found")
    assert_error(await request(engine_app, "GET", path), 404, "not_found_error", "not_found")


@pytest.mark.parametrize("path", sorted(ROUTES))
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_routes_take_post_alone(engine_app: ASGIApp, path: str, method: str) -> None:
    assert_error(await request(engine_app, method, path), 405, "invalid_request_error", "method_not_allowed")
