"""What a run is told: what its caller said, and the assistant's word where they said nothing."""

from __future__ import annotations

from typing import Any

from app.domain.assistant import ANY_MODEL, Assistant
from app.domain.run import RunOrder
from app.errors import InvalidRequest
from app.schemas.runs import CreateRunRequest, RunFields
from app.services.threads.assistants import shown_format, shown_tool

Message = dict[str, Any]


def order_of(assistant: Assistant, wanted: RunFields) -> RunOrder:
    """A run's order.

    Raises:
        InvalidRequest: Neither names a model.
    """
    model = wanted.model or assistant.model
    if model == ANY_MODEL:
        raise InvalidRequest("`model` is required: the assistant is for any, and leaves it to you.", param="model")
    format_ = assistant.response_format if wanted.response_format is None else shown_format(wanted.response_format)
    tools = assistant.tools if wanted.tools is None else [shown_tool(tool) for tool in wanted.tools]
    choice = wanted.tool_choice
    return RunOrder(
        model=model,
        instructions=_instructions(assistant, wanted),
        tools=tools,
        tool_choice=choice if isinstance(choice, str) else choice.model_dump() if choice else "auto",
        response_format=format_,
        truncation={"type": "auto", "last_messages": None}
        if wanted.truncation_strategy is None
        else wanted.truncation_strategy.model_dump(),
        parallel_tool_calls=wanted.parallel_tool_calls is not False,
        temperature=assistant.temperature if wanted.temperature is None else wanted.temperature,
        top_p=assistant.top_p if wanted.top_p is None else wanted.top_p,
        max_prompt_tokens=wanted.max_prompt_tokens,
        max_completion_tokens=wanted.max_completion_tokens,
        reasoning_effort=wanted.reasoning_effort or assistant.reasoning_effort,
    )


def chat_of(order: RunOrder, messages: list[Message], *, spent: int = 0, is_first: bool = True) -> Message:
    """The chat completion that asks for a round's answer, as a caller would write it.

    Args:
        order: The run's.
        messages: The conversation so far, instructions included.
        spent: How many tokens earlier rounds answered.
        is_first: Whether there were no earlier rounds.
    """
    chat: Message = {
        "model": order.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": order.temperature,
        "top_p": order.top_p,
        "reasoning_effort": order.reasoning_effort,
    }
    if order.max_completion_tokens is not None:
        chat["max_completion_tokens"] = max(1, order.max_completion_tokens - spent)
    if order.response_format != "auto":
        chat["response_format"] = order.response_format
    if order.tools:
        chat["tools"] = list(order.tools)
        if not order.parallel_tool_calls:
            chat["parallel_tool_calls"] = False
    # A call that is demanded is demanded once: no run would come to an answer otherwise.
    if order.tool_choice == "none" or (is_first and order.tool_choice != "auto"):
        chat["tool_choice"] = order.tool_choice
    return {name: value for name, value in chat.items() if value is not None}


def system_of(order: RunOrder) -> list[Message]:
    """The messages that instruct the model."""
    return [{"role": "system", "content": order.instructions}] if order.instructions else []


def _instructions(assistant: Assistant, wanted: RunFields) -> str:
    own = assistant.instructions if wanted.instructions is None else wanted.instructions
    more = wanted.additional_instructions if isinstance(wanted, CreateRunRequest) else None
    return "\n\n".join(text for text in (own, more) if text)
