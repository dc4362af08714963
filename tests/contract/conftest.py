"""Both engines, each started once, for one suite.

The answers of a random model mean nothing, so the suite asks for forms: shapes, orders, names, counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app.domain.model_spec import ModelSpec
from app.domain.model_state import StartPhase
from app.services.asgi_call import ASGIApp
from deployments.engines.base import Engine
from deployments.engines.scripted import ScriptedEngine

CONTEXT = 1024
SCRIPTED_ARGS = {"max_model_len": CONTEXT, "ttft_s": 0.02, "tokens_per_s": 500}
VLLM_ARGS = {
    "max_model_len": CONTEXT,
    "dtype": "float32",
    "kv_cache_memory_bytes": 128 * 1024 * 1024,
    "enable_auto_tool_choice": True,
    "tool_call_parser": "hermes",
    "tool_strict_level": "parameter",
}


@dataclass(frozen=True)
class Started:
    """A running engine, and what it told while it started."""

    name: str
    engine: Engine
    reports: list[tuple[StartPhase, float | None, str | None]]


# What vLLM, torch and their like warn of is theirs to mend, and must not become an exception in the middle of them.
VLLM_MARKS = (pytest.mark.live, pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="package", params=["scripted", pytest.param("vllm", marks=VLLM_MARKS)])
async def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Started]:
    """Each engine in turn."""
    if request.param == "scripted":
        engine: Engine = ScriptedEngine(ModelSpec(id="contract", engine="scripted", engine_args=SCRIPTED_ARGS))
    else:
        engine = _vllm(tmp_path_factory.mktemp("weights"))
    reports: list[Any] = []
    try:
        await engine.start(lambda *report: reports.append(report))
        yield Started(request.param, engine, reports)
    finally:
        await engine.stop()


@pytest.fixture
def engine(started: Started) -> Engine:
    """The engine itself."""
    return started.engine


@pytest.fixture
def engine_app(started: Started) -> ASGIApp:
    """The engine's application."""
    return started.engine.app()


def _vllm(folder: Path) -> Engine:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    from deployments.engines.vllm import VllmEngine
    from tests.support.tiny_model import make_tiny_model

    weights = make_tiny_model(folder)
    return VllmEngine(ModelSpec(id="contract", source=str(weights), engine_args=VLLM_ARGS), str(weights))
