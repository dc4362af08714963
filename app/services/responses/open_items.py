"""Items of an answer that is still coming: what each adds to, and what the events say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.services.responses.events import EventWriter

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextKind:
    """A kind of text.

    Attributes:
        part: The type of its content part.
        field: Where the part has the text.
        event: What the names of its events begin with.
        shows_logprobs: Whether it has log probabilities.
    """

    part: str
    field: str
    event: str
    shows_logprobs: bool = False

    def body(self, text: str, logprobs: list[Json]) -> Json:
        """The content part."""
        part = {"type": self.part, self.field: text}
        return part | {"annotations": [], "logprobs": logprobs} if self.shows_logprobs else part


SAID: Final = TextKind("output_text", "text", "response.output_text", shows_logprobs=True)
REFUSED: Final = TextKind("refusal", "refusal", "response.refusal")
THOUGHT: Final = TextKind("reasoning_text", "text", "response.reasoning_text")


class Text:
    """A text that comes in pieces, each of them a JSON string as the engine wrote it.

    Args:
        events: Numbers the events.
        place: Where the text is: the fields that all of its events have.
        event: The name of the event that adds to it.
        shows_logprobs: Whether that event has log probabilities.
    """

    __slots__ = ("_after", "_events", "_head", "_pieces", "logprobs")

    def __init__(self, events: EventWriter, place: Json, event: str, *, shows_logprobs: bool = False) -> None:
        fields = msgspec.json.encode({"type": event, **place})
        self._events = events
        self._head = b"event: " + event.encode() + b"\ndata: " + fields[:-1] + b',"delta":'
        self._after = b',"logprobs":' if shows_logprobs else b""
        self._pieces: list[bytes] = []
        self.logprobs: list[Json] = []

    def add(self, quoted: bytes) -> bytes:
        """The event of another piece.

        Args:
            quoted: The piece as a JSON string, in its quotes.
        """
        events = self._events
        number = events.number
        events.number = number + 1
        self._pieces.append(quoted[1:-1])
        if self._after:
            return b'%b%b,"logprobs":[],"sequence_number":%d}\n\n' % (self._head, quoted, number)
        return b'%b%b,"sequence_number":%d}\n\n' % (self._head, quoted, number)

    def add_with_logprobs(self, text: str, logprobs: list[Json]) -> bytes:
        """The event of another piece whose tokens' log probabilities are known."""
        quoted = msgspec.json.encode(text)
        if not self._after or not logprobs:
            return self.add(quoted)
        self._pieces.append(quoted[1:-1])
        self.logprobs += logprobs
        number = self._events.number
        self._events.number = number + 1
        rows = msgspec.json.encode(logprobs)
        return b'%b%b,"logprobs":%b,"sequence_number":%d}\n\n' % (self._head, quoted, rows, number)

    def text(self) -> str:
        """The whole of it, so far."""
        return msgspec.json.decode(b'"' + b"".join(self._pieces) + b'"', type=str)


class ContentItem:
    """A message, or what was thought before it: an item with content parts.

    Args:
        events: Numbers the events.
        index: The item's place in the output.
        head: The item without status and content.
    """

    def __init__(self, events: EventWriter, index: int, head: Json) -> None:
        self._events = events
        self._index = index
        self._head = head
        self._done: list[Json] = []
        self._kind: TextKind | None = None
        self._text: Text | None = None

    @property
    def kind(self) -> str:
        """Its type."""
        return self._head["type"]

    def opened(self) -> bytes:
        """The event that shows it first."""
        return self._events.event("response.output_item.added", output_index=self._index, item=self.body("in_progress"))

    def text_of(self, kind: TextKind) -> tuple[Text, bytes]:
        """The text of a kind that is being added to, and the events of its beginning, if it just began."""
        if self._text is not None and self._kind is kind:
            return self._text, b""
        ended = self._end_part()
        place = self._place()
        began = self._events.event("response.content_part.added", **place, part=kind.body("", []))
        self._kind = kind
        self._text = Text(self._events, place, kind.event + ".delta", shows_logprobs=kind.shows_logprobs)
        return self._text, ended + began

    def body(self, status: str) -> Json:
        """The item, so far."""
        part = self._part()
        content = self._done if part is None else [*self._done, part]
        return {**self._head, "status": status, "content": list(content)}

    def closed(self, status: str) -> bytes:
        """The events that end it."""
        ended = self._end_part()
        item = self.body(status)
        return ended + self._events.event("response.output_item.done", output_index=self._index, item=item)

    def _place(self) -> Json:
        return {"item_id": self._head["id"], "output_index": self._index, "content_index": len(self._done)}

    def _part(self) -> Json | None:
        if self._text is None or self._kind is None:
            return None
        return self._kind.body(self._text.text(), self._text.logprobs)

    def _end_part(self) -> bytes:
        part, kind, place = self._part(), self._kind, self._place()
        if part is None or kind is None:
            return b""
        said = {name: part[name] for name in (kind.field, "logprobs") if name in part}
        self._done.append(part)
        self._kind = self._text = None
        return self._events.event(kind.event + ".done", **place, **said) + self._events.event(
            "response.content_part.done", **place, part=part
        )


class CallItem:
    """A call.

    Args:
        events: Numbers the events.
        index: The item's place in the output.
        id_: The item's id.
        call_id: What its result refers to.
        name: Of the function.
    """

    def __init__(self, events: EventWriter, index: int, id_: str, call_id: str, name: str) -> None:
        self._events = events
        self._place: Json = {"item_id": id_, "output_index": index}
        self._call_id = call_id
        self.name = name
        self.arguments = Text(events, self._place, "response.function_call_arguments.delta")

    def opened(self) -> bytes:
        """The event that shows it first."""
        return self._events.event(
            "response.output_item.added", output_index=self._place["output_index"], item=self.body("in_progress")
        )

    def body(self, status: str) -> Json:
        """The item, so far."""
        return {
            "type": "function_call",
            "id": self._place["item_id"],
            "call_id": self._call_id,
            "name": self.name,
            "arguments": self.arguments.text(),
            "status": status,
        }

    def closed(self, status: str) -> bytes:
        """The events that end it."""
        item = self.body(status)
        done = self._events.event(
            "response.function_call_arguments.done", **self._place, name=self.name, arguments=item["arguments"]
        )
        return done + self._events.event(
            "response.output_item.done", output_index=self._place["output_index"], item=item
        )
