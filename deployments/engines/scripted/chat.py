"""POST /v1/chat/completions, OpenAI's."""

from __future__ import annotations

import msgspec

from app.errors import InvalidRequest
from deployments.engines.scripted import logprobs, prompt, tokens, tools
from deployments.engines.scripted.requests import ChatRequest, Json, Stops, parse
from deployments.engines.scripted.script import Answer, Demand, Script
from deployments.engines.scripted.values import json_for
from deployments.engines.scripted.wire import (
    DONE,
    EXTRA,
    FINGERPRINT,
    TEXT,
    Caller,
    Frames,
    Job,
    Reading,
    event,
    interleaved,
)

JSON_OBJECT = '{"text":"the manta is a ray","fins":2,"tame":false}'
"""The answer where any JSON object will do."""


def chat(body: bytes, caller: Caller, script: Script) -> Job:
    """Answer a chat.

    Raises:
        ApiError: The request cannot be answered as it stands.
    """
    request = parse(body, ChatRequest)
    text = prompt.of_chat(request.messages, request.tools)
    prompt_tokens = tokens.count(text)
    answers = script.answers(_demand(request, text), prompt_tokens)
    reading = Reading(text, prompt_tokens)
    reply = ChatReply(request, caller, script, answers, reading)
    lengths = [len(answer.pieces) for answer in answers]
    return Job(reply.body, lengths, text, reply if request.stream else None, reading)


class ChatReply:
    """A chat's answer, whole or as a stream."""

    def __init__(
        self, request: ChatRequest, caller: Caller, script: Script, answers: list[Answer], reading: Reading
    ) -> None:
        self._request = request
        self._caller = caller
        self._script = script
        self._answers = answers
        self._reading = reading
        self._frames = [self._choice_frames(index) for index in range(len(answers))] if request.stream else []

    def body(self) -> Json:
        """The whole answer."""
        choices = [
            {
                "index": index,
                "message": self._message(index, answer),
                "logprobs": self._logprobs(answer),
                "finish_reason": _finish_reason(answer),
                **stop_reason(answer),
            }
            for index, answer in enumerate(self._answers)
        ]
        return self._envelope("chat.completion") | {"choices": choices, "usage": self._usage()}

    def opening(self) -> bytes:
        """The role, and what a tool call is called, for every choice."""
        return b"".join(self._opening(index, answer) for index, answer in enumerate(self._answers))

    def tokens(self, first: int, end: int) -> bytes:
        """See ``Stream.tokens``."""
        return interleaved(self._frames, first, end)

    def closing(self) -> bytes:
        """Why each choice ended, the usage if it was asked for, and the end."""
        ends = [self._chunk(index, {}, _finish_reason(answer)) for index, answer in enumerate(self._answers)]
        options = self._request.stream_options
        if options is not None and options.include_usage:
            ends.append(event(self._envelope("chat.completion.chunk") | {"choices": [], "usage": self._usage()}))
        return b"".join([*ends, DONE])

    def _opening(self, index: int, answer: Answer) -> bytes:
        if answer.kind != "tool":
            return self._chunk(index, {"role": "assistant", "content": "" if answer.kind == "text" else None})
        call = self._call(index, answer, arguments="")
        return self._chunk(index, {"role": "assistant", "content": None}) + self._chunk(
            index, {"tool_calls": [{"index": 0, **call}]}
        )

    def _choice_frames(self, index: int) -> Frames:
        answer = self._answers[index]
        delta = {
            "text": {"content": TEXT},
            "refusal": {"refusal": TEXT},
            "tool": {"tool_calls": [{"index": 0, "function": {"arguments": TEXT}}]},
        }[answer.kind]
        if not self._request.logprobs or answer.kind == "tool":
            return Frames(answer.pieces, self._chunk(index, delta))
        extras = [msgspec.json.encode(self._logprob_part(answer, [piece])) for piece in answer.pieces]
        return Frames(answer.pieces, self._chunk(index, delta, logprobs=EXTRA), extras)

    def _chunk(self, index: int, delta: Json, finish: str | None = None, logprobs: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return event(self._envelope("chat.completion.chunk") | {"choices": [choice]})

    def _envelope(self, kind: str) -> Json:
        return {
            "id": f"chatcmpl-{self._caller.request_id}",
            "object": kind,
            "created": self._caller.created,
            "model": self._caller.model,
            "system_fingerprint": FINGERPRINT,
        }

    def _message(self, index: int, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": None, "refusal": None}
        if answer.kind == "tool":
            return message | {"tool_calls": [self._call(index, answer, arguments=answer.text)]}
        return message | {"refusal" if answer.kind == "refusal" else "content": answer.text}

    def _call(self, index: int, answer: Answer, arguments: str) -> Json:
        id_ = f"call_{self._caller.request_id}_{index}"
        return {"id": id_, "type": "function", "function": {"name": answer.tool, "arguments": arguments}}

    def _logprobs(self, answer: Answer) -> Json | None:
        if not self._request.logprobs or answer.kind == "tool":
            return None
        return self._logprob_part(answer, answer.pieces)

    def _logprob_part(self, answer: Answer, pieces: list[str]) -> Json:
        number = self._request.top_logprobs or 0
        rows = [logprobs.for_chat(self._script, piece, number) for piece in pieces if piece]
        return {"content": None, "refusal": None} | {"refusal" if answer.kind == "refusal" else "content": rows}

    def _usage(self) -> Json:
        completion = sum(len(answer.pieces) for answer in self._answers)
        return {
            "prompt_tokens": self._reading.tokens,
            "completion_tokens": completion,
            "total_tokens": self._reading.tokens + completion,
            **self._reading.details(),
        }


def stops_of(stop: Stops) -> tuple[str, ...]:
    """A request's ``stop``: one text, several, or none."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def stop_reason(answer: Answer) -> Json:
    """The stop text that ended a choice, as vLLM tells it, if one did."""
    return {} if answer.stop is None else {"stop_reason": answer.stop}


def _finish_reason(answer: Answer) -> str:
    if not answer.complete:
        return "length"
    return "tool_calls" if answer.kind == "tool" else "stop"


def _demand(request: ChatRequest, text: str) -> Demand:
    tool = _tool(request)
    return Demand(
        prompt=text,
        choices=request.n or 1,
        seed=request.seed,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        min_tokens=request.min_tokens or 0,
        fill=bool(request.ignore_eos),
        stops=stops_of(request.stop),
        keep_stop=bool(request.include_stop_str_in_output),
        tool=tool.name if tool else None,
        json=tool.arguments() if tool else _formatted(request.response_format),
    )


def _tool(request: ChatRequest) -> tools.Tool | None:
    offered = tools.of_openai(request.tools)
    last = prompt.last_user_text(request.messages)
    match request.tool_choice:
        case None | "auto":
            return tools.choose(offered, "auto", None, last)
        case "none" | "required" as choice:
            return tools.choose(offered, choice, None, last)
        case {"type": "function", "function": {"name": str(name)}}:
            return tools.choose(offered, "required", name, last)
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode}}:
            return tools.choose(offered, mode, None, last)
        case _:
            raise InvalidRequest("tool_choice is none, auto, required or a function's name.", param="tool_choice")


def _formatted(wanted: Json | None) -> str | None:
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return JSON_OBJECT
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return json_for(schema, "response_format.json_schema.schema")
        case {"type": "json_schema", "json_schema": {"name": str()}}:
            return JSON_OBJECT
        case _:
            raise InvalidRequest(
                "response_format is of type text, json_object or json_schema (with a schema).", param="response_format"
            )
