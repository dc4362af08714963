"""A spec's ``engine_args`` as vLLM's two sets of arguments.

vLLM itself is not imported here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from app.domain.model_spec import ModelSpec
from deployments.engines.base import EngineDead

Args = dict[str, Any]

CPU_KV_CACHE_BYTES = 1 << 30
"""KV cache of one CPU replica when its spec says nothing: vLLM would take nearly all of the machine's memory."""

WALL = 16
"""Sequences that vLLM takes for each request that its replica does."""

REFUSED: Mapping[str, str] = {
    "model": "it is the spec's source",
    "served_model_name": "it is the spec's id",
    "trust_request_chat_template": "a template from a request could run code",
    "trust_request_mm_kwargs": "requests could change how inputs are read",
    "enable_log_requests": "requests are private",
    "enable_log_outputs": "answers are private",
    "enable_scale_out": "only the routes of the API are served",
    "enable_tokenizer_info_endpoint": "only the routes of the API are served",
    "tokens_only": "only the routes of the API are served",
    "tool_server": "tools run at the caller's",
    "middleware": "the gateway does this",
    "api_key": "the gateway does this",
    "enable_request_id_headers": "the gateway does this",
    "sse_keep_alive_interval": "the gateway does this",
    "host": "an engine opens no port",
    "port": "an engine opens no port",
    "grpc_port": "an engine opens no port",
    "uds": "an engine opens no port",
    "root_path": "an engine opens no port",
}
"""Arguments that a spec may not set, and why."""


def split(spec: ModelSpec, engine_names: Collection[str], frontend_names: Collection[str]) -> tuple[Args, Args]:
    """The spec's arguments for vLLM's engine and for its API server.

    Args:
        spec: The model.
        engine_names: Fields of vLLM's ``AsyncEngineArgs``.
        frontend_names: Fields of vLLM's ``FrontendArgs``.

    Raises:
        EngineDead: An argument is unknown, or not for a spec to set.
    """
    for name in spec.engine_args:
        if why := REFUSED.get(name):
            raise EngineDead(f"engine_args of {spec.id}: {name} cannot be set here, because {why}.")
        if name not in engine_names and name not in frontend_names:
            raise EngineDead(f"engine_args of {spec.id}: {_unknown(name, {*engine_names, *frontend_names})}")
    engine = {name: value for name, value in spec.engine_args.items() if name in engine_names}
    frontend = {name: value for name, value in spec.engine_args.items() if name not in engine_names}
    return engine, frontend


def with_defaults(engine: Args, frontend: Args, *, cpu: bool) -> tuple[Args, Args]:
    """The arguments with Manta's own defaults under them.

    On a CPU: no compilation, and a KV cache of a stated size; together they also make the start short.
    """
    engine = {"disable_log_stats": True} | engine
    frontend = {"enable_prompt_tokens_details": True, "disable_fastapi_docs": True} | frontend
    if cpu:
        sized = engine.keys() & {"kv_cache_memory_bytes", "gpu_memory_utilization"}
        if not sized and not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            engine["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
        engine = {"enforce_eager": True} | engine
    return engine, frontend


def with_wall(spec: ModelSpec, engine: Args) -> Args:
    """The arguments with a bound on what may be under way in vLLM, under the spec's own.

    What waits is to wait at the gateways, which put it in order; this is for what should never come: vLLM counts
    sequences, of which a request may have eight, and gateways that do not know of each other's trust may send twice of
    what a replica takes.
    """
    return {"max_num_queued_reqs": WALL * spec.limits.max_ongoing_requests} | engine


def check_values(spec: ModelSpec, hints: Mapping[str, Any]) -> None:
    """Look at the plain values of ``engine_args``: vLLM itself finds a wrong type late, in words that do not name it.

    Args:
        spec: The model.
        hints: The types of vLLM's arguments.

    Raises:
        EngineDead: A value has the wrong type.
    """
    for name, value in spec.engine_args.items():
        hint = hints.get(name)
        if value is not None and hint is not None and _is_plain(hint):
            try:
                TypeAdapter(hint).validate_python(value)
            except ValidationError as error:
                complaint = error.errors()[-1]["msg"]
                raise EngineDead(f"engine_args of {spec.id}: {name} is {value!r}. {complaint}.") from None


def with_configs(args: Args, hints: Mapping[str, Any]) -> Args:
    """The arguments with mappings made into vLLM's configuration objects, where it takes nothing else."""
    return {
        name: kind(**value) if isinstance(value, dict) and (kind := _config_type(hints.get(name))) else value
        for name, value in args.items()
    }


def _config_type(hint: Any) -> type[Any] | None:
    parts = get_args(hint) or (hint,)
    if any(part is dict or get_origin(part) is dict for part in parts):
        return None
    return next((part for part in parts if isinstance(part, type) and is_dataclass(part)), None)


def _is_plain(hint: Any) -> bool:
    if hint in (int, float, bool, str, type(None)) or get_origin(hint) is Literal:
        return True
    return isinstance(hint, UnionType) and all(_is_plain(part) for part in get_args(hint))


def _unknown(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.replace("-", "_"), sorted(known), n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"vLLM has no argument {name}.{hint}"
