"""What tests of threads need: engines that stall or fail when told to, and checks of what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import httpx

from app.domain.ids import new_id, new_tail, with_prefix
from app.domain.model_state import ModelState
from app.domain.run import Run, RunOrder
from app.domain.run_step import RunStep
from app.services import Services
from app.services.catalog import CatalogEntry
from app.storage.users import now_ms
from tests.support.gateway import CHAT, scripted
from tests.support.openai_schema import validate

STALL, FAIL, REFUSE = "[stall]", "[error]", "[refuse]"
"""What a prompt says whose answer stops coming after three tokens, ends in an error after three, or is a refusal."""

ENTRIES = (
    CatalogEntry(
        scripted(
            CHAT,
            limits={"max_output_tokens": 512},
            engine_args={
                "max_model_len": 2048,
                "error_on": FAIL,
                "error_after_tokens": 3,
                "stall_on": STALL,
                "stall_after_tokens": 3,
            },
        ),
        ModelState("ready", replicas=1, max_model_len=2048),
    ),
)


async def waiting_run(services: Services, owner: str, thread: str, model: str) -> Run:
    """A run of somebody's thread that waits for the output of the call ``call_1``."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    now = now_ms()
    turn = await services.stores.conversations.begin_turn(owner, with_prefix(thread, "conv"))
    assert turn is not None
    begun = Run(
        new_id("run"), owner, thread, new_id("asst"), now, now + 600_000, RunOrder(model), turn=turn, tail=new_tail()
    )
    assert await services.stores.runs.insert(begun, "nobody")
    run = replace(begun, status="requires_action", calls=[call], round_at_ms=now)
    assert await services.stores.runs.change(run, was=("queued",))
    await services.stores.run_steps.put([RunStep.calling(run, [call])])
    return run


def said(message: Any) -> str:
    """The text of a message, as the SDK or JSON has it."""
    content = message["content"] if isinstance(message, dict) else message.to_dict()["content"]
    return "".join(part["text"]["value"] for part in content if part["type"] == "text")


def whole(name: str, answer: httpx.Response) -> dict[str, Any]:
    """The body of an answer that went well and fits one of OpenAI's schemas."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    validate(name, body)
    return body


def events_of(stream: bytes) -> list[tuple[str, Any]]:
    """The events of a whole stream, each of which fits OpenAI's schema; comments are left out."""
    assert stream.endswith(b"event: done\ndata: [DONE]\n\n"), stream[-300:]
    events: list[tuple[str, Any]] = []
    for block in stream.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        first, second = block.split("\n")
        name, data = first.removeprefix("event: "), second.removeprefix("data: ")
        told = data if name == "done" else json.loads(data)
        validate("AssistantStreamEvent", {"event": name, "data": told})
        events.append((name, told))
    return events


def names_of(events: Iterable[tuple[str, Any]]) -> list[str]:
    """The names of events, of one after another of the same name the first."""
    names: list[str] = []
    for name, _ in events:
        if not names or names[-1] != name:
            names.append(name)
    return names
