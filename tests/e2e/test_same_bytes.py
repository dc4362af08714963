"""What a client gets is vLLM's own stream, byte for byte: chunks from a template, and all of the way in between.

Every request is sent twice. Once it is plain, so that its chunks are written from a template; and once it carries
something that makes vLLM's own code write every chunk, but that changes nothing of what choice 0 says: tools that must
not be called, or a second prompt.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.live import CHAT, CHAT_ALIAS, Live
from tests.support.same_bytes import shape_of

pytestmark = pytest.mark.live

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FORBIDDEN = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}],
    "tool_choice": "none",
}
CAPITAL = "What is the capital of France?"
SHARK = "🦈👩‍👩‍👧"
USAGE = {"stream_options": {"include_usage": True}}

ENUM = {"type": "json_schema", "json_schema": {"name": "shark", "schema": {"enum": [SHARK]}}}

CHATS: dict[str, dict[str, Any]] = {
    "words": {"text": CAPITAL},
    "usage at the end": {"text": CAPITAL, **USAGE},
    "another name": {"text": CAPITAL, "model": CHAT_ALIAS, "max_tokens": 4},
    "umlauts and others": {"text": "Repeat: „façade naïve 汉字 עברית é“", **USAGE},
    "quotes and backslashes": {"text": 'Print a C program that prints "\\n\\t\\\\".', "max_tokens": 20},
    "odd characters": {"text": 'Repeat exactly: "\\ \u0000 </s> {"a": [1]} \u2028 ñ"'},
    "a biased token": {"text": "Say yes or no.", "logit_bias": {"13": 100}, "max_tokens": 5},
    "a bias that splits characters": {"text": "Hello", "logit_bias": {"176": 100}, "max_tokens": 5},
    "a stop string": {"text": CAPITAL, "stop": ["Paris"], **USAGE},
    "a stop string that is shown": {"text": CAPITAL, "stop": [" Par", "Fr"], "include_stop_str_in_output": True},
    "one token": {"text": CAPITAL, "max_tokens": 1, **USAGE},
    "two tokens": {"text": CAPITAL, "max_tokens": 2},
    "sampled": {"text": CAPITAL, "temperature": 1.2, "top_p": 0.9, "seed": 7},
    "penalties and a least length": {"text": CAPITAL, "frequency_penalty": 1, "min_tokens": 12, "top_k": 50},
    "special tokens": {"text": CAPITAL, "ignore_eos": True, "skip_special_tokens": False},
    "longer than the model takes": {"text": "long " * 5000},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "words": {"prompt": "The capital of France is"},
    "a stop string": {"prompt": "One, two, three, four,", "stop": [" seven"]},
    "sampled": {"prompt": "Once upon a time", "temperature": 1, "seed": 11},
}


def stream_of(live: Live, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """The status and the bytes of a streamed answer."""
    whole = {"model": CHAT, "stream": True, "max_tokens": 12, "temperature": 0, **body}
    response = httpx.post(f"{live.openai_url}{path}", json=whole, headers=live.auth, timeout=120)
    return response.status_code, response.content


def chat(live: Live, text: str, **fields: Any) -> tuple[int, bytes]:
    """A streamed chat of one message."""
    return stream_of(live, "/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_is_what_vllm_writes(live: Live, name: str) -> None:
    plain_status, plain = chat(live, **CHATS[name])
    status, own = chat(live, **CHATS[name], **FORBIDDEN)
    assert plain_status == status
    assert shape_of(plain) == shape_of(own)


def test_emoji_that_come_in_pieces_are_what_vllm_writes(live: Live) -> None:
    """The model may say nothing but these, which are three tokens each and more."""
    _, plain = chat(live, CAPITAL, response_format=ENUM, max_tokens=40)
    _, own = chat(live, CAPITAL, response_format=ENUM, max_tokens=40, **FORBIDDEN)
    assert shape_of(plain) == shape_of(own)
    assert SHARK in shape_of(plain).text.decode()


@pytest.mark.parametrize("name", COMPLETIONS)
def test_a_completion_is_what_vllm_writes(live: Live, name: str) -> None:
    body = COMPLETIONS[name]
    _, plain = stream_of(live, "/completions", body)
    _, two = stream_of(live, "/completions", {**body, "prompt": [body["prompt"], "Something else"]})
    own = b"\n\n".join(event for event in two.split(b"\n\n") if b'"index":1' not in event)
    assert shape_of(plain) == shape_of(own)
    assert shape_of(plain).text
