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
    Parts,
    Reading,
    event,
    interleaved,
)

JSON_OBJECT = '{"text":"the manta is a ray","fins":2,"tame":false}'
"""The answer where any JSON object will do."""

UNRATED = ("tool", "reasoning")
"""Parts of an answer without log probabilities."""


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
    lengths = [answer.length for answer in answers]
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
        first = answer.parts[0]
        role = self._chunk(index, {"role": "assistant", "content": "" if first.kind == "text" else None})
        return role + self._call_opening(index, answer, 0)

    def _call_opening(self, index: int, answer: Answer, at: int) -> bytes:
        """What the call that is part ``at`` of a choice is called; nothing of other parts."""
        part = answer.parts[at]
        if part.kind != "tool":
            return b""
        number = _number(answer, at)
        call = self._call(index, part, number, arguments="")
        return self._chunk(index, {"tool_calls": [{"index": number, **call}]})

    def _choice_frames(self, index: int) -> Frames | Parts:
        answer = self._answers[index]
        if not answer.ahead:
            return self._part_frames(index, answer, 0)
        openings = [b"", *(self._call_opening(index, answer, at) for at in range(1, len(answer.parts)))]
        frames = [self._part_frames(index, part, _number(answer, at)) for at, part in enumerate(answer.parts)]
        return Parts([*zip(frames, (len(part.pieces) for part in answer.parts), openings, strict=True)])

    def _part_frames(self, index: int, part: Answer, number: int) -> Frames:
        delta = {
            "text": {"content": TEXT},
            "refusal": {"refusal": TEXT},
            "reasoning": {"reasoning": TEXT},
            "tool": {"tool_calls": [{"index": number, "function": {"arguments": TEXT}}]},
        }[part.kind]
        if not self._request.logprobs or part.kind in UNRATED:
            return Frames(part.pieces, self._chunk(index, delta))
        extras = [msgspec.json.encode(self._logprob_part(part, [piece])) for piece in part.pieces]
        return Frames(part.pieces, self._chunk(index, delta, logprobs=EXTRA), extras)

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
        for part in answer.parts:
            if part.kind != "tool":
                message["content" if part.kind == "text" else part.kind] = part.text
        calls = [part for part in answer.parts if part.kind == "tool" and part.pieces]
        if not calls:
            return message
        told = [self._call(index, part, number, arguments=part.text) for number, part in enumerate(calls)]
        return message | {"tool_calls": told}

    def _call(self, index: int, part: Answer, number: int, arguments: str) -> Json:
        id_ = f"call_{self._caller.request_id}_{index}" + (f"_{number}" if number else "")
        return {"id": id_, "type": "function", "function": {"name": part.tool, "arguments": arguments}}

    def _logprobs(self, answer: Answer) -> Json | None:
        if not self._request.logprobs or answer.kind in UNRATED:
            return None
        return self._logprob_part(answer, answer.pieces)

    def _logprob_part(self, answer: Answer, pieces: list[str]) -> Json:
        number = self._request.top_logprobs or 0
        rows = [logprobs.for_chat(self._script, piece, number) for piece in pieces if piece]
        return {"content": None, "refusal": None} | {"refusal" if answer.kind == "refusal" else "content": rows}

    def _usage(self) -> Json:
        completion = sum(answer.length for answer in self._answers)
        thought = sum(len(part.pieces) for answer in self._answers for part in answer.ahead if part.kind == "reasoning")
        told = {"completion_tokens_details": {"reasoning_tokens": thought}} if thought else {}
        return {
            "prompt_tokens": self._reading.tokens,
            "completion_tokens": completion,
            "total_tokens": self._reading.tokens + completion,
            **self._reading.details(),
            **told,
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


def _number(answer: Answer, at: int) -> int:
    """Which call of a choice its part ``at`` is, or would be."""
    return sum(part.kind == "tool" for part in answer.parts[:at])


def _demand(request: ChatRequest, text: str) -> Demand:
    called = _tools(request)
    tool = called[-1] if called else None
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
        calls_ahead=tuple((each.name, each.arguments()) for each in called[:-1]),
        thinks=True,
    )


def _tools(request: ChatRequest) -> list[tools.Tool]:
    offered = tools.of_openai(request.tools)
    last = prompt.last_user_text(request.messages)
    match request.tool_choice:
        case None | "auto":
            chosen = tools.choose(offered, "auto", None, last)
        case "none" | "required" as choice:
            chosen = tools.choose(offered, choice, None, last)
        case {"type": "function", "function": {"name": str(name)}}:
            # Another could be asked for as well, but this one is demanded.
            return [tool for tool in (tools.choose(offered, "required", name, last),) if tool]
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode}}:
            chosen = tools.choose(offered, mode, None, last)
        case _:
            raise InvalidRequest("tool_choice is none, auto, required or a function's name.", param="tool_choice")
    if chosen is None:
        return []
    return [chosen] if request.parallel_tool_calls is False else tools.all_asked(offered, chosen, last)


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
