"""A real vLLM engine with a tiny random model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from app.domain.model_spec import ModelSpec
from app.services.asgi_call import AsgiCall
from deployments.engines.base import EngineLoad
from deployments.engines.vllm import VllmEngine

CONTEXT = 2048
DEADLINE_S = 10
ARGS = {
    "max_model_len": CONTEXT,
    "dtype": "float32",
    "kv_cache_memory_bytes": 64 * 1024 * 1024,
    "enable_auto_tool_choice": True,
    "tool_call_parser": "hermes",
    "tool_strict_level": "parameter",
    # A random model loves blanks: without this its JSON never ends.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}


def spec(weights: Path, **engine_args: Any) -> ModelSpec:
    """The tiny model, its arguments changed as told."""
    return ModelSpec(id="tiny", source=str(weights), engine_args=ARGS | engine_args)


def call(engine: VllmEngine, path: str, body: dict[str, Any]) -> AsgiCall:
    """A request that is not sent yet."""
    headers = [(b"x-request-id", b"r1"), (b"x-manta-model", b"alias")]
    return AsgiCall(engine.app(), path, json.dumps({"model": "tiny"} | body).encode(), headers)


async def running(engine: VllmEngine, number: int) -> EngineLoad:
    """The load once so many sequences run."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            load = await engine.load()
            if load.running == number:
                return load
            await asyncio.sleep(0.01)
