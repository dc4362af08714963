"""Whatever the official SDK can send about assistants, threads and runs is known here, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from openai.types.beta import (
    assistant_create_params,
    assistant_update_params,
    thread_create_and_run_params,
    thread_create_params,
    thread_update_params,
)
from openai.types.beta.threads import (
    message_create_params,
    message_update_params,
    run_create_params,
    run_submit_tool_outputs_params,
    run_update_params,
)

from app.errors import ApiError, UnsupportedParameter
from app.schemas import assistants, runs, threads
from app.schemas.body import parse
from app.schemas.common import Strict
from tests.app.schemas.test_bad_bodies import EXAMPLES, JSON, attempt
from tests.support.sdk import WEATHER

IN_PATHS = {"thread_id", "run_id"}
IN_QUERIES = {"include"}
"""Fields of the SDK's that are no part of a body."""

BODIES: list[tuple[Any, type[Strict]]] = [
    (assistant_create_params.AssistantCreateParams, assistants.CreateAssistantRequest),
    (assistant_update_params.AssistantUpdateParams, assistants.ChangeAssistantRequest),
    (thread_create_params.ThreadCreateParams, threads.CreateThreadRequest),
    (thread_update_params.ThreadUpdateParams, threads.ChangeThreadRequest),
    (message_create_params.MessageCreateParams, threads.CreateMessageRequest),
    (message_update_params.MessageUpdateParams, threads.ChangeMessageRequest),
    (run_create_params.RunCreateParamsStreaming, runs.CreateRunRequest),
    (thread_create_and_run_params.ThreadCreateAndRunParamsStreaming, runs.CreateThreadAndRunRequest),
    (run_update_params.RunUpdateParams, runs.ChangeRunRequest),
    (run_submit_tool_outputs_params.RunSubmitToolOutputsParamsStreaming, runs.SubmitToolOutputsRequest),
]
MESSAGE = {"role": "user", "content": [{"type": "text", "text": "Hello"}], "metadata": {"a": "b"}}
WHOLE: list[tuple[type[Strict], dict[str, Any]]] = [
    (
        assistants.CreateAssistantRequest,
        {"model": "m", "tools": [WEATHER], "tool_resources": {"file_search": {"vector_store_ids": []}}, "top_p": 1},
    ),
    (threads.CreateThreadRequest, {"messages": [MESSAGE], "title": "t", "assistants": [{"id": "jan"}]}),
    (
        runs.CreateRunRequest,
        {
            "assistant_id": "asst_1",
            "additional_messages": [MESSAGE],
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            "truncation_strategy": {"type": "last_messages", "last_messages": 3},
            "response_format": {"type": "json_object"},
            "max_prompt_tokens": 256,
        },
    ),
    (runs.SubmitToolOutputsRequest, {"tool_outputs": [{"tool_call_id": "call_1", "output": "x"}], "stream": True}),
]


@pytest.mark.parametrize(("params", "schema"), BODIES)
def test_every_field_of_the_sdk_is_known(params: Any, schema: type[Strict]) -> None:
    names = {name for base in params.__mro__ for name in getattr(base, "__annotations__", {})}
    assert names
    assert names - IN_PATHS - IN_QUERIES <= schema.known


@pytest.mark.parametrize(("schema", "body"), WHOLE)
def test_null_is_as_good_as_nothing_where_the_sdk_may_send_it(schema: type[Strict], body: dict[str, Any]) -> None:
    needed = {name for name, field in schema.model_fields.items() if field.is_required()}
    nothing = dict.fromkeys(schema.known - needed - {"model"})
    parse(schema, nothing | {name: body[name] for name in needed})


@pytest.mark.parametrize(("schema", "body"), WHOLE)
@settings(EXAMPLES, max_examples=50)
@given(value=JSON)
def test_whatever_stands_in_a_field_passes_or_is_refused_by_name(
    schema: type[Strict], body: dict[str, Any], value: Any
) -> None:
    parse(schema, body)
    for name in body:
        refused = attempt(lambda name=name: parse(schema, {**copy.deepcopy(body), name: value}))
        assert not isinstance(refused, ApiError) or (refused.param or "").startswith(name)
    for nested in ({"zz": value}, {"$set": value}):
        with pytest.raises(UnsupportedParameter):
            parse(schema, {**body, **nested})


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter", "retrieval", "web_search"])
def test_tools_that_are_no_functions_are_refused_by_name(kind: str) -> None:
    tools = {"tools": [WEATHER, {"type": kind}]}
    for schema, body in ((assistants.CreateAssistantRequest, tools), (runs.RunFields, {"assistant_id": "a", **tools})):
        with pytest.raises(UnsupportedParameter) as refused:
            parse(schema, body)
        assert refused.value.param == "tools[1].type"
