"""A real vLLM engine with a tiny random model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.domain.model_spec import ModelSpec

CONTEXT = 2048
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
