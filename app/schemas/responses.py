"""Responses: OpenAI's request to answer items, with state that we keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.conversation import PREFIX
from app.domain.ids import is_id
from app.errors import InvalidRequest
from app.schemas.common import Strict
from app.schemas.conversation_reference import ConversationReference
from app.schemas.extras import VENDOR_EXTRAS
from app.schemas.items import MAX_ITEM_BYTES, shown_items
from app.schemas.request import NO_EXTRAS, accept
from app.schemas.response_fields import (
    LOGPROBS,
    InputTokensRequest,
    ReasoningOptions,
    ResponseBasis,
    ResponseRequest,
)
from app.schemas.response_tools import TextOptions, choice_for_chat

Json = dict[str, Any]

REFUSED = {
    "context_management": "what came before is not compacted. Remove it; see `truncation`.",
    "moderation": "answers are not moderated. Remove it.",
    "prompt": "prompt templates are not kept here. Send `instructions` and `input`.",
}
"""OpenAI's parameters that would change the answer and that we cannot honour."""

SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", *sorted(VENDOR_EXTRAS))
"""What goes to the engine under the name that it came by."""


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """A request that passed.

    Attributes:
        model: The name the caller used, an alias perhaps.
        items: The input in the shape that the API shows, references (``item_reference``) among it; nothing perhaps,
            where something is continued.
        previous: The response that is continued.
        conversation: The conversation that is continued and added to.
        store: None where the caller did not say.
        fields: A chat completion's fields, without its model and messages.
        shown: What a response object repeats of it.
    """

    model: str
    items: list[Json]
    instructions: str | None
    previous: str | None
    conversation: str | None
    truncation: Literal["auto", "disabled"]
    stream: bool
    background: bool
    store: bool | None
    fields: Json
    shown: Json


def parse(body: Mapping[str, Any], *, extras: frozenset[str] = NO_EXTRAS) -> ParsedResponse:
    """Check a response's body.

    Args:
        body: The caller's JSON object.
        extras: The vendor extras that this installation allows.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, given = accept(ResponseRequest, body, extras=extras, refused=REFUSED)
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("`stream_options` needs `stream` to be true.", param="stream_options")
    if request.background and request.store is False:
        raise InvalidRequest("A response in the `background` is kept: `store` may not be false.", param="store")
    fields = _basis_fields(request)
    fields |= {name: given[name] for name in SAMPLING if name in given}
    if request.max_output_tokens is not None:
        fields["max_completion_tokens"] = request.max_output_tokens
    if LOGPROBS in (request.include or ()):
        fields |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    return _parsed(request, request.model, fields, shown=_shown(request))


def parse_input_tokens(body: Mapping[str, Any]) -> ParsedResponse:
    """Check the body of a question how many tokens a response's input would be.

    Raises:
        InvalidRequest: Something is wrong with it; ``param`` says with what.
    """
    request, _ = accept(InputTokensRequest, body, refused=REFUSED)
    return _parsed(request, request.model, _basis_fields(request), shown={})


def _parsed(request: ResponseBasis, model: str, fields: Json, *, shown: Json) -> ParsedResponse:
    options = request if isinstance(request, ResponseRequest) else None
    previous, conversation = _continued(request)
    return ParsedResponse(
        model=model,
        items=_items(request),
        instructions=request.instructions,
        previous=previous,
        conversation=conversation,
        truncation=request.truncation or "disabled",
        stream=bool(options and options.stream),
        background=bool(options and options.background),
        store=options.store if options else None,
        fields=fields,
        shown=shown,
    )


def _items(request: ResponseBasis) -> list[Json]:
    if isinstance(request.input, str):
        if len(request.input.encode()) > MAX_ITEM_BYTES:
            raise InvalidRequest(f"`input` may have at most {MAX_ITEM_BYTES} bytes. Send it in parts.", param="input")
        part = {"type": "input_text", "text": request.input}
        return [{"type": "message", "status": "completed", "role": "user", "content": [part]}]
    if request.input:
        return shown_items(request.input, "input")
    if request.previous_response_id is None and request.conversation is None:
        sentence = "is required" if request.input is None else "must not be empty"
        raise InvalidRequest(f"`input` {sentence}, unless something is continued.", param="input")
    return []


def _continued(request: ResponseBasis) -> tuple[str | None, str | None]:
    """The response, or the conversation, that is continued."""
    previous, conversation = request.previous_response_id, request.conversation
    if isinstance(conversation, ConversationReference):
        conversation = conversation.id
    if previous is not None and conversation is not None:
        sentence = "`previous_response_id` and `conversation` both say what is continued: give one of them."
        raise InvalidRequest(sentence, param="previous_response_id")
    if previous is not None and not is_id(previous, "resp"):
        raise InvalidRequest("`previous_response_id` must be the id of a response.", param="previous_response_id")
    if conversation is not None and not is_id(conversation, PREFIX):
        raise InvalidRequest("`conversation` must be the id of a conversation.", param="conversation")
    return previous, conversation


def _basis_fields(request: ResponseBasis) -> Json:
    """A chat completion's fields, as far as they shape prompt and answer."""
    tools = request.tools or []
    fields: Json = {
        "tools": [tool.for_chat() for tool in tools] or None,
        "tool_choice": choice_for_chat(request.tool_choice, tools),
        "parallel_tool_calls": request.parallel_tool_calls if tools else None,
        "response_format": request.text.for_chat() if request.text else None,
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _shown(request: ResponseRequest) -> Json:
    """What a response repeats of its request; its own defaults where nothing was said."""
    _, conversation = _continued(request)
    choice = request.tool_choice
    shown: Json = {
        "model": request.model,
        "instructions": request.instructions,
        "previous_response_id": request.previous_response_id,
        "conversation": {"id": conversation} if conversation else None,
        "tools": [tool.shown() for tool in request.tools or ()],
        "tool_choice": choice.model_dump() if isinstance(choice, Strict) else choice or "auto",
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "text": (request.text or TextOptions()).shown(),
        "truncation": request.truncation or "disabled",
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "top_logprobs": request.top_logprobs or 0,
        "reasoning": _shown_reasoning(request.reasoning),
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "store": request.store is not False,
        "background": bool(request.background),
        "service_tier": "default",
        "metadata": request.metadata or {},
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.prompt_cache_key,
    }
    return shown if request.user is None else shown | {"user": request.user}


def _shown_reasoning(reasoning: ReasoningOptions | None) -> Json | None:
    return None if reasoning is None else {"effort": reasoning.effort, "summary": reasoning.summary}
