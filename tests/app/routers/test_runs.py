"""Runs over the real gateway: how they are told, how they end, and what is left of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai import AsyncAssistantEventHandler

from app.domain.ids import with_prefix
from tests.support.gateway import CHAT, Gateway, new_key, new_user, running_gateway
from tests.support.mongo import MongoServer
from tests.support.openai_schema import validate
from tests.support.sdk import WEATHER, sdk_of
from tests.support.threads import ENTRIES, FAIL, REFUSE, STALL, events_of, names_of, said, whole
from tests.test_error_shape import assert_error

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

BEGUN = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
SAYS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.message.created"]
SAYS += ["thread.message.in_progress", "thread.message.delta"]
CALLS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]
NAMED = {"type": "function", "function": {"name": "another"}}
SOON_MS: Any = {"poll_interval_ms": 20}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway whose engines stall and fail when they are told to."""
    async with running_gateway(tmp_path_factory.mktemp("state"), mongodb.uri, "runs", ENTRIES) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(stage: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_of(stage) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def assistant(client: openai.AsyncOpenAI) -> str:
    return (await client.beta.assistants.create(model=CHAT, instructions="Be brief.")).id


async def new_thread(client: openai.AsyncOpenAI, text: str = "Hello") -> str:
    return (await client.beta.threads.create(messages=[{"role": "user", "content": text}])).id


async def run(stage: Gateway, thread: str, assistant: str, **fields: Any) -> httpx.Response:
    return await stage.client.post(f"/v1/threads/{thread}/runs", json={"assistant_id": assistant, **fields})


async def ended(stage: Gateway, thread: str, assistant: str, **fields: Any) -> dict[str, Any]:
    """A run that is over, or waits."""
    return await until_rest(stage, whole("RunObject", await run(stage, thread, assistant, **fields)))


async def until_rest(stage: Gateway, found: dict[str, Any]) -> dict[str, Any]:
    path = f"/v1/threads/{found['thread_id']}/runs/{found['id']}"
    while found["status"] in ("queued", "in_progress", "cancelling"):
        await asyncio.sleep(0.01)
        found = whole("RunObject", await stage.client.get(path))
    return found


async def messages_of(stage: Gateway, thread: str, **query: Any) -> list[dict[str, Any]]:
    answer = await stage.client.get(f"/v1/threads/{thread}/messages", params={"order": "asc", **query})
    return whole("ListMessagesResponse", answer)["data"]


async def steps_of(stage: Gateway, run: dict[str, Any]) -> list[dict[str, Any]]:
    path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}/steps"
    return whole("ListRunStepsResponse", await stage.client.get(path, params={"order": "asc"}))["data"]


async def streaming(stage: Gateway, path: str, body: dict[str, Any], reads: asyncio.Event) -> bytes:
    """All of a stream; the event is set once something was said."""
    told = b""
    async with stage.client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for chunk in answer.aiter_bytes():
            told += chunk
            if b"thread.message.delta" in told:
                reads.set()
    return told


# answers


async def test_a_run_answers_and_is_shown(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    runs = client.beta.threads.runs
    done = await runs.create_and_poll(
        thread_id=thread, assistant_id=assistant, metadata={"a": "b"}, additional_instructions="Rhyme.", **SOON_MS
    )
    assert (done.status, done.model, done.instructions) == ("completed", CHAT, "Be brief.\n\nRhyme.")
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    question, answer = await messages_of(stage, thread)
    assert (question["role"], answer["role"], answer["run_id"]) == ("user", "assistant", done.id)
    assert answer["assistant_id"] == assistant
    assert said(answer)
    assert [each["id"] for each in await messages_of(stage, thread, run_id=done.id)] == [answer["id"]]
    (step,) = await steps_of(stage, done.to_dict())
    assert step["step_details"]["message_creation"]["message_id"] == answer["id"]
    assert step["usage"] == done.usage.to_dict()
    shown = await runs.steps.retrieve(step["id"], thread_id=thread, run_id=done.id)
    assert shown.to_dict() == step
    conversation = await stage.client.get(f"/v1/conversations/{thread.replace('thread_', 'conv_')}")
    assert conversation.json()["model"] == CHAT
    changed = await runs.update(done.id, thread_id=thread, metadata={"a": "c"})
    assert changed.to_dict() == done.to_dict() | {"metadata": {"a": "c"}}
    validate("RunObject", changed.to_dict())


async def test_a_run_reads_what_was_said_before_it(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client, "First")
    await ended(stage, thread, assistant)
    more = [{"role": "assistant", "content": "Go on"}, {"role": "user", "content": "Second"}]
    await ended(stage, thread, assistant, additional_messages=more, instructions="Be long.")
    first, answer, *added, _ = [said(each) for each in await messages_of(stage, thread)]
    assert added == ["Go on", "Second"]
    asked = json.loads(stage.backend.requests[-1].body)["messages"]
    assert [(each["role"], each["content"]) for each in asked] == [
        ("system", "Be long."),
        ("user", first),
        ("assistant", answer),
        ("assistant", "Go on"),
        ("user", "Second"),
    ]


async def test_a_run_is_told_as_it_happens(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    answer = await run(stage, thread, assistant, stream=True)
    events = events_of(answer.content)
    assert names_of(events) == [
        *BEGUN,
        *SAYS,
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]
    told = dict(events)
    pieces = [piece["delta"]["content"][0]["text"]["value"] for name, piece in events if name == "thread.message.delta"]
    _, message = await messages_of(stage, thread)
    assert told["thread.message.completed"] == message
    assert "".join(pieces) == said(message)
    assert (
        told["thread.run.completed"]
        == (await stage.client.get(f"/v1/threads/{thread}/runs/{message['run_id']}")).json()
    )
    assert [told["thread.run.step.completed"]] == await steps_of(stage, told["thread.run.completed"])


class Listener(AsyncAssistantEventHandler):
    """What the SDK makes of a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def on_text_done(self, text: Any) -> None:
        self.heard.append(text.value)

    async def on_tool_call_done(self, tool_call: Any) -> None:
        self.heard.append(f"{tool_call.function.name} {tool_call.function.arguments}")


async def test_the_sdk_hears_a_thread_and_a_run_that_are_made_at_once(client: openai.AsyncOpenAI, assistant: str):
    listener = Listener()
    async with client.beta.threads.create_and_run_stream(
        assistant_id=assistant, thread={"messages": [{"role": "user", "content": "Hello"}]}, event_handler=listener
    ) as stream:
        await stream.until_done()
        final = await stream.get_final_run()
        (message,) = await stream.get_final_messages()
    assert (final.status, listener.heard) == ("completed", [said(message)])
    assert len(listener.heard[0].split()) > 3


async def test_a_thread_and_a_run_are_made_at_once(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    done = await client.beta.threads.create_and_run_poll(
        assistant_id=assistant, thread={"messages": [{"role": "user", "content": "Hello"}]}, **SOON_MS
    )
    assert done.status == "completed"
    assert len(await messages_of(stage, done.thread_id)) == 2
    told = await stage.client.post("/v1/threads/runs", json={"assistant_id": assistant, "stream": True})
    assert names_of(events_of(told.content))[0] == "thread.created"


async def test_a_refusal_is_told_as_one(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client, REFUSE)
    events = events_of((await run(stage, thread, assistant, stream=True)).content)
    _, message = await messages_of(stage, thread)
    assert [part["type"] for part in message["content"]] == ["refusal"]
    assert dict(events)["thread.message.completed"] == message


async def test_runs_are_listed_in_both_directions(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    ids = [(await ended(stage, thread, assistant))["id"] for _ in range(4)]
    runs = client.beta.threads.runs
    assert [each.id async for each in runs.list(thread, limit=3)] == ids[::-1]
    assert [each.id for each in (await runs.list(thread, order="asc", after=ids[0], limit=2)).data] == ids[1:3]
    before = await stage.client.get(f"/v1/threads/{thread}/runs?order=asc&limit=2&before={ids[3]}")
    assert [each["id"] for each in whole("ListRunsResponse", before)["data"]] == ids[1:3]


# tools


async def test_a_run_asks_for_its_tools_and_goes_on(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread, runs = await new_thread(client), client.beta.threads.runs
    tools: Any = {"tools": [WEATHER], "tool_choice": "required"}
    waits = await runs.create_and_poll(thread_id=thread, assistant_id=assistant, **tools, **SOON_MS)
    assert waits.status == "requires_action"
    assert waits.required_action is not None
    validate("RunObject", waits.to_dict())
    (call,) = waits.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, set(json.loads(call.function.arguments))) == ("get_weather", {"city"})
    (step,) = await steps_of(stage, waits.to_dict())
    assert (step["status"], step["step_details"]["tool_calls"][0]["function"]["output"]) == ("in_progress", None)
    done = await runs.submit_tool_outputs_and_poll(
        thread_id=thread, run_id=waits.id, tool_outputs=[{"tool_call_id": call.id, "output": "22 degrees"}], **SOON_MS
    )
    assert done.status == "completed"
    called, spoke = await steps_of(stage, done.to_dict())
    assert called["step_details"]["tool_calls"][0]["function"]["output"] == "22 degrees"
    assert done.usage is not None
    assert done.usage.total_tokens == called["usage"]["total_tokens"] + spoke["usage"]["total_tokens"]
    # The model read its call and the output; they are in the conversation, and are no messages of the thread.
    asked = json.loads(stage.backend.requests[-1].body)["messages"]
    assert [each["role"] for each in asked] == ["system", "user", "assistant", "tool"]
    assert asked[-1] == {"role": "tool", "tool_call_id": call.id, "content": "22 degrees"}
    assert [each["role"] for each in await messages_of(stage, thread)] == ["user", "assistant"]
    items = await stage.client.get(f"/v1/conversations/{with_prefix(thread, 'conv')}/items?order=asc")
    kinds = [each["type"] for each in whole("ConversationItemList", items)["data"]]
    assert kinds == ["message", "function_call", "function_call_output", "message"]


async def test_tools_are_told_as_they_are_called(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    told = await run(stage, thread, assistant, tools=[WEATHER], tool_choice="required", stream=True)
    events = events_of(told.content)
    assert names_of(events) == [*BEGUN, *CALLS, "thread.run.requires_action", "done"]
    waits = dict(events)["thread.run.requires_action"]
    (call,) = waits["required_action"]["submit_tool_outputs"]["tool_calls"]
    path = f"/v1/threads/{thread}/runs/{waits['id']}/submit_tool_outputs"
    outputs = [{"tool_call_id": call["id"], "output": ""}]
    more = events_of((await stage.client.post(path, json={"tool_outputs": outputs, "stream": True})).content)
    assert names_of(more) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        *SAYS,
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]


async def test_the_sdk_hears_of_calls_and_submits_in_a_stream(client: openai.AsyncOpenAI, assistant: str):
    thread, runs, listener = await new_thread(client), client.beta.threads.runs, Listener()
    tools: Any = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
    async with runs.stream(thread_id=thread, assistant_id=assistant, event_handler=listener, **tools) as stream:
        waits = await stream.get_final_run()
    assert waits.required_action is not None
    (call,) = waits.required_action.submit_tool_outputs.tool_calls
    assert listener.heard[0] == f"get_weather {call.function.arguments}"
    async with runs.submit_tool_outputs_stream(
        thread_id=thread, run_id=waits.id, tool_outputs=[{"tool_call_id": call.id, "output": "22"}]
    ) as stream:
        assert (await stream.get_final_run()).status == "completed"


async def test_outputs_that_do_not_fit_are_refused(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    waits = await ended(stage, thread, assistant, tools=[WEATHER], tool_choice="required")
    id_ = waits["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    path = f"/v1/threads/{thread}/runs/{waits['id']}/submit_tool_outputs"
    for outputs, param in (
        ([], "tool_outputs"),
        ([{"tool_call_id": "call_x", "output": "1"}], "tool_outputs[0].tool_call_id"),
        ([{"tool_call_id": id_}, {"tool_call_id": id_}], "tool_outputs[1].tool_call_id"),
        ([{"output": "1"}], "tool_outputs[0].tool_call_id"),
    ):
        assert_error(await stage.client.post(path, json={"tool_outputs": outputs}), 400, param=param)
    # Nothing came of it: the run still waits, and takes what fits, once.
    fits = {"tool_outputs": [{"tool_call_id": id_, "output": "1"}]}
    answers = await asyncio.gather(*(stage.client.post(path, json=fits) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert (await until_rest(stage, waits | {"status": "queued"}))["status"] == "completed"
    assert len(await messages_of(stage, thread)) == 2


async def test_outputs_that_are_sent_twice_under_one_key_are_taken_once(
    stage: Gateway, client: openai.AsyncOpenAI, assistant: str
):
    thread = await new_thread(client)
    waits = await ended(stage, thread, assistant, tools=[WEATHER], tool_choice="required")
    id_ = waits["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    path = f"/v1/threads/{thread}/runs/{waits['id']}/submit_tool_outputs"
    outputs, headers = [{"tool_call_id": id_, "output": "1"}], {"idempotency-key": f"outputs of {thread}"}
    answers = [await stage.client.post(path, json={"tool_outputs": outputs}, headers=headers) for _ in range(2)]
    assert whole("RunObject", answers[0]) == whole("RunObject", answers[1])
    assert (await until_rest(stage, answers[0].json()))["status"] == "completed"
    assert len(await messages_of(stage, thread)) == 2


# one at a time


async def test_a_thread_has_one_run_at_a_time(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client, STALL)
    more = {"additional_messages": [{"role": "user", "content": "More"}]}
    answers = await asyncio.gather(*(run(stage, thread, assistant, **more) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    (begun,) = [answer.json() for answer in answers if answer.status_code == 200]
    refused = await stage.client.post(f"/v1/threads/{thread}/messages", json={"role": "user", "content": "And?"})
    assert_error(refused, 400)
    assert len(await messages_of(stage, thread)) == 2
    await stage.client.post(f"/v1/threads/{thread}/runs/{begun['id']}/cancel")
    assert (
        await stage.client.post(f"/v1/threads/{thread}/messages", json={"role": "user", "content": "Y"})
    ).status_code == 200


async def test_a_run_that_is_asked_for_twice_under_one_key_is_one(
    stage: Gateway, client: openai.AsyncOpenAI, assistant: str
):
    thread = await new_thread(client)
    body = {"assistant_id": assistant, "stream": True}
    headers = {"idempotency-key": f"the run of {thread}"}
    first, again = [await stage.client.post(f"/v1/threads/{thread}/runs", json=body, headers=headers) for _ in range(2)]
    assert names_of(events_of(again.content)) == ["thread.run.completed", "done"]
    assert (
        dict(events_of(again.content))["thread.run.completed"] == dict(events_of(first.content))["thread.run.completed"]
    )
    assert len(await messages_of(stage, thread)) == 2


# how else they end


async def test_a_run_is_cancelled_and_what_it_said_is_kept(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread, said_something = await new_thread(client, STALL), asyncio.Event()
    body = {"assistant_id": assistant}
    stream = asyncio.create_task(streaming(stage, f"/v1/threads/{thread}/runs", body, said_something))
    await said_something.wait()
    (active,) = (await client.beta.threads.runs.list(thread)).data
    cancelled = await client.beta.threads.runs.cancel(active.id, thread_id=thread)
    validate("RunObject", cancelled.to_dict())
    events = events_of(await stream)
    assert names_of(events)[-4:] == [
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
        "done",
    ]
    _, message = await messages_of(stage, thread)
    assert message == dict(events)["thread.message.incomplete"]
    assert message["incomplete_details"] == {"reason": "run_cancelled"}
    assert len(said(message).split()) == 3
    over = await stage.client.post(f"/v1/threads/{thread}/runs/{active.id}/cancel")
    assert over.status_code == 200
    assert over.json()["status"] == "cancelled"


async def test_a_run_that_waits_is_cancelled(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    waits = await ended(stage, thread, assistant, tools=[WEATHER], tool_choice="required")
    path = f"/v1/threads/{thread}/runs/{waits['id']}"
    assert whole("RunObject", await stage.client.post(f"{path}/cancel"))["status"] == "cancelled"
    assert [step["status"] for step in await steps_of(stage, waits)] == ["cancelled"]
    # A call that nobody answered stands in nobody's way.
    assert (await ended(stage, thread, assistant))["status"] == "completed"
    assert_error(await stage.client.post(f"/v1/threads/{thread}/runs/run_1/cancel"), 404, "run_not_found")


async def test_a_run_that_is_over_cannot_be_cancelled(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    done = await ended(stage, await new_thread(client), assistant)
    assert_error(await stage.client.post(f"/v1/threads/{done['thread_id']}/runs/{done['id']}/cancel"), 400)


async def test_an_answer_that_breaks_off_fails_the_run(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client, FAIL)
    events = events_of((await run(stage, thread, assistant, stream=True)).content)
    assert names_of(events)[-4:] == [
        "thread.message.incomplete",
        "thread.run.step.failed",
        "thread.run.failed",
        "done",
    ]
    failed = dict(events)["thread.run.failed"]
    assert failed["last_error"]["code"] == "server_error"
    _, message = await messages_of(stage, thread)
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_failed"})
    assert await steps_of(stage, failed) == [dict(events)["thread.run.step.failed"]]


async def test_an_answer_that_is_long_enough_leaves_the_run_incomplete(
    stage: Gateway, client: openai.AsyncOpenAI, assistant: str
):
    thread = await new_thread(client)
    format_ = {
        "type": "json_schema",
        "json_schema": {"name": "long", "schema": {"type": "string", "minLength": 3000, "maxLength": 3000}},
    }
    short = await ended(stage, thread, assistant, response_format=format_, max_completion_tokens=256)
    assert (short["status"], short["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
    _, message = await messages_of(stage, thread)
    assert message["incomplete_details"] == {"reason": "max_tokens"}


async def test_a_prompt_is_cut_to_what_the_run_allows(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = (
        await client.beta.threads.create(
            messages=[
                {"role": "user", "content": "one " * 200},
                {"role": "assistant", "content": "two " * 200},
                {"role": "user", "content": "three " * 50},
            ]
        )
    ).id
    assert (await ended(stage, thread, assistant, max_prompt_tokens=256))["status"] == "completed"
    asked = json.loads(stage.backend.requests[-1].body)["messages"]
    assert [each["role"] for each in asked] == ["system", "user"]
    last = await ended(stage, thread, assistant, truncation_strategy={"type": "last_messages", "last_messages": 1})
    assert last["status"] == "completed"
    asked = json.loads(stage.backend.requests[-1].body)["messages"]
    assert [each["role"] for each in asked] == ["system", "assistant"]
    await client.beta.threads.messages.create(thread, role="user", content="four " * 300)
    too_long = await ended(stage, thread, assistant, max_prompt_tokens=256)
    assert (too_long["status"], too_long["incomplete_details"]) == ("incomplete", {"reason": "max_prompt_tokens"})
    await client.beta.threads.messages.create(thread, role="user", content="five " * 3000)
    never = await ended(stage, thread, assistant)
    assert (never["status"], never["last_error"]["code"]) == ("failed", "invalid_prompt")


# who may


async def test_a_run_obeys_what_its_key_may(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    thread = await new_thread(client)
    key = await new_key(stage.services, models=["another-model"])
    async with sdk_of(stage, key) as narrow:
        with pytest.raises(openai.PermissionDeniedError):
            await narrow.beta.threads.runs.create(thread_id=thread, assistant_id=assistant)
    assert len(await messages_of(stage, thread)) == 1


async def test_anothers_assistant_and_thread_are_not_there(stage: Gateway, client: openai.AsyncOpenAI, assistant: str):
    key = await new_key(stage.services, "read", "write", owner=(await new_user(stage.services)).id)
    thread = await new_thread(client)
    async with sdk_of(stage, key) as other:
        theirs = await new_thread(other)
        for in_, as_ in ((thread, assistant), (theirs, assistant)):
            with pytest.raises(openai.NotFoundError):
                await other.beta.threads.runs.create(thread_id=in_, assistant_id=as_)
        with pytest.raises(openai.NotFoundError):
            await other.beta.threads.create_and_run(assistant_id=assistant, thread={})
        assert len((await stage.client.get("/v1/threads")).json()["data"]) > 0
        assert [each["id"] for each in (await other.get("/threads", cast_to=httpx.Response)).json()["data"]] == [theirs]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"assistant_id": None}, 400, "assistant_id"),
        ({"assistant_id": "conv_" + "0" * 32}, 400, "assistant_id"),
        ({"assistant_id": "asst_" + "0" * 32}, 404, None),
        ({"model": "no-such-model"}, 404, "model"),
        ({"tools": [{"type": "file_search"}]}, 400, "tools[0].type"),
        ({"tools": [WEATHER] * 21}, 400, "tools"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "no"}}},
            400,
            "tool_choice.function.name",
        ),
        ({"max_completion_tokens": 255}, 400, "max_completion_tokens"),
        ({"max_completion_tokens": 513}, 400, "max_completion_tokens"),
        ({"truncation_strategy": {"type": "last_messages"}}, 400, "truncation_strategy.last_messages"),
        ({"additional_messages": [{"role": "user", "content": ""}]}, 400, "additional_messages[0].content"),
        ({"temperature": 3}, 400, "temperature"),
        ({"stream": "yes"}, 400, "stream"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
async def test_a_run_that_cannot_be_is_refused_by_name_and_leaves_nothing(
    stage: Gateway, client: openai.AsyncOpenAI, assistant: str, fields: dict[str, Any], status: int, param: str | None
):
    thread = await new_thread(client)
    assert_error(await run(stage, thread, assistant, **fields), status, param=param)
    assert len(await messages_of(stage, thread)) == 1
    assert (await stage.client.get(f"/v1/threads/{thread}/runs")).json()["data"] == []


async def test_an_assistant_for_any_model_leaves_it_to_the_run(stage: Gateway, client: openai.AsyncOpenAI):
    anyones = (await stage.client.post("/v1/assistants", json={"name": "Jan"})).json()["id"]
    thread = await new_thread(client)
    assert_error(await run(stage, thread, anyones), 400, param="model")
    assert (await ended(stage, thread, anyones, model=CHAT))["status"] == "completed"
