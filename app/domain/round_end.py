"""How a round of a run ends: what becomes of the run, which steps it took, and what it leaves in the conversation.

It is worked out of what came of the answer and nothing else, so that whoever does it comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from app.domain.completion import Completion, output_items
from app.domain.item import ANSWER, Item, position
from app.domain.run import NO_TOKENS, IncompleteReason, LastError, Run, RunStatus, Tokens
from app.domain.run_step import RunStep, StepStatus
from app.domain.thread import Reason, conversation_id

Ending = Literal["answered", "too_long", "cancelled", "expired", "failed"]
"""``answered``: the engine came to the end of its answer, maybe of what it was allowed. ``too_long``: the prompt is."""

BROKEN: Final = LastError("server_error", "The answer broke off. What came before is kept; run it again.")
_REASONS: Final[Mapping[Ending, Reason]] = {
    "answered": "max_tokens",
    "too_long": "max_tokens",
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "failed": "run_failed",
}
_ENDED: Final[Mapping[Ending, StepStatus]] = {
    "answered": "completed",
    "too_long": "completed",
    "cancelled": "cancelled",
    "expired": "expired",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class RoundEnd:
    """What there is to store, and to tell.

    Attributes:
        run: As it is now.
        steps: Of this round.
        items: For the conversation.
    """

    run: Run
    steps: Sequence[RunStep] = ()
    items: Sequence[Item] = ()


def end_round(
    run: Run, completion: Completion, ending: Ending, now_ms: int, error: LastError | None = None
) -> RoundEnd:
    """End the round that a run is in.

    Args:
        run: As it was before.
        completion: What came of the answer.
        ending: How it ended.
        error: Why it failed.
    """
    tokens = _tokens(completion)
    items = _items(run, completion, ending, now_ms)
    calls = [_call(item.body) for item in items if item.body["type"] == "function_call"]
    status = _status(completion, ending, bool(calls))
    failure = (error or BROKEN) if status == "failed" else None
    after = replace(
        run,
        status=status,
        told=run.told + len(items),
        tokens=run.tokens + tokens,
        calls=calls if status == "requires_action" else (),
        error=failure,
        incomplete=_incomplete(ending) if status == "incomplete" else None,
        ended_at_ms=None if status == "requires_action" else now_ms,
    )
    return RoundEnd(after, _steps(run, items, calls, ending, status, tokens, now_ms, failure), items)


def _status(completion: Completion, ending: Ending, has_calls: bool) -> RunStatus:
    if ending == "too_long":
        return "incomplete"
    if ending != "answered":
        return ending
    choice = completion.first
    if choice is None or choice.finish_reason is None:
        return "failed"
    if choice.finish_reason == "length":
        return "incomplete"
    return "requires_action" if has_calls else "completed"


def _incomplete(ending: Ending) -> IncompleteReason:
    return "max_prompt_tokens" if ending == "too_long" else "max_completion_tokens"


def _items(run: Run, completion: Completion, ending: Ending, now_ms: int) -> list[Item]:
    items: list[Item] = []
    for body in output_items(completion, run.tail):
        extra: dict[str, Any] = {"run_id": run.id, "assistant_id": run.assistant, "ended_at_ms": now_ms}
        if body["status"] == "incomplete":
            extra["reason"] = _REASONS[ending]
        place = position(run.turn, ANSWER + run.told + len(items))
        conversation = conversation_id(run.thread)
        items.append(Item(body["id"], body, place, run.round_at_ms, conversation, side="output", extra=extra))
    return items


def _call(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": body["call_id"],
        "type": "function",
        "function": {"name": body["name"], "arguments": body["arguments"]},
    }


def _steps(  # noqa: PLR0913, PLR0917 - all that a step is made of
    run: Run,
    items: Sequence[Item],
    calls: Sequence[Mapping[str, Any]],
    ending: Ending,
    status: RunStatus,
    tokens: Tokens,
    now_ms: int,
    error: LastError | None,
) -> list[RunStep]:
    steps: list[RunStep] = []
    ended: StepStatus = "failed" if status == "failed" else _ENDED[ending]
    for item in items:
        if item.body["type"] == "message":
            said = item.body["status"] == "completed"
            step = RunStep.saying(run, item.id)
            whole: StepStatus = "completed" if said else ended
            steps.append(replace(step, status=whole, ended_at_ms=now_ms, error=error if whole == "failed" else None))
    if calls:
        step = RunStep.calling(run, calls)
        if status != "requires_action":
            # Nobody will be asked to make them.
            stopped: StepStatus = "cancelled" if ended == "completed" else ended
            step = replace(step, status=stopped, ended_at_ms=now_ms, error=error)
        steps.append(step)
    if not steps:
        return steps
    # All of it is the round's, whose last step has it.
    return [*(replace(step, tokens=NO_TOKENS) for step in steps[:-1]), replace(steps[-1], tokens=tokens)]


def _tokens(completion: Completion) -> Tokens:
    usage = completion.usage or {}
    return Tokens(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
