"""vLLM's reasons, as a person reads them."""

from __future__ import annotations

import pytest

from app.domain.model_spec import ModelSpec
from deployments.engines.vllm_failures import explain, explain_death

SPEC = ModelSpec(id="m", source="hf://a/b")
HEADLINE = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': %s}"
RELAYED = "RuntimeError: Worker failed with error '{}', please check the stack trace above for the root cause"


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("ValueError: No available memory for the cache blocks. Try increasing x.", "KV cache is too small"),
        (RELAYED.format("Unsupported CPU attention configuration: head_dim=16 isa=2"), "attention heads have a size"),
        (RELAYED.format("No common block size for 16 (CPU_ATTN: [MultipleOf(32)])."), "block_size in engine_args"),
        ("MemoryError: ", "not enough memory"),
        ("ImportError: No module named 'cohere'", "Python package is missing"),
        ("RuntimeError: something new", "could not start: something new."),
    ],
)
def test_the_childs_reason_is_told(root: str, words: str) -> None:
    told = explain(SPEC, RuntimeError(HEADLINE % 1), root)
    assert told.startswith("The engine of m could not start: ")
    assert words in told
    assert "stack trace" not in told


def test_a_killed_process_is_told_as_lack_of_memory() -> None:
    assert "killed, most likely for lack of memory" in explain(SPEC, RuntimeError(HEADLINE % -9), None)


def test_flags_are_named_as_the_yaml_has_them() -> None:
    told = explain(SPEC, TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser"), None)
    assert told == "The engine of m could not start: enable_auto_tool_choice requires tool_call_parser."


def test_pydantics_headline_gives_way_to_its_complaint() -> None:
    error = ValueError("1 validation error for ModelConfig\n  dtype\n  Input should be 'auto' [type=literal_error]\n")
    assert explain(SPEC, error, None).endswith("could not start: dtype: Input should be 'auto'.")


def test_a_death_has_a_reason_or_says_so() -> None:
    assert explain_death(SPEC, None) == "The engine of m died: its process ended unexpectedly."
    assert "no space" in explain_death(SPEC, "OSError: no space left")
