from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.completion import Choice, Completion, ToolCall
from app.domain.item import ANSWER, position
from app.domain.round_end import Ending, end_round
from app.domain.run import NO_TOKENS, LastError, Run, RunOrder, Tokens
from tests.support.openai_schema import validate

TAIL = "0" * 32
RUN = Run(
    "run_1", "user_1", "thread_1", "asst_1", 1000, 601_000, RunOrder("m"), status="in_progress", turn=3, tail=TAIL
)
CALL = ToolCall("call_1", "look", "{}")
USAGE = {"prompt_tokens": 5, "completion_tokens": 7}


def answer(finish: str | None = "stop", **fields: Any) -> Completion:
    """An answer whose engine came to its end, unless it did not say why it stopped."""
    return Completion(choices=[Choice(0, finish_reason=finish, **fields)], usage=USAGE, complete=finish is not None)


def test_what_was_said_completes_the_run():
    end = end_round(RUN, answer(content="Hello"), "answered", 2000)
    assert (end.run.status, end.run.ended_at_ms, end.run.tokens) == ("completed", 2000, Tokens(5, 7))
    (item,), (step,) = end.items, end.steps
    assert (item.id, item.conversation, item.position) == (f"msg_{TAIL}", "conv_1", position(3, ANSWER))
    assert (step.message, step.status, step.tokens) == (item.id, "completed", Tokens(5, 7))


def test_calls_wait_for_their_outputs():
    end = end_round(RUN, answer("tool_calls", content="Let me see", tool_calls=[CALL, CALL]), "answered", 2000)
    assert (end.run.status, end.run.ended_at_ms, len(end.run.calls), end.run.told) == ("requires_action", None, 2, 3)
    said, called = end.steps
    assert (said.status, said.tokens, called.status, called.tokens) == (
        "completed",
        NO_TOKENS,
        "in_progress",
        Tokens(5, 7),
    )
    assert [item.position for item in end.items] == [position(3, ANSWER + index) for index in range(3)]


def test_a_later_round_goes_on_where_the_last_one_stopped():
    run = replace(RUN, told=4, tokens=Tokens(1, 1))
    end = end_round(run, answer(content="Hello"), "answered", 2000)
    assert end.items[0].position == position(3, ANSWER + 4)
    assert (end.run.told, end.run.tokens) == (5, Tokens(6, 8))


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [
        ("cancelled", "cancelled", "run_cancelled"),
        ("expired", "expired", "run_expired"),
        ("failed", "failed", "run_failed"),
    ],
)
def test_what_broke_off_is_kept_as_far_as_it_came(ending: Ending, status: str, reason: str):
    for fields in ({"content": "Hel"}, {"tool_calls": [CALL]}):
        end = end_round(RUN, answer(None, **fields), ending, 2000)
        assert end.run.status == status
        assert [step.status for step in end.steps] == [status]
        assert end.items[0].status == "incomplete"
        assert end.items[0].extra["reason"] == reason
        assert not end.run.calls
        validate("RunObject", end.run.to_dict())
        validate("RunStepObject", end.steps[0].to_dict())


def test_an_answer_that_was_cut_at_its_bound_is_incomplete():
    end = end_round(RUN, answer("length", content="Hel"), "answered", 2000)
    assert (end.run.status, end.run.incomplete) == ("incomplete", "max_completion_tokens")
    cut = end_round(RUN, answer("length", tool_calls=[CALL]), "answered", 2000)
    # Nobody is asked for calls of which the end is missing.
    assert (cut.run.status, [step.status for step in cut.steps]) == ("incomplete", ["cancelled"])


def test_a_prompt_that_is_too_long_says_so():
    end = end_round(RUN, Completion(), "too_long", 2000)
    assert end.run.to_dict()["incomplete_details"] == {"reason": "max_prompt_tokens"}
    assert not end.items
    assert not end.steps


def test_what_nobody_answered_fails():
    end = end_round(RUN, Completion(complete=True), "answered", 2000)
    assert end.run.status == "failed"
    told = end_round(RUN, Completion(), "failed", 2000, LastError("rate_limit_exceeded", "Too much."))
    assert told.run.to_dict()["last_error"] == {"code": "rate_limit_exceeded", "message": "Too much."}


def test_the_same_answer_comes_to_the_same():
    completion = answer("tool_calls", content="a", tool_calls=[CALL])
    assert end_round(RUN, completion, "answered", 2000) == end_round(RUN, completion, "answered", 2000)
