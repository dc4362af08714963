"""Completions are OpenAI's, on every engine."""

from __future__ import annotations

from typing import Any

from app.services.asgi_call import ASGIApp
from tests.contract.calls import MODEL, REQUEST_ID, Reply, post
from tests.support.openai_schema import data_events, validate

SCHEMA = "CreateCompletionResponse"


async def complete(app: ASGIApp, **fields: Any) -> Reply:
    body = {"prompt": "The manta", "max_tokens": 6, "ignore_eos": True, "temperature": 0, **fields}
    reply = await post(app, "/v1/completions", body)
    assert reply.status == 200, reply.body
    return reply


def validate_chunk(chunk: dict[str, Any]) -> None:
    """The document has one schema for answers and chunks, and forgets that an unfinished choice has no reason yet."""
    choices = [choice | {"finish_reason": choice["finish_reason"] or "stop"} for choice in chunk["choices"]]
    validate(SCHEMA, chunk | {"choices": choices})


async def test_an_answer_is_openais(engine_app: ASGIApp) -> None:
    body = (await complete(engine_app)).json
    validate(SCHEMA, body)
    assert (body["object"], body["model"], body["id"]) == ("text_completion", MODEL, f"cmpl-{REQUEST_ID}")
    assert body["choices"][0]["logprobs"] is None
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 6


async def test_a_stream_says_what_the_whole_answer_says(engine_app: ASGIApp) -> None:
    whole = await complete(engine_app)
    reply = await complete(engine_app, stream=True, stream_options={"include_usage": True})
    assert data_events(reply.body)[-1] == "[DONE]"
    for chunk in reply.chunks:
        validate_chunk(chunk)
        assert (chunk["model"], chunk["id"]) == (MODEL, f"cmpl-{REQUEST_ID}")
    *chunks, usage = reply.chunks
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole.json["choices"][0]["text"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 6


async def test_several_prompts_and_choices_are_numbered_prompt_by_prompt(engine_app: ASGIApp) -> None:
    body = (await complete(engine_app, prompt=["one", "two"], n=2, temperature=1)).json
    validate(SCHEMA, body)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["completion_tokens"] == 24


async def test_a_prompt_may_be_token_ids(engine_app: ASGIApp) -> None:
    ids = (await post(engine_app, "/tokenize", {"prompt": "The manta"})).json["tokens"]
    from_ids, from_text = await complete(engine_app, prompt=ids), await complete(engine_app)
    assert from_ids.json["choices"] == from_text.json["choices"]
    several = await complete(engine_app, prompt=[ids, ids])
    assert len(several.json["choices"]) == 2


async def test_echo_puts_the_prompt_first(engine_app: ASGIApp) -> None:
    plain = await complete(engine_app)
    echoed = await complete(engine_app, echo=True)
    assert echoed.json["choices"][0]["text"] == "The manta" + plain.json["choices"][0]["text"]
    stream = await complete(engine_app, echo=True, stream=True)
    assert "".join(c["choices"][0]["text"] for c in stream.chunks) == echoed.json["choices"][0]["text"]


async def test_logprobs_are_as_many_as_tokens(engine_app: ASGIApp) -> None:
    body = (await complete(engine_app, logprobs=2)).json
    validate(SCHEMA, body)
    logprobs = body["choices"][0]["logprobs"]
    assert {len(logprobs[key]) for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset")} == {6}
    assert logprobs["text_offset"][0] == 0


async def test_a_stop_text_ends_the_answer(engine_app: ASGIApp) -> None:
    text = (await complete(engine_app)).json["choices"][0]["text"]
    choice = (await complete(engine_app, stop=text[2:4])).json["choices"][0]
    assert choice["text"] == text[: text.index(text[2:4])]
    assert choice["finish_reason"] == "stop"
