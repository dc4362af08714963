"""The ``openai`` npm package: programs in ``tests/clients``, each printing what it found as one line of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.seeds.programs import node_file
from tests.support.live import CHAT, CHAT_ALIAS, EMBEDDINGS, SCRIPTED, Live

pytestmark = pytest.mark.live


def run(live: Live, program: str, *arguments: str) -> Any:
    """What a program of ``tests/clients`` printed, parsed."""
    environment = {"OPENAI_BASE_URL": live.openai_url, "OPENAI_API_KEY": live.api_key}
    return json.loads(node_file(program, *arguments, environment=environment))


def test_it_chats(live: Live) -> None:
    answer = run(live, "chat.mjs", CHAT_ALIAS)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["model"] == CHAT_ALIAS
    assert answer["_request_id"].startswith("req_")


def test_it_streams_by_hand_and_with_the_helper(live: Live) -> None:
    found = run(live, "stream.mjs", CHAT)
    assert "Paris" in found["told"]
    assert found["helper"] == found["told"]
    assert found["usage"]["completion_tokens"] > 0
    assert found["chunks"] > 3


def test_it_calls_a_tool(live: Live) -> None:
    found = run(live, "tools.mjs", CHAT)
    assert found["finish_reason"] == "stop"  # as OpenAI's own answers say where the caller named the tool
    assert found["name"] == "get_weather"
    assert isinstance(found["arguments"]["city"], str)


def test_it_embeds(live: Live) -> None:
    found = run(live, "embeddings.mjs", EMBEDDINGS)
    assert found["lengths"] == [384, 384]
    assert found["difference"] < 1e-5


def test_it_lists_and_finds_models(live: Live) -> None:
    found = run(live, "models.mjs", CHAT_ALIAS)
    assert {CHAT, EMBEDDINGS} <= set(found["ids"])
    assert found["retrieved"] == CHAT_ALIAS


def test_its_errors_are_its_own(live: Live) -> None:
    missing, wrong, denied, broken = run(live, "errors.mjs", SCRIPTED)
    assert missing == {"name": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model"}
    assert wrong == {"name": "BadRequestError", "status": 400, "code": None, "param": "temperature"}
    assert denied == {"name": "AuthenticationError", "status": 401, "code": "invalid_api_key", "param": None}
    assert broken["name"] == "APIError"
    assert isinstance(broken["code"], str)


def test_it_converses_in_responses(live: Live) -> None:
    found = run(live, "responses.mjs", CHAT)
    assert "Paris" in found["first"]
    assert found["told"] == found["second"]
    assert found["texts"] == [
        "I like geography.",
        "What is the capital of France?",
        found["first"],
        "And of England?",
        found["second"],
    ]
    assert found["inputs"] == ["And of England?"]
    assert found["retrieved"] == found["first"]
    assert (found["continued"], found["gone"], found["deleted"]) == ("completed", 404, True)
