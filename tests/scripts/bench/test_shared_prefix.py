"""Loads whose prompts begin alike, and what a scripted engine that keeps prompts says of them."""

from __future__ import annotations

import json

import pytest

from deployments.engines.scripted import ScriptedEngine
from scripts.bench.affinity import ENGINE, costs
from scripts.bench.shared_prefix import ANSWER_TOKENS, CALLERS, LOADS, REQUESTS
from tests.contract.calls import post
from tests.support.gateway import scripted

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("load", LOADS)
def test_a_load_has_as_many_requests_as_it_says_and_is_the_same_for_the_same_seed(load: str):
    turns = LOADS[load]("m", "seed")
    assert [len(caller) for caller in turns] == [REQUESTS] * CALLERS
    assert turns == LOADS[load]("m", "seed")
    assert turns != LOADS[load]("m", "another")
    assert {json.loads(body)["model"] for caller in turns for body in caller} == {"m"}


@pytest.mark.parametrize(("load", "share"), [("conversations", 0.7), ("nothing shared", 0.0)])
async def test_one_engine_alone_finds_what_there_is_to_find(load: str, share: float):
    engine = ScriptedEngine(scripted("m", engine_args={"kv_blocks": ENGINE["kv_blocks"]}))
    prompt = cached = 0
    for body in LOADS[load]("m", "seed")[0]:
        usage = (await post(engine.app(), CHAT, body.encode())).chunks[-1]["usage"]
        assert usage["completion_tokens"] == ANSWER_TOKENS
        prompt += usage["prompt_tokens"]
        cached += usage["prompt_tokens_details"]["cached_tokens"]
    assert share <= cached / prompt <= share + 0.1


def test_choosing_takes_microseconds():
    assert len(costs()) == 6
