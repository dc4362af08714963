from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.model_state import ModelState
from app.errors import InvalidRequest
from app.services.catalog import CatalogEntry
from app.services.context import Talk, fit
from deployments.engines.scripted import prompt, tokens
from tests.support.gateway import Gateway, GatewayFactory, scripted

CONTEXT = 200


def entry(context: int | None = CONTEXT) -> CatalogEntry:
    return CatalogEntry(scripted(engine_args={"max_model_len": CONTEXT}), ModelState("ready", max_model_len=context))


def turn(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]


def turns(number: int, words: int = 10) -> list[list[dict[str, Any]]]:
    return [*(turn(f"{at} " + "word " * words) for at in range(number)), [{"role": "user", "content": "now"}]]


SYSTEM = [{"role": "system", "content": "Stay."}]


def length(messages: Sequence[dict[str, Any]], tools: Any = None) -> int:
    return tokens.count(prompt.of_chat(messages, tools))


async def test_what_surely_fits_is_not_counted(gateway: Gateway):
    asked = len(gateway.backend.requests)
    talk = Talk(SYSTEM, turns(3))
    fitted = await fit(gateway.services, CatalogEntry(scripted(), ModelState(max_model_len=4096)), talk)
    assert fitted.messages == talk.without(0)
    assert fitted.dropped == 0
    assert len(gateway.backend.requests) == asked


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40, 150])
@pytest.mark.parametrize("words", [2, 10, 25])
async def test_as_much_stays_as_there_is_room_for(new_gateway: GatewayFactory, count: int, words: int):
    async with new_gateway([entry()]) as gateway:
        talk = Talk(SYSTEM, turns(count, words))
        fitted = await fit(gateway.services, entry(), talk, output_tokens=50)
        assert fitted.messages == talk.without(fitted.dropped)
        assert length(fitted.messages) <= CONTEXT - 50
        if fitted.dropped:
            assert length(talk.without(fitted.dropped - 1)) > CONTEXT - 50
        assert len(gateway.backend.requests) <= 8
        assert {request.path for request in gateway.backend.requests} == {"/tokenize"}


async def test_nobody_is_charged_for_the_counting(new_gateway: GatewayFactory):
    async with new_gateway([entry()]) as gateway:
        await fit(gateway.services, entry(), Talk(SYSTEM, turns(20)))
        assert all(not request.account for request in gateway.backend.requests)


async def test_turns_of_very_different_lengths_are_told_apart(new_gateway: GatewayFactory):
    async with new_gateway([entry()]) as gateway:
        long, short = turn("x" * 3000), turn("short")
        talk = Talk((), [long, *[short] * 4, long, *[short] * 3, [{"role": "user", "content": "now"}]])
        fitted = await fit(gateway.services, entry(), talk)
        assert fitted.dropped == 6


async def test_tools_take_their_part(new_gateway: GatewayFactory):
    tools = [{"type": "function", "function": {"name": "f", "description": "d " * 100}}]
    async with new_gateway([entry()]) as gateway:
        plain = await fit(gateway.services, entry(), Talk(SYSTEM, turns(6)), output_tokens=10)
        with_tools = await fit(gateway.services, entry(), Talk(SYSTEM, turns(6), tools), output_tokens=10)
    assert with_tools.dropped > plain.dropped
    assert length(with_tools.messages, tools) <= CONTEXT - 10


async def test_the_answer_of_a_tool_stays_with_its_call(new_gateway: GatewayFactory):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = [{"role": "user", "content": "call"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    result = [{"role": "tool", "tool_call_id": "1", "content": "word " * 20}]
    async with new_gateway([entry()]) as gateway:
        for number in range(1, 12):
            talk = Talk((), [*turns(number)[:-1], called, result, *turns(3)])
            fitted = await fit(gateway.services, entry(), talk, output_tokens=40)
            assert fitted.messages[0]["role"] == "user"


async def test_an_answer_without_a_bound_gets_a_part_of_the_context(new_gateway: GatewayFactory):
    async with new_gateway([entry()]) as gateway:
        fitted = await fit(gateway.services, entry(), Talk(SYSTEM, turns(20)))
        assert length(fitted.messages) <= CONTEXT - CONTEXT // 8
        # But where the question leaves less than that, less will do.
        question = [{"role": "user", "content": "word " * 180}]
        assert length(question) > CONTEXT - CONTEXT // 8
        fitted = await fit(gateway.services, entry(), Talk((), [*turns(3)[:-1], question]))
        assert fitted.messages == question


@pytest.mark.parametrize("truncation", ["auto", "disabled"])
async def test_what_does_not_fit_by_itself_is_refused_with_the_numbers(new_gateway: GatewayFactory, truncation: Any):
    talk = Talk(SYSTEM, [*turns(3)[:-1], [{"role": "user", "content": "word " * 300}]])
    async with new_gateway([entry()]) as gateway:
        with pytest.raises(InvalidRequest) as refused:
            await fit(gateway.services, entry(), talk, output_tokens=7, truncation=truncation)
    assert refused.value.code == "context_length_exceeded"
    dropped = 0 if truncation == "disabled" else 3
    dropped = min(dropped, len(talk.turns) - 1)
    assert f"is {CONTEXT} tokens; the conversation has {length(talk.without(dropped))} and asks for up to 7" in str(
        refused.value
    )


async def test_a_model_that_has_not_told_its_context_tells_it_now(new_gateway: GatewayFactory):
    async with new_gateway([entry(None)]) as gateway:
        fitted = await fit(gateway.services, entry(None), Talk(SYSTEM, turns(20)))
        assert fitted.dropped
        assert length(fitted.messages) <= CONTEXT


async def test_what_the_engine_cannot_read_is_told_as_it_says(new_gateway: GatewayFactory):
    async with new_gateway([entry()]) as gateway:
        talk = Talk([{"role": "nobody", "content": "x " * 300}], turns(1))
        with pytest.raises(InvalidRequest, match="role has to be one of"):
            await fit(gateway.services, entry(), talk)
