"""A plain stream, written from a template, has the bytes that vLLM's own generator writes, at the client's end too.

Asked for two choices that are the same, vLLM's generator writes every chunk itself: one of the two is compared.
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.live import CHAT, Live

pytestmark = pytest.mark.live

ALWAYS_THE_SAME = {"temperature": 1, "top_k": 1, "max_tokens": 16}
CHATS: dict[str, dict[str, Any]] = {
    "words": {"content": "What is the capital of France?"},
    "odd characters": {"content": 'Repeat exactly: "\\ \u0000 </s> {"a": [1]} \u2028 ñ"'},
    "emoji": {"content": "Repeat exactly: 😀👩‍👩‍👧 日本語 🇫🇷"},
    "code": {"content": "Write a Python function that adds two numbers.", "max_tokens": 24},
    "a stop string": {"content": "Count from one to ten in words.", "stop": ["three", "3"]},
    "a biased token": {"content": "Say yes or no.", "logit_bias": {"13": 100}, "max_tokens": 5},
    "a bias that splits characters": {"content": "Hello", "logit_bias": {"176": 100}, "max_tokens": 5},
    "one token": {"content": "Hello", "max_tokens": 1},
    "usage at the end": {"content": "Hello", "stream_options": {"include_usage": True}},
}
UNIQUE = re.compile(rb'"(id|created|system_fingerprint)":("[^"]*"|\d+)')
CONTENT = re.compile(rb'(.*"delta":\{"content":)("(?:[^"\\]|\\.)*")(\}.*)', re.DOTALL)


@pytest.mark.parametrize("fields", CHATS.values(), ids=CHATS)
def test_a_stream_has_the_same_bytes_from_a_template_and_from_vllm(live: Live, fields: dict[str, Any]) -> None:
    plain, full = stream(live, fields), stream(live, {**fields, "n": 2})
    assert canonical(plain) == canonical(full)
    assert plain[-1] == b"data: [DONE]"
    assert len(full) > len(plain), "this one was not written by vLLM's generator"


def stream(live: Live, fields: dict[str, Any]) -> list[bytes]:
    """The events of a chat, as they arrive."""
    message = {"role": "user", "content": fields["content"]}
    rest = {name: value for name, value in fields.items() if name != "content"}
    body = {"model": CHAT, "messages": [message], "stream": True, **ALWAYS_THE_SAME, **rest}
    response = httpx.post(f"{live.openai_url}/chat/completions", json=body, headers=live.auth, timeout=240)
    assert response.status_code == 200, response.text
    return response.content.removesuffix(b"\n\n").split(b"\n\n")


def canonical(events: list[bytes]) -> list[tuple[bytes, str, bytes]]:
    """What is before, in and behind the text of each chunk of the first choice.

    Texts of chunks that are otherwise the same are joined: an engine that is behind hands on two tokens at once. What
    two choices cost together is left out.
    """
    found: list[tuple[bytes, str, bytes]] = []
    for event in events:
        if b'"index":1' in event or b'"choices":[]' in event:
            continue
        masked = UNIQUE.sub(rb'"\1":_', event)
        match = CONTENT.fullmatch(masked)
        if match is None:
            found.append((masked, "", b""))
            continue
        before, text, behind = match[1], json.loads(match[2]), match[3]
        if found and (found[-1][0], found[-1][2]) == (before, behind):
            text = found.pop()[1] + text
        found.append((before, text, behind))
    return found
