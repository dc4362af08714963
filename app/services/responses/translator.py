"""From an engine's chat to a response: its stream's events become the Responses API's as they come.

Nothing here waits, or reads a clock where the stream says when it ended (``ENDED``), so that the same bytes give the
same response wherever they are translated: for the caller as they come, and once more from a journal of what had come.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from app.domain.chat_chunk import Chunk, decoded
from app.domain.response import IncompleteReason, Status, ended, failed, incomplete, usage_of
from app.errors import ApiError, ServerError
from app.services.engine_errors import error_of
from app.services.responses.events import TERMINAL, EventWriter
from app.services.responses.frames import Hole, hole_of
from app.services.responses.output import Output

Json = dict[str, Any]

WELL_ENDED: Final = frozenset(("stop", "tool_calls", "function_call"))
CUT_OFF: Final[Mapping[str, IncompleteReason]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer ends before the model has said all: the engine's word, and OpenAI's."""

ENDED: Final = b": ended "
"""A comment in the stream, ahead of its end: when that was, in Unix seconds."""

_NO_HOLE: Final = Hole()
_BROKEN: Final = "The answer broke off. What came before is all there is; try again."


class Translator:
    """Makes a response's events, and the response, of the bytes of a chat's stream.

    Its caller first takes ``start``, feeds it all that comes, and in the end takes one of ``finish``, ``fail``,
    ``cancel`` and ``break_off``. What none of those was asked for yet is not over: the bytes that say so can wait
    until the response is stored.

    Args:
        response: What nothing came of yet: ``new_response``.
        tail: What the ids of all items end with.
        first: The number of the first event.
    """

    def __init__(self, response: Mapping[str, Any], tail: str, *, first: int = 0) -> None:
        self._response = dict(response)
        self._events = EventWriter(first)
        self._output = Output(self._events, tail)
        self._hole = _NO_HOLE
        self._rest = b""
        self._finish_reason: str | None = None
        self._error: ApiError | None = None
        self._ended_at: int | None = None

    @property
    def response(self) -> Json:
        """The response, so far."""
        return {**self._response, "output": self.items}

    @property
    def items(self) -> list[Json]:
        """Its output, so far; an item that is still coming is incomplete."""
        return self._output.items

    @property
    def error(self) -> ApiError | None:
        """What went wrong, as far as it is known."""
        return self._error

    def queue(self) -> bytes:
        """The first events of a response that has to wait."""
        self._response["status"] = "queued"
        return self._lifecycle("response.created") + self._lifecycle("response.queued")

    def start(self, *, created: bool = True) -> bytes:
        """The events of its beginning.

        Args:
            created: Whether its readers have yet to hear that it is there.
        """
        self._response["status"] = "in_progress"
        return (self._lifecycle("response.created") if created else b"") + self._lifecycle("response.in_progress")

    def feed(self, chunk: bytes) -> bytes:
        """The events of more of the chat's stream, which may be cut anywhere."""
        *frames, self._rest = (self._rest + chunk).split(b"\n\n")
        events: list[bytes] = []
        output = self._output
        for frame in frames:
            text = self._hole.cut(frame)
            if text is None or output.target is None:
                events.append(self._read(frame))
            else:
                events.append(output.target.add(text))
        return b"".join(events)

    def finish(self) -> bytes:
        """The last event, the chat's stream being over: of how the answer ended, or that it broke off."""
        if self._error is not None:
            return self.fail(self._error)
        reason = self._finish_reason
        if reason in WELL_ENDED:
            return self._end("completed")
        if reason in CUT_OFF:
            self._response = incomplete(self._response, CUT_OFF[reason])
            return self._end("incomplete")
        return self.fail(ServerError(_BROKEN))

    def fail(self, error: ApiError) -> bytes:
        """The last events of a response that failed."""
        self._error = error
        self._response = failed(self._response, error.message, error.code, error.status)
        return self._events.error(error) + self._end("failed")

    def cancel(self) -> bytes:
        """The last event of a response that was cancelled."""
        return self._end("cancelled")

    def break_off(self) -> bytes:
        """The last event of a response that nobody works on any more."""
        return self._end("incomplete")

    def _read(self, frame: bytes) -> bytes:
        # What is no mere text may end the text: only the next frame tells what those after it look like.
        self._hole = _NO_HOLE
        if self._error is not None:
            return b""
        if frame.startswith(ENDED):
            self._ended_at = int(frame[len(ENDED) :])
        return b"".join([self._understand(frame, line[5:]) for line in frame.split(b"\n") if line[:5] == b"data:"])

    def _understand(self, frame: bytes, data: bytes) -> bytes:
        if data.strip() == b"[DONE]":
            return b""
        chunk = decoded(data)
        if chunk is None:
            self._error = ServerError("The engine said something that nobody understands.")
            return b""
        if chunk.error is not None:
            self._error = error_of(chunk.error)
            return b""
        if chunk.usage is not None:
            self._response["usage"] = usage_of(chunk.usage)
        return self._add(frame, chunk)

    def _add(self, frame: bytes, chunk: Chunk) -> bytes:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        if choice is None or self._finish_reason is not None:
            return b""
        try:
            events = self._output.add(choice)
        except ApiError as error:
            self._error = error
            return b""
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
            return events + self._output.end("completed" if choice.finish_reason in WELL_ENDED else "incomplete")
        self._hole = hole_of(frame, chunk) or _NO_HOLE
        return events

    def _end(self, status: Status) -> bytes:
        at = int(time.time()) if self._ended_at is None else self._ended_at
        self._response = ended(self._response, status, self.items, at)
        return self._events.event(TERMINAL[status], response=self._response)

    def _lifecycle(self, kind: str) -> bytes:
        return self._events.event(kind, response=self.response)
