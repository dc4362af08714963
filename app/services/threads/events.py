"""What is told of a run while it happens: OpenAI's events, made of what a chat's stream says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from app.domain.chat_chunk import CallDelta, Delta, FunctionDelta, decoded
from app.domain.item import Item
from app.domain.round_end import RoundEnd
from app.domain.run import Run
from app.domain.run_step import RunStep
from app.domain.thread import message_of

DONE: Final = b"event: done\ndata: [DONE]\n\n"
_DATA: Final = b"data: "


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def run_event(run: Run, status: str | None = None) -> bytes:
    """That a run is now what it is; or ``created``."""
    return event(f"thread.run.{status or run.status}", run.to_dict())


def step_event(step: RunStep, status: str | None = None) -> bytes:
    """That a step is now what it is; or ``created``."""
    return event(f"thread.run.step.{status or step.status}", step.to_dict())


class RoundEvents:
    """The events of one round of a run.

    Args:
        run: In its round.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._message = f"msg_{run.tail}"
        self._rest = b""
        self._parts: dict[str, int] = {}
        self._calls: set[int] = set()
        self._saying = False

    def feed(self, chunk: bytes) -> bytes:
        """What there is to tell of more of the chat's stream."""
        told: list[bytes] = []
        *frames, self._rest = (self._rest + chunk).split(b"\n\n")
        for frame in frames:
            # What an engine says beyond what is known here is nothing to tell.
            if frame.startswith(_DATA) and (said := decoded(frame[len(_DATA) :])) is not None:
                for choice in said.choices:
                    if choice.delta is not None:
                        self._delta(choice.delta, told)
        return b"".join(told)

    def end(self, end: RoundEnd) -> bytes:
        """What there is to tell of the round's end: all that is open is closed."""
        told: list[bytes] = []
        messages = {item.id: item for item in end.items if item.body["type"] == "message"}
        for step in end.steps:
            if step.message is not None:
                if not self._saying:
                    self._open_message(told)
                shown = message_of(messages[step.message], step.thread)
                told.append(event(f"thread.message.{shown['status']}", shown))
                told.append(step_event(step))
            elif step.status != "in_progress":
                if not self._calls:
                    self._open_calls(told)
                told.append(step_event(step))
        told += (run_event(end.run), DONE)
        return b"".join(told)

    def _delta(self, delta: Delta, told: list[bytes]) -> None:
        if delta.content:
            self._say("text", {"text": {"value": delta.content, "annotations": []}}, told)
        if delta.refusal:
            self._say("refusal", {"refusal": delta.refusal}, told)
        for place, call in enumerate(delta.tool_calls or ()):
            self._call(place if call.index is None else call.index, call, told)

    def _say(self, kind: str, piece: Mapping[str, Any], told: list[bytes]) -> None:
        if not self._saying:
            self._open_message(told)
        index = self._parts.setdefault(kind, len(self._parts))
        content = [{"index": index, "type": kind, **piece}]
        delta = {"id": self._message, "object": "thread.message.delta", "delta": {"content": content}}
        told.append(event("thread.message.delta", delta))

    def _open_message(self, told: list[bytes]) -> None:
        self._saying = True
        run = self._run
        step = RunStep.saying(run, self._message)
        body = {"type": "message", "role": "assistant", "status": "in_progress", "content": list[Any]()}
        extra = {"run_id": run.id, "assistant_id": run.assistant}
        message = message_of(Item(self._message, body, 0, run.round_at_ms, None, extra=extra), run.thread)
        told += (step_event(step, "created"), step_event(step))
        told += (event("thread.message.created", message), event("thread.message.in_progress", message))

    def _call(self, index: int, call: CallDelta, told: list[bytes]) -> None:
        if not self._calls:
            self._open_calls(told)
        function = call.function or FunctionDelta()
        shown: dict[str, Any] = {"index": index, "type": "function"}
        if index not in self._calls:
            self._calls.add(index)
            shown["id"] = call.id or ""
            named = {"name": function.name or "", "arguments": function.arguments or "", "output": None}
            shown["function"] = named
        else:
            shown["function"] = {"arguments": function.arguments or ""}
        details = {"type": "tool_calls", "tool_calls": [shown]}
        delta = {
            "id": self._run.calls_step,
            "object": "thread.run.step.delta",
            "delta": {"step_details": details},
        }
        told.append(event("thread.run.step.delta", delta))

    def _open_calls(self, told: list[bytes]) -> None:
        step = replace(RunStep.calling(self._run), tokens=None)
        told += (step_event(step, "created"), step_event(step))
