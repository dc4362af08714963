"""A running vLLM engine for all files that ask for one: the last of them kills it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.engines.vllm import VllmEngine
from tests.deployments.engines.vllm_support import spec
from tests.support.tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="package")
async def engine(weights: Path) -> AsyncIterator[VllmEngine]:
    """The engine, started."""
    engine = VllmEngine(spec(weights), str(weights))
    try:
        await engine.start(lambda *_: None)
        yield engine
    finally:
        await engine.stop()
