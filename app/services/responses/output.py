"""The output of a response as an engine's chat brings it: what it thinks, what it says, the calls that it makes."""

from __future__ import annotations

from typing import Any

from app.domain.chat_chunk import CallDelta, ChunkChoice, shown_logprobs
from app.errors import ServerError
from app.services.responses.events import EventWriter
from app.services.responses.open_items import REFUSED, SAID, THOUGHT, CallItem, ContentItem, Text, TextKind

Json = dict[str, Any]


class Output:
    """One item after the other: another kind of delta ends the item before it.

    Args:
        events: Numbers the events.
        tail: What the ids of all items end with; those of calls, and of a second message, have two digits more.

    Attributes:
        target: The text that was added to last, as long as its item is open.
    """

    def __init__(self, events: EventWriter, tail: str) -> None:
        self._events = events
        self._tail = tail
        self._done: list[Json] = []
        self._content: ContentItem | None = None
        self._call: CallItem | None = None
        self._call_index = -1
        self._blank = ""
        self.target: Text | None = None

    @property
    def items(self) -> list[Json]:
        """The items so far; one that is still coming is incomplete."""
        item = self._content or self._call
        return list(self._done) if item is None else [*self._done, item.body("incomplete")]

    def add(self, choice: ChunkChoice) -> bytes:
        """The events of a delta.

        Raises:
            ServerError: The engine came back to a call that was over.
        """
        delta = choice.delta or choice.message
        if delta is None:
            return b""
        events: list[bytes] = []
        if thought := delta.reasoning or delta.reasoning_content:
            events.append(self._add_text(THOUGHT, thought, []))
        if delta.content is not None:
            logprobs = shown_logprobs(choice.logprobs.content if choice.logprobs else None)
            events.append(self._say(delta.content, logprobs))
        if delta.refusal:
            events.append(self._add_text(REFUSED, delta.refusal, []))
        for place, call in enumerate(delta.tool_calls or ()):
            events.append(self._add_call(place if call.index is None else call.index, call))
        return b"".join(events)

    def end(self, status: str) -> bytes:
        """The events of its end, the engine having come to one. An answer that says nothing is a message all the same.

        Args:
            status: Of the last item.
        """
        ended = self._close(status)
        if self._done:
            return ended
        said, opened = self._open_content("message")
        _, began = said.text_of(SAID)
        return ended + opened + began + self._close(status)

    def _say(self, text: str, logprobs: list[Json]) -> bytes:
        if self._call_index >= 0 and self._content is None:
            # Between calls, models break lines: that alone is no message.
            self._blank += text
            if not self._blank.strip():
                self.target = None
                return b""
            text, self._blank = self._blank, ""
        return self._add_text(SAID, text, logprobs) if text or logprobs else b""

    def _add_text(self, kind: TextKind, text: str, logprobs: list[Json]) -> bytes:
        item, opened = self._open_content("reasoning" if kind is THOUGHT else "message")
        self.target, began = item.text_of(kind)
        return opened + began + self.target.add_with_logprobs(text, logprobs)

    def _open_content(self, kind: str) -> tuple[ContentItem, bytes]:
        if self._content is not None and self._content.kind == kind:
            return self._content, b""
        closed = self._close("completed")
        head = {"type": kind, "id": self._new_id(kind)}
        head |= {"role": "assistant"} if kind == "message" else {"summary": []}
        self._content = ContentItem(self._events, len(self._done), head)
        return self._content, closed + self._content.opened()

    def _add_call(self, index: int, delta: CallDelta) -> bytes:
        function = delta.function
        name = (function and function.name) or ""
        arguments = (function and function.arguments) or ""
        opened = b""
        if self._call is None or index != self._call_index:
            if index <= self._call_index:
                if arguments.strip():
                    raise ServerError("The engine came back to a call that it had finished.")
                return b""
            opened = self._open_call(index, delta.id, name)
        call = self._call
        assert call is not None
        call.name = call.name or name
        self.target = call.arguments
        return opened + (call.arguments.add_with_logprobs(arguments, []) if arguments else b"")

    def _open_call(self, index: int, call_id: str | None, name: str) -> bytes:
        closed = self._close("completed")
        self._blank = ""
        id_ = f"{self._tail}{index:02x}"
        self._call = CallItem(self._events, len(self._done), f"fc_{id_}", call_id or f"call_{id_}", name)
        self._call_index = index
        return closed + self._call.opened()

    def _close(self, status: str) -> bytes:
        item = self._content or self._call
        if item is None:
            return b""
        closed = item.closed(status)
        self._done.append(item.body(status))
        self._content = self._call = self.target = None
        return closed

    def _new_id(self, kind: str) -> str:
        before = sum(item["type"] == kind for item in self._done)
        prefix = "msg" if kind == "message" else "rs"
        return f"{prefix}_{self._tail}{before:02x}" if before else f"{prefix}_{self._tail}"
