"""Runs: an assistant's turn in a thread, from the question to the last answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RunStatus = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]
OVER: frozenset[RunStatus] = frozenset(("cancelled", "failed", "completed", "incomplete", "expired"))
"""A run that is over stays as it is."""

ErrorCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
IncompleteReason = Literal["max_completion_tokens", "max_prompt_tokens"]


@dataclass(frozen=True, slots=True)
class LastError:
    """Why a run failed."""

    code: ErrorCode
    message: str

    def to_dict(self) -> dict[str, str]:
        """As runs show it."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What answers took."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def to_dict(self) -> dict[str, int]:
        """As runs and steps show it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a run was told: the assistant's word where the run's own was missing.

    Attributes:
        model: Id or alias of the model, as the caller wrote it.
        instructions: The system prompt; empty for none.
        tools: Functions, as callers write them.
        tool_choice: As callers write it.
        response_format: ``auto``, or an object as callers write it.
        truncation: The type and how many of the last messages, as runs show it.
    """

    model: str
    instructions: str = ""
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    response_format: str | Mapping[str, Any] = "auto"
    truncation: Mapping[str, Any] = field(default_factory=lambda: {"type": "auto", "last_messages": None})
    parallel_tool_calls: bool = True
    temperature: float | None = None
    top_p: float | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As runs show it."""
        return {
            "model": self.model,
            "instructions": self.instructions,
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "response_format": self.response_format,
            "truncation_strategy": dict(self.truncation),
            "parallel_tool_calls": self.parallel_tool_calls,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_prompt_tokens": self.max_prompt_tokens,
            "max_completion_tokens": self.max_completion_tokens,
            "reasoning_effort": self.reasoning_effort,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands. A run asks its model once, and once more after each lot of outputs: its rounds.

    Attributes:
        thread: The thread's id.
        key_id: The API key that it is made with, whose limits and models are the run's.
        expires_at_ms: When it ends if it has not by then, also while it waits for outputs.
        ended_at_ms: When it came to its last status.
        turn: Of the conversation, all that the run says or is told is in it.
        told: How many items it has in its turn after the question.
        tail: Of the ids of what the round under way brings.
        round_at_ms: When that round began.
        calls: What it waits for, while it requires action.
        streamed: Whether somebody is shown the round under way as it happens.
        tokens: What all rounds took so far.
    """

    id: str
    owner: str
    thread: str
    assistant: str
    created_at_ms: int
    expires_at_ms: int
    order: RunOrder
    key_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    status: RunStatus = "queued"
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    turn: int = 0
    told: int = 0
    tail: str = ""
    round_at_ms: int = 0
    calls: Sequence[Mapping[str, Any]] = ()
    streamed: bool = False
    tokens: Tokens = NO_TOKENS
    error: LastError | None = None
    incomplete: IncompleteReason | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in OVER

    @property
    def message_step(self) -> str:
        """The id of the step in which the round under way says something."""
        return f"step_{self.tail}00"

    @property
    def calls_step(self) -> str:
        """The id of the step in which the round under way calls functions."""
        return f"step_{self.tail}01"

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's run object."""
        ended = self.ended_at_ms
        return {
            "id": self.id,
            "object": "thread.run",
            "created_at": self.created_at_ms // 1000,
            "assistant_id": self.assistant,
            "thread_id": self.thread,
            "status": self.status,
            "required_action": self._required_action(),
            "last_error": self.error and self.error.to_dict(),
            "expires_at": None if self.is_over else self.expires_at_ms // 1000,
            "started_at": seconds(self.started_at_ms),
            "cancelled_at": seconds(ended) if self.status == "cancelled" else None,
            "failed_at": seconds(ended) if self.status == "failed" else None,
            "completed_at": seconds(ended) if self.status == "completed" else None,
            "incomplete_details": {"reason": self.incomplete} if self.status == "incomplete" else None,
            **self.order.to_dict(),
            "metadata": dict(self.metadata),
            "usage": self.tokens.to_dict() if self.is_over else None,
        }

    def _required_action(self) -> dict[str, Any] | None:
        if self.status != "requires_action":
            return None
        return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": list(self.calls)}}


def seconds(at_ms: int | None) -> int | None:
    """A time as the API shows it."""
    return None if at_ms is None else at_ms // 1000
