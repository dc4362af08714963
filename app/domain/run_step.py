"""The steps of a run: it said something, or it called functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.run import LastError, Run, Tokens, seconds

StepStatus = Literal["in_progress", "cancelled", "failed", "completed", "expired"]


@dataclass(frozen=True, slots=True)
class RunStep:
    """One step.

    Attributes:
        message: The id of what was said; None in a step of calls.
        calls: What was called, each as steps show it, with its output once that is there.
    """

    id: str
    run: str
    thread: str
    assistant: str
    owner: str
    created_at_ms: int
    message: str | None = None
    calls: Sequence[Mapping[str, Any]] = ()
    status: StepStatus = "in_progress"
    ended_at_ms: int | None = None
    tokens: Tokens | None = None
    error: LastError | None = None

    @classmethod
    def saying(cls, run: Run, message: str) -> RunStep:
        """The step of a run's round in which it says something."""
        return cls(run.message_step, run.id, run.thread, run.assistant, run.owner, run.round_at_ms, message=message)

    @classmethod
    def calling(cls, run: Run, calls: Sequence[Mapping[str, Any]] = ()) -> RunStep:
        """The step of a run's round in which it calls functions."""
        shown = [step_call(call) for call in calls]
        return cls(run.calls_step, run.id, run.thread, run.assistant, run.owner, run.round_at_ms, calls=shown)

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's run step object."""
        ended = self.ended_at_ms
        error = self.error
        return {
            "id": self.id,
            "object": "thread.run.step",
            "created_at": self.created_at_ms // 1000,
            "run_id": self.run,
            "assistant_id": self.assistant,
            "thread_id": self.thread,
            "type": "tool_calls" if self.message is None else "message_creation",
            "status": self.status,
            "step_details": self._details(),
            # Steps know two codes alone.
            "last_error": error and {**error.to_dict(), "code": _step_code(error)},
            "expired_at": seconds(ended) if self.status == "expired" else None,
            "cancelled_at": seconds(ended) if self.status == "cancelled" else None,
            "failed_at": seconds(ended) if self.status == "failed" else None,
            "completed_at": seconds(ended) if self.status == "completed" else None,
            "metadata": {},
            "usage": self.tokens and self.tokens.to_dict(),
        }

    def _details(self) -> dict[str, Any]:
        if self.message is not None:
            return {"type": "message_creation", "message_creation": {"message_id": self.message}}
        return {"type": "tool_calls", "tool_calls": list(self.calls)}


def step_call(call: Mapping[str, Any], output: str | None = None) -> dict[str, Any]:
    """A call as steps show it: with its output, which is not there at first."""
    return {**call, "function": {**call["function"], "output": output}}


def _step_code(error: LastError) -> str:
    return error.code if error.code == "rate_limit_exceeded" else "server_error"
