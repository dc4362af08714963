"""The models to measure with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from app.settings import ROOT
from deployments.weights import fetch
from tests.support.tiny_model import make_tiny_model

CONTEXT = 2048
QUEUE = 1024


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model as both servers get it.

    Attributes:
        spec: Its ``source`` is a local folder.
        max_tokens: Length of an answer that keeps a round at a few seconds.
    """

    spec: ModelSpec
    max_tokens: int


def tiny(folder: Path, streams: int) -> BenchModel:
    """A random Llama of a megabyte: a real engine so fast that whatever stands before it shows."""
    weights = make_tiny_model(folder / "tiny-llama")
    arguments = {"max_model_len": CONTEXT, "dtype": "float32", "enforce_eager": True}
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    resources = {"num_cpus": 0.5, "env": env}
    return BenchModel(
        _spec(streams, id="tiny-llama", source=str(weights), engine_args=arguments, resources=resources), 256
    )


def smollm2(folder: Path, streams: int) -> BenchModel:
    """The default chat model, as its file has it; its weights are fetched and converted if they are not here yet."""
    (default,) = load_models(str(ROOT / "configs" / "models" / "smollm2-135m-instruct.yaml"))
    assert default.source is not None
    weights = fetch(default.source, ROOT / ".manta" / "weights", _tell)
    fields = default.model_dump(exclude={"source", "limits", "aliases"})
    return BenchModel(_spec(streams, **fields, source=weights), 64)


MODELS: dict[str, Callable[[Path, int], BenchModel]] = {"tiny": tiny, "smollm2": smollm2}
"""By the name that ``--model`` takes: makes the model in a folder, for so many streams at once."""


def _spec(streams: int, **fields: Any) -> ModelSpec:
    limits = {"max_ongoing_requests": max(64, streams), "max_queued_requests": QUEUE}
    return ModelSpec.model_validate({**fields, "limits": limits})


def _tell(phase: str, share: float | None, detail: str | None) -> None:
    if sys.stdout.isatty():
        print(f"\r{phase} {share or 0:4.0%} {detail or ''}\x1b[K", end="\n" if share == 1 else "", flush=True)
