"""OpenAI's Python SDK against the whole service: assistants, threads, runs, on the real model and the scripted one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.support.live import CHAT, SCRIPTED
from tests.support.openai_schema import validate
from tests.support.sdk import WEATHER
from tests.support.threads import said

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")]

CAPITAL: Any = [{"role": "user", "content": "What is the capital of France?"}]
SOON_MS: Any = {"poll_interval_ms": 100}
BOTH = pytest.mark.parametrize("model", [CHAT, SCRIPTED])


@contextmanager
def assistant(client: openai.OpenAI, model: str, **fields: Any) -> Iterator[str]:
    """The id of an assistant, which is deleted afterwards."""
    id_ = client.beta.assistants.create(model=model, temperature=0.01, **fields).id
    try:
        yield id_
    finally:
        assert client.beta.assistants.delete(id_).deleted


@BOTH
def test_a_run_answers_in_its_thread(client: openai.OpenAI, model: str) -> None:
    thread = client.beta.threads.create(messages=CAPITAL)
    with assistant(client, model, instructions="Answer in one sentence.") as id_:
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=id_, max_completion_tokens=256, **SOON_MS
        )
    assert run.status == "completed"
    validate("RunObject", run.to_dict())
    answer, question = client.beta.threads.messages.list(thread.id).data
    assert (said(question), answer.run_id) == (CAPITAL[0]["content"], run.id)
    if model == CHAT:
        assert "Paris" in said(answer)
    (step,) = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert step.usage is not None
    assert run.usage is not None
    assert step.usage.to_dict() == run.usage.to_dict()
    assert client.beta.threads.delete(thread.id).deleted


@BOTH
def test_a_run_is_told_as_it_happens(client: openai.OpenAI, model: str) -> None:
    with (
        assistant(client, model) as id_,
        client.beta.threads.create_and_run_stream(
            assistant_id=id_, thread={"messages": CAPITAL}, max_completion_tokens=256
        ) as stream,
    ):
        told = [event.event for event in stream]
        run = stream.get_final_run()
        (message,) = stream.get_final_messages()
    assert run.status == "completed"
    assert told[:4] == ["thread.created", "thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert told[-3:] == ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]
    assert told.count("thread.message.delta") > 3
    kept = client.beta.threads.messages.retrieve(message.id, thread_id=run.thread_id)
    assert kept.to_dict() == message.to_dict()


@BOTH
def test_a_tool_is_called_and_its_output_taken_up(client: openai.OpenAI, model: str) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "What is the weather in Paris?"}])
    runs = client.beta.threads.runs
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    with assistant(client, model, tools=[WEATHER]) as id_:
        waits = runs.create_and_poll(
            thread_id=thread.id, assistant_id=id_, tool_choice=choice, max_completion_tokens=256, **SOON_MS
        )
        assert waits.status == "requires_action"
        assert waits.required_action is not None
        (call,) = waits.required_action.submit_tool_outputs.tool_calls
        assert isinstance(json.loads(call.function.arguments)["city"], str)
        outputs: Any = [{"tool_call_id": call.id, "output": "22 degrees"}]
        with runs.submit_tool_outputs_stream(thread_id=thread.id, run_id=waits.id, tool_outputs=outputs) as stream:
            run = stream.get_final_run()
    # What a small model makes of an output is its own affair: it may call once more.
    assert run.status in ("completed", "incomplete", "requires_action")
    assert len(runs.steps.list(run.id, thread_id=thread.id).data) == 2
