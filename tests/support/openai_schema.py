"""Checks answers against OpenAI's own published document.

The document lies beside the project (``../shared/data/openai-openapi.json``) and is no part of it: where it is absent,
``needs_openai_schema`` skips the test by name.

    @needs_openai_schema
    def test_chat():
        validate("CreateChatCompletionResponse", body)
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

DOCUMENT = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai-openapi.json"
MAX_SHOWN = 2000

needs_openai_schema = pytest.mark.skipif(
    not DOCUMENT.exists(), reason="OpenAI's document (../shared/data/openai-openapi.json) is not here"
)


def validate(schema_name: str, instance: Any) -> None:
    """Fail unless ``instance`` (parsed JSON) is a valid ``components.schemas[schema_name]``.

    The failure names the deepest place that does not fit, and shows the instance. Skips where there is no document.
    """
    if not DOCUMENT.exists():
        pytest.skip("OpenAI's document (../shared/data/openai-openapi.json) is not here")
    error = best_match(_validator(schema_name).iter_errors(instance))
    if error is not None:
        shown = json.dumps(instance, indent=1, ensure_ascii=False)[:MAX_SHOWN]
        pytest.fail(f"not a valid {schema_name} at {error.json_path}: {error.message[:500]}\n{shown}", pytrace=False)


def validate_stream(schema_name: str, stream: bytes | str) -> list[dict[str, Any]]:
    """Fail unless every event of a whole server-sent stream is valid and ``[DONE]`` is the last one.

    Returns:
        The parsed chunks.
    """
    events = data_events(stream)
    assert events, "the stream is empty"
    assert events[-1] == "[DONE]", f"the stream ends with {events[-1][:MAX_SHOWN]!r}, not with [DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    for chunk in chunks:
        validate(schema_name, chunk)
    return chunks


def data_events(stream: bytes | str) -> list[str]:
    """The ``data:`` payloads of a whole server-sent stream; comments are left out."""
    text = stream.decode() if isinstance(stream, bytes) else stream
    assert not text or text.endswith("\n\n"), f"the stream stops in the middle of an event: {text[-200:]!r}"
    lines = [line for block in text.split("\n\n") for line in block.splitlines()]
    return [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]


@lru_cache
def _validator(schema_name: str) -> Draft202012Validator:
    components = _components()
    assert schema_name in components["schemas"], f"OpenAI's document has no schema {schema_name}"
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema_name}", "components": components})


@lru_cache
def _components() -> dict[str, Any]:
    return _modern(json.loads(DOCUMENT.read_text(encoding="utf-8"))["components"])


def _modern(node: Any) -> Any:
    """The document says 3.1 but keeps 3.0's ``nullable`` and boolean ``exclusive*`` in places."""
    if isinstance(node, list):
        return [_modern(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: value if key in ("example", "examples", "default") else _modern(value) for key, value in node.items()}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(exclusive), bool) and node.pop(exclusive) and bound in node:
            node[exclusive] = node.pop(bound)
    if node.get("nullable") is True:
        return {"anyOf": [{key: value for key, value in node.items() if key != "nullable"}, {"type": "null"}]}
    return node
