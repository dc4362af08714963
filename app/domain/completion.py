"""An engine's answer to a chat, put together of what it sent: the whole of it, or what came before it broke off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.domain.chat_chunk import CallDelta, Chunk, ChunkChoice, Logprobs, decoded, shown_logprobs

DONE: Final = b"data: [DONE]"
_DATA: Final = b"data: "
_WELL_ENDED: Final = frozenset(("stop", "tool_calls", "function_call"))
"""How a choice ends that says all that the model wanted to say."""

Json = dict[str, Any]


@dataclass(slots=True)
class ToolCall:
    """A call that the model made; its arguments may have been cut off."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def to_dict(self) -> Json:
        """As a chat completion shows it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(slots=True)
class Choice:
    """One of the answers.

    Attributes:
        content: Its text; None where the engine sent none, not even an empty one.
        finish_reason: Why it ended; None where it broke off.
        logprobs: OpenAI's object, if they were asked for.
        later: What of the content came behind calls, by how many had begun by then.
    """

    index: int
    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    finish_reason: str | None = None
    logprobs: Json | None = None
    later: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def says_something(self) -> bool:
        """Whether there is anything of it to keep."""
        return bool(self.content or self.reasoning or self.refusal or self.tool_calls or self.finish_reason)

    @property
    def status(self) -> str:
        """``completed``, or ``incomplete`` where it was cut off: by its bound, or because it broke off."""
        return "completed" if self.finish_reason in _WELL_ENDED else "incomplete"

    def to_dict(self) -> Json:
        """As a whole chat completion shows it; one that broke off ended for want of length."""
        message: Json = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        if self.reasoning is not None:
            message["reasoning"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        finish_reason = self.finish_reason or "length"
        return {"index": self.index, "message": message, "logprobs": self.logprobs, "finish_reason": finish_reason}


@dataclass(slots=True)
class Completion:
    """A chat completion.

    Attributes:
        complete: Whether the engine came to the end of it.
        error: What the engine said went wrong, if it did.
    """

    id: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    choices: list[Choice] = field(default_factory=list[Choice])
    usage: Json | None = None
    complete: bool = False
    error: Json | None = None

    @property
    def first(self) -> Choice | None:
        """The first choice, if anything came of it."""
        return self.choices[0] if self.choices and self.choices[0].says_something else None

    def to_dict(self) -> Json:
        """OpenAI's whole chat completion."""
        shown: Json = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice.to_dict() for choice in self.choices],
        }
        if self.system_fingerprint is not None:
            shown["system_fingerprint"] = self.system_fingerprint
        if self.usage is not None:
            shown["usage"] = self.usage
        return shown


def of_stream(stream: bytes) -> Completion:
    """What the events of a chat's stream say. An event that was cut off was never seen, and does not count."""
    parts = _Parts()
    completion = parts.completion
    for event in stream.split(b"\n\n")[:-1]:
        line = event[event.rfind(b"\n") + 1 :] if not event.startswith(_DATA) else event
        if line.startswith(DONE):
            completion.complete = completion.error is None
        elif line.startswith(_DATA) and (chunk := decoded(line[len(_DATA) :])) is not None:
            parts.add(chunk)
    return parts.finished()


def of_body(body: bytes) -> Completion:
    """What a whole chat completion says; nothing, where it is an error or was cut off."""
    answer = decoded(body)
    if answer is None:
        return Completion()
    parts = _Parts()
    parts.add(answer)
    parts.completion.complete = parts.completion.error is None
    return parts.finished()


def output_items(completion: Completion, tail: str) -> list[Json]:
    """The answer as items, its first choice alone: what the model thought, what it said, the calls that it made.

    Args:
        completion: What came of it.
        tail: What their ids end with; those of calls have two digits more.
    """
    choice = completion.first
    if choice is None:
        return []
    items: list[Json] = []
    if choice.reasoning:
        thought = [{"type": "reasoning_text", "text": choice.reasoning}]
        items.append({"type": "reasoning", "id": f"rs_{tail}", "summary": [], "content": thought})
    if content := _content(choice):
        items.append(_message(items, tail, content))
    for index, call in enumerate(choice.tool_calls):
        id_ = f"{tail}{index:02x}"
        called = {"call_id": call.id or f"call_{id_}", "name": call.name, "arguments": call.arguments}
        items.append({"type": "function_call", "id": f"fc_{id_}", **called})
        # Between calls, models break lines.
        if (text := choice.later.get(index + 1, "")).strip():
            items.append(_message(items, tail, [_text(text, [])]))
    for item in items:
        item["status"] = "completed"
    # What came before the last was said to its end.
    items[-1]["status"] = choice.status
    return items


def logprobs_of(choice: Choice, kind: str) -> list[Json]:
    """Log probabilities as output items show them; ``kind`` is ``content`` or ``refusal``."""
    return shown_logprobs((choice.logprobs or {}).get(kind))


def _content(choice: Choice) -> list[Json]:
    parts: list[Json] = []
    said = choice.content or ""
    first = said[: len(said) - sum(map(len, choice.later.values()))]
    # An answer that says nothing is one all the same, if nothing else came of it.
    if first or not (choice.refusal or choice.tool_calls or choice.reasoning):
        parts.append(_text(first, logprobs_of(choice, "content")))
    if choice.refusal:
        parts.append({"type": "refusal", "refusal": choice.refusal})
    return parts


def _text(text: str, logprobs: list[Json]) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _message(before: Sequence[Json], tail: str, content: list[Json]) -> Json:
    others = sum(item["type"] == "message" for item in before)
    id_ = f"msg_{tail}{others:02x}" if others else f"msg_{tail}"
    return {"type": "message", "id": id_, "role": "assistant", "content": content}


@dataclass(slots=True)
class _Texts:
    """What a choice gathers while it comes."""

    content: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    refusal: list[str] = field(default_factory=list[str])
    calls: dict[int, ToolCall] = field(default_factory=dict[int, ToolCall])
    arguments: dict[int, list[str]] = field(default_factory=dict[int, list[str]])


class _Parts:
    """A completion that is being put together."""

    def __init__(self) -> None:
        self.completion = Completion()
        self._choices: dict[int, Choice] = {}
        self._texts: dict[int, _Texts] = {}

    def add(self, chunk: Chunk) -> None:
        completion = self.completion
        if not completion.id and chunk.id:
            completion.id, completion.created, completion.model = chunk.id, chunk.created, chunk.model
            completion.system_fingerprint = chunk.system_fingerprint
        completion.usage = chunk.usage or completion.usage
        completion.error = chunk.error or completion.error
        for part in chunk.choices:
            self._add_to_choice(part)

    def finished(self) -> Completion:
        for index, choice in sorted(self._choices.items()):
            texts = self._texts[index]
            choice.content = _joined(texts.content)
            choice.reasoning = _joined(texts.reasoning) or None
            choice.refusal = _joined(texts.refusal) or None
            for number, call in sorted(texts.calls.items()):
                call.arguments = "".join(texts.arguments[number])
                choice.tool_calls.append(call)
            self.completion.choices.append(choice)
        return self.completion

    def _add_to_choice(self, part: ChunkChoice) -> None:
        choice = self._choices.setdefault(part.index, Choice(part.index))
        texts = self._texts.setdefault(part.index, _Texts())
        choice.finish_reason = part.finish_reason or choice.finish_reason
        if part.logprobs is not None:
            _extend(choice, part.logprobs)
        said = part.delta or part.message
        if said is None:
            return
        if said.content is not None:
            texts.content.append(said.content)
            if (begun := len(texts.calls)) and said.content:
                choice.later[begun] = choice.later.get(begun, "") + said.content
        if (thought := said.reasoning or said.reasoning_content) is not None:
            texts.reasoning.append(thought)
        if said.refusal is not None:
            texts.refusal.append(said.refusal)
        for place, call in enumerate(said.tool_calls or ()):
            _add_call(texts, place if call.index is None else call.index, call)


def _add_call(texts: _Texts, index: int, part: CallDelta) -> None:
    call = texts.calls.setdefault(index, ToolCall())
    arguments = texts.arguments.setdefault(index, [])
    call.id = call.id or part.id or ""
    if part.function is not None:
        call.name = call.name or part.function.name or ""
        arguments.append(part.function.arguments or "")


def _extend(choice: Choice, more: Logprobs) -> None:
    if choice.logprobs is None:
        choice.logprobs = {"content": None, "refusal": None}
    for kind, rows in (("content", more.content), ("refusal", more.refusal)):
        if rows is not None:
            choice.logprobs[kind] = [*(choice.logprobs[kind] or ()), *rows]


def _joined(texts: Iterable[str]) -> str | None:
    gathered = list(texts)
    return "".join(gathered) if gathered else None
