"""POST /v1/messages and /v1/messages/count_tokens, Anthropic's."""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import InvalidRequest
from deployments.engines.scripted import prompt, tokens, tools
from deployments.engines.scripted.requests import Json, MessagesRequest, parse
from deployments.engines.scripted.script import Answer, Demand, Script
from deployments.engines.scripted.values import json_for
from deployments.engines.scripted.wire import TEXT, Caller, Frames, Job, Reading, event


def messages(body: bytes, caller: Caller, script: Script) -> Job:
    """Answer a chat in Anthropic's terms.

    Raises:
        ApiError: The request cannot be answered as it stands.
    """
    request = parse(body, MessagesRequest)
    if request.max_tokens is None:
        raise InvalidRequest("max_tokens is missing.", param="max_tokens")
    text = _prompt(request)
    prompt_tokens = tokens.count(text)
    answer = script.answers(_demand(request, text), prompt_tokens)[0]
    reading = Reading(text, prompt_tokens)
    reply = MessageReply(caller, answer, reading)
    return Job(reply.body, [len(answer.pieces)], text, reply if request.stream else None, reading)


def count_tokens(body: bytes, caller: Caller, script: Script) -> Job:
    """Count a chat's tokens, as ``messages`` would.

    Raises:
        ApiError: The request cannot be read.
    """
    text = _prompt(parse(body, MessagesRequest))
    return Job(lambda: {"input_tokens": tokens.count(text)})


class MessageReply:
    """The answer, whole or as a stream. Every field that Anthropic's schema requires is there, null where unused."""

    def __init__(self, caller: Caller, answer: Answer, reading: Reading) -> None:
        self._caller = caller
        self._answer = answer
        self._reading = reading
        delta = (
            {"type": "input_json_delta", "partial_json": TEXT}
            if answer.kind == "tool"
            else {"type": "text_delta", "text": TEXT}
        )
        self._frames = Frames(answer.pieces, _event("content_block_delta", index=0, delta=delta))

    def body(self) -> Json:
        """The whole answer."""
        ending = self._ending() | {"usage": self._usage(len(self._answer.pieces))}
        return self._message() | {"content": [self._block(whole=True)]} | ending

    def opening(self) -> bytes:
        """The message without content, and the start of its only block."""
        start = _event("message_start", message=self._message())
        return start + _event("content_block_start", index=0, content_block=self._block(whole=False))

    def tokens(self, first: int, end: int) -> bytes:
        """See ``Stream.tokens``."""
        return self._frames.slice(first, end)

    def closing(self) -> bytes:
        """The block's end, why it ended, and the message's end."""
        tail = _event("message_delta", delta=self._ending(), usage=self._usage(len(self._answer.pieces)))
        return _event("content_block_stop", index=0) + tail + _event("message_stop")

    def _message(self) -> Json:
        return {
            "id": f"msg_{self._caller.request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._caller.model,
            "content": [],
            "container": None,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(0),
        }

    def _block(self, *, whole: bool) -> Json:
        answer = self._answer
        if answer.kind != "tool":
            return {"type": "text", "text": answer.text if whole else "", "citations": None}
        id_ = f"toolu_{self._caller.request_id}"
        arguments = msgspec.json.decode(answer.text) if whole and answer.complete else {}
        return {"type": "tool_use", "id": id_, "name": answer.tool, "input": arguments}

    def _ending(self) -> Json:
        return {"stop_reason": self._stop_reason(), "stop_sequence": self._answer.stop}

    def _stop_reason(self) -> str:
        answer = self._answer
        if not answer.complete:
            return "max_tokens"
        if answer.stop is not None:
            return "stop_sequence"
        return {"text": "end_turn", "tool": "tool_use", "refusal": "refusal"}[answer.kind]

    def _usage(self, output_tokens: int) -> Json:
        return {
            "input_tokens": self._reading.tokens - (self._reading.cached or 0),
            "output_tokens": output_tokens,
            "cache_creation": None,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self._reading.cached or 0,
            "server_tool_use": None,
            "service_tier": "standard",
        }


def _event(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)


def _prompt(request: MessagesRequest) -> str:
    system = prompt.text_of(request.system)
    told = [{"role": "system", "content": system}] if system else []
    return prompt.of_chat([*told, *request.messages], request.tools)


def _demand(request: MessagesRequest, text: str) -> Demand:
    tool = _tool(request)
    return Demand(
        prompt=text,
        seed=request.seed,
        max_tokens=request.max_tokens,
        stops=tuple(request.stop_sequences or ()),
        tool=tool.name if tool else None,
        json=tool.arguments() if tool else _formatted(request.output_config),
    )


def _tool(request: MessagesRequest) -> tools.Tool | None:
    offered = tools.of_anthropic(request.tools)
    last = prompt.last_user_text(request.messages)
    match request.tool_choice:
        case None | {"type": "auto"}:
            return tools.choose(offered, "auto", None, last)
        case {"type": "any"}:
            return tools.choose(offered, "required", None, last)
        case {"type": "none"}:
            return None
        case {"type": "tool", "name": str(name)}:
            return tools.choose(offered, "required", name, last)
        case _:
            raise InvalidRequest("tool_choice is of type auto, any, none or tool (with a name).", param="tool_choice")


def _formatted(config: Json | None) -> str | None:
    match config:
        case {"format": {"type": "json_schema", "schema": schema}}:
            return json_for(schema, "output_config.format.schema")
        case _:
            return None
