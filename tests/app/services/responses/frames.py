"""Frames of a chat's stream as engines write them, and what becomes of them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from app.domain.response import new_response
from app.schemas.responses import parse
from app.services.responses.translator import Translator

RESPONSE = "resp_" + "1" * 32
TAIL = "2" * 32
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 4}}


def chunk(choices: list[Any], **fields: Any) -> bytes:
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": 'a "model"'}
    return b"data: " + json.dumps(envelope | {"choices": choices} | fields, separators=(",", ":")).encode() + b"\n\n"


def delta(_finish: str | None = None, _logprobs: Any = None, **delta: Any) -> bytes:
    return chunk([{"index": 0, "delta": delta, "logprobs": _logprobs, "finish_reason": _finish}])


def call(index: int, arguments: str | None = None, **fields: Any) -> bytes:
    function = {"name": fields.pop("name")} if "name" in fields else {}
    if arguments is not None:
        function["arguments"] = arguments
    return delta(tool_calls=[{"index": index, "function": function, **fields}])


ROLE = delta(role="assistant", content="")
END = chunk([], usage=USAGE) + DONE
GET_TIME = call(0, "", name="get_time", id="call_1", type="function")


def text(*pieces: str) -> bytes:
    return b"".join(delta(content=piece) for piece in pieces)


STREAMS: dict[str, bytes] = {
    "text": ROLE + text("Hel", "lo", " ", "", 'wor"ld\\', "é☃\n😀") + delta("stop") + END,
    "a text that ends with its last token": ROLE + text("Hel", "lo") + delta("stop", content=" you") + END,
    "nothing": ROLE + delta("stop") + END,
    "a call": ROLE + GET_TIME + call(0, '{"zo') + call(0, 'ne":"\\u00e9') + call(0, '"}') + delta("tool_calls") + END,
    "calls": ROLE
    + GET_TIME
    + call(0, "{}")
    + call(1, "", name="get_weather", id="call_2", type="function")
    + call(1, "{")
    + call(1, '"a":')
    + call(1, "1}")
    + delta("tool_calls")
    + END,
    "calls at once": delta(
        "tool_calls",
        tool_calls=[
            {"index": index, "id": f"call_{index}", "function": {"name": "f", "arguments": "{}"}} for index in range(3)
        ],
    )
    + END,
    "a text, then a call": ROLE + text("Let me", " see.") + GET_TIME + call(0, "{}") + delta("tool_calls") + END,
    "lines broken between calls": ROLE
    + text("Let me", " see.", "\n")
    + GET_TIME
    + call(0, "{}")
    + text("\n", "\n")
    + call(1, "", name="get_weather", id="call_2", type="function")
    + call(1, "{}")
    + text("\n")
    + delta("tool_calls")
    + END,
    "texts between calls": ROLE
    + GET_TIME
    + call(0, "{")
    + text("\n", " And")
    + text(" now:")
    + call(1, "{}", name="get_weather", id="call_2", type="function")
    + text("\n", "Done.")
    + delta("tool_calls")
    + END,
    "a refusal": delta(role="assistant", content=None)
    + b"".join(delta(refusal=piece) for piece in ("I'm", " so", "rry"))
    + delta("stop")
    + END,
    "thoughts, then a text": ROLE
    + b"".join(delta(reasoning=piece) for piece in ("hm", " hm", " ah"))
    + text("It", " is")
    + delta("stop")
    + END,
    "thoughts under their older name": ROLE + delta(reasoning_content="hm") + text("It") + delta("stop") + END,
    "thoughts, a text and a call": ROLE
    + delta(reasoning="hm")
    + text("It", " is")
    + GET_TIME
    + call(0, "{}")
    + delta("tool_calls")
    + END,
    "thoughts alone": ROLE + delta(reasoning="hm") + delta("length") + END,
    "log probabilities": ROLE
    + delta(
        _logprobs={
            "content": [
                {
                    "token": "é",
                    "logprob": -0.5,
                    "bytes": None,
                    "top_logprobs": [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}],
                }
            ]
        },
        content="é",
    )
    + delta(_logprobs={"content": [{"token": "!", "logprob": -1, "bytes": [33], "top_logprobs": []}]}, content="!")
    + delta("stop")
    + END,
    "a text cut off by its length": ROLE + text("Hel", "lo") + delta("length") + END,
    "a text cut off by a filter": ROLE + text("Hel", "lo") + delta("content_filter") + END,
    "a call cut off": ROLE + GET_TIME + call(0, '{"a') + delta("length") + END,
}
FAULT = {"message": "The engine failed.", "type": "server_error", "param": None, "code": "internal_error"}
BROKEN: dict[str, bytes] = {
    "an error": ROLE + text("Hel", "lo") + b"data: " + json.dumps({"error": FAULT}).encode() + b"\n\n",
    "an error at once": b"data: " + json.dumps({"error": FAULT}).encode() + b"\n\n",
    "an end too early": ROLE + text("Hel", "lo"),
    "an end in the middle of a frame": ROLE + text("Hel", "lo")[:-9],
    "a call broken off": ROLE + GET_TIME + call(0, '{"a'),
    "thoughts broken off": ROLE + delta(reasoning="hm"),
    "a frame that is none": ROLE + text("Hel", "lo") + b"data: {nonsense\n\n" + text("!") + delta("stop") + END,
}


def translator(*, first: int = 0, **request: Any) -> Translator:
    shown = parse({"model": "m", "input": "Hello"} | request).shown
    return Translator(new_response(RESPONSE, 1, shown), TAIL, first=first)


def translated(stream: bytes, cuts: list[int] | None = None) -> tuple[Translator, bytes]:
    """A whole stream, fed in pieces."""
    ours = translator()
    told = [ours.start()]
    places = [0, *sorted(cuts or ()), len(stream)]
    told += [ours.feed(stream[start:end]) for start, end in pairwise(places)]
    return ours, b"".join([*told, ours.finish()])
