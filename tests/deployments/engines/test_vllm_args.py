"""What a spec may say to vLLM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from app.domain.model_spec import ModelSpec
from deployments.engines import vllm_args, vllm_environment
from deployments.engines.base import EngineDead

ENGINE = ("model", "max_model_len", "enforce_eager", "kv_cache_memory_bytes", "dtype")
FRONTEND = ("tool_call_parser", "trust_request_chat_template", "host")


def spec(**engine_args: Any) -> ModelSpec:
    return ModelSpec(id="m", source="hf://a/b", engine_args=engine_args)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})


def test_arguments_go_where_they_belong() -> None:
    engine, frontend = vllm_args.split(spec(max_model_len=8, tool_call_parser="hermes"), ENGINE, FRONTEND)
    assert engine == {"max_model_len": 8}
    assert frontend == {"tool_call_parser": "hermes"}


def test_an_unknown_argument_is_refused_with_what_was_meant() -> None:
    with pytest.raises(EngineDead, match=r"no argument max-model-length\. Did you mean max_model_len"):
        vllm_args.split(spec(**{"max-model-length": 8}), ENGINE, FRONTEND)


@pytest.mark.parametrize("name", ["model", "trust_request_chat_template", "host"])
def test_what_safety_needs_cannot_be_set(name: str) -> None:
    with pytest.raises(EngineDead, match=f"{name} cannot be set here, because"):
        vllm_args.split(spec(**{name: "x"}), ENGINE, FRONTEND)


def test_a_wrong_value_is_named_before_anything_loads() -> None:
    hints = {"max_model_len": int | None, "dtype": Literal["auto", "float32"]}
    vllm_args.check_values(spec(max_model_len=8, dtype="auto", other=object), hints)
    vllm_args.check_values(spec(max_model_len=None), hints)
    with pytest.raises(EngineDead, match="max_model_len is 'many'"):
        vllm_args.check_values(spec(max_model_len="many"), hints)
    with pytest.raises(EngineDead, match=r"dtype is 'float12'\. Input should be 'auto' or 'float32'"):
        vllm_args.check_values(spec(dtype="float12"), hints)


@dataclass
class _Config:
    level: int = 0


def test_mappings_become_configuration_objects_where_vllm_wants_them() -> None:
    hints = {"a": _Config, "b": _Config | None, "c": dict[str, Any] | None, "d": _Config | dict[str, Any]}
    given = {"level": 1}
    built = vllm_args.with_configs(dict.fromkeys("abcde", given), hints)
    assert built == {"a": _Config(1), "b": _Config(1), "c": given, "d": given, "e": given}


def test_on_a_cpu_the_cache_has_a_size_and_nothing_compiles() -> None:
    engine, _ = vllm_args.with_defaults({}, {}, cpu=True)
    assert engine["enforce_eager"] is True
    assert engine["kv_cache_memory_bytes"] == vllm_args.CPU_KV_CACHE_BYTES


@pytest.mark.parametrize("given", ["kv_cache_memory_bytes", "gpu_memory_utilization"])
def test_a_size_that_was_given_stays(given: str) -> None:
    engine, _ = vllm_args.with_defaults({given: 7, "enforce_eager": False}, {}, cpu=True)
    assert engine[given] == 7
    assert engine["enforce_eager"] is False
    assert len(engine.keys() & {"kv_cache_memory_bytes", "gpu_memory_utilization"}) == 1


def test_a_size_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    engine, _ = vllm_args.with_defaults({}, {}, cpu=True)
    assert "kv_cache_memory_bytes" not in engine


def test_a_gpu_gets_vllms_own_defaults() -> None:
    engine, _ = vllm_args.with_defaults({}, {}, cpu=False)
    assert engine.keys().isdisjoint({"enforce_eager", "kv_cache_memory_bytes"})


def test_the_environment_turns_off_what_is_dangerous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-1")
    vllm_environment.prepare_environment("org/name")
    assert os.environ["VLLM_SERVER_DEV_MODE"] == "0"
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"
    assert "HF_HUB_OFFLINE" not in os.environ


def test_local_weights_need_no_hub(tmp_path: Path) -> None:
    vllm_environment.prepare_environment(str(tmp_path))
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_what_may_be_under_way_in_vllm_is_bounded_far_above_what_should_ever_come():
    engine = vllm_args.with_wall(spec(max_num_seqs=4), {})
    assert engine == {"max_num_queued_reqs": 64}
    assert vllm_args.with_wall(spec(), {"max_num_queued_reqs": 7}) == {"max_num_queued_reqs": 7}
