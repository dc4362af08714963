"""A chat of any engine becomes a response: the same that its whole answer says, event by event as OpenAI has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.completion import of_body, of_stream, output_items
from app.services.asgi_call import ASGIApp
from app.services.responses import translator as translation
from app.services.responses.translator import Translator
from tests.app.services.responses.frames import TAIL, translator
from tests.contract.calls import post, user
from tests.support.response_events import order, valid_events

CHAT = "/v1/chat/completions"
WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER, "strict": True}}
SAID = ["output_text.delta", "output_text.done", "content_part.done", "output_item.done"]
CALLED = ["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


async def response_of(app: ASGIApp, **fields: Any) -> tuple[Translator, bytes]:
    body = {"model": "contract", "messages": user("Hello"), "max_tokens": 24, "temperature": 0, **fields}
    reply = await post(app, CHAT, body | {"stream": True, "stream_options": {"include_usage": True}})
    assert reply.status == 200, reply.body
    ours = translator()
    stream = ours.start() + ours.feed(reply.body) + ours.finish()
    valid_events(stream)
    assert ours.items == output_items(of_stream(reply.body), TAIL)
    return ours, stream


async def test_a_text_is_the_whole_answers(engine_app: ASGIApp) -> None:
    ours, stream = await response_of(engine_app)
    body = {"model": "contract", "messages": user("Hello"), "max_tokens": 24, "temperature": 0}
    whole = of_body((await post(engine_app, CHAT, body)).body).first
    assert whole is not None
    assert ours.items[0]["content"][0]["text"] == whole.content
    begun = ["created", "in_progress", "output_item.added", "content_part.added"]
    assert order(stream)[:-1] == [*begun, *SAID]
    assert ours.response["usage"]["output_tokens"] == 24 or ours.response["status"] == "completed"


async def test_its_tokens_are_not_parsed(engine_app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    decode = translation.decoded

    def counted(data: bytes) -> Any:
        parsed.append(data)
        return decode(data)

    monkeypatch.setattr(translation, "decoded", counted)
    # A random model's bytes may be no characters, which come as escapes.
    _, stream = await response_of(engine_app, min_tokens=24)
    deltas = stream.count(b"event: response.output_text.delta")
    assert len(parsed) <= 5 or len(parsed) < deltas / 2


async def test_an_answer_that_is_cut_off_is_incomplete(engine_app: ASGIApp) -> None:
    ours, _ = await response_of(engine_app, max_tokens=3, min_tokens=3)
    assert (ours.response["status"], ours.items[0]["status"]) == ("incomplete", "incomplete")
    assert ours.response["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("choice", [NAMED, "required"])
async def test_a_demanded_call_has_arguments_that_fit(engine_app: ASGIApp, choice: Any) -> None:
    asked = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 200, "temperature": 1}
    # A random model comes to an end when it likes, and of what it must call calls as many as it likes.
    for seed in range(8):
        ours, stream = await response_of(engine_app, **asked, seed=seed)
        if ours.response["status"] == "completed":
            break
    assert ours.response["status"] == "completed"
    for called in ours.items:
        assert called["name"] == "get_weather"
        assert set(json.loads(called["arguments"])) == {"city", "days"}
    assert order(stream)[:3] == ["created", "in_progress", "output_item.added"]
    assert order(stream).count("function_call_arguments.done") == len(ours.items) > 0
    if len(ours.items) == 1:
        assert order(stream)[3:] == [*CALLED, "completed"]


async def test_a_structured_answer_is_text_that_fits(engine_app: ASGIApp) -> None:
    ours, _ = await response_of(engine_app, response_format=FORMAT, max_tokens=200, temperature=1)
    assert set(json.loads(ours.items[0]["content"][0]["text"])) == {"city", "days"}


async def test_log_probabilities_come_along(engine_app: ASGIApp) -> None:
    ours, _ = await response_of(engine_app, logprobs=True, top_logprobs=2, max_tokens=5, min_tokens=5)
    rows = ours.items[0]["content"][0]["logprobs"]
    assert len(rows) == 5
    assert all(len(row["top_logprobs"]) == 2 for row in rows)
