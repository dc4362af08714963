"""Frames of a chat's stream that differ in one text alone: the text is cut out as it stands, and nothing is parsed.

Whatever engine wrote it, a frame that was parsed and held one piece of one text is the template of those that follow.
A frame that starts and ends alike, with one JSON string between, says the same of another text.
"""

from __future__ import annotations

from app.domain.chat_chunk import Chunk

_NOTHING = b"\n\n"
"""No frame begins with it: frames end there."""


class Hole:
    """Where the text stands in a frame.

    Args:
        head: The frame up to the text's opening quote.
        tail: The frame from behind its closing quote on.
    """

    __slots__ = ("_end", "_head", "_least", "_start", "_tail")

    def __init__(self, head: bytes = _NOTHING, tail: bytes = _NOTHING) -> None:
        self._head = head
        self._tail = tail
        self._start = len(head)
        self._end = -len(tail)
        self._least = len(head) + len(tail) + 2

    def cut(self, frame: bytes) -> bytes | None:
        """The text, as a JSON string in its quotes; None if this is another kind of frame."""
        if not frame.startswith(self._head) or not frame.endswith(self._tail) or len(frame) < self._least:
            return None
        text = frame[self._start : self._end]
        if text.count(b'"') == 2 and b"\\" not in text:
            return text if text[0] == text[-1] == 34 else None
        return text if _is_string(text) else None


def hole_of(frame: bytes, chunk: Chunk) -> Hole | None:
    """Where the text stands in a frame that holds one piece of one text and nothing else.

    Args:
        frame: A frame.
        chunk: What it says.
    """
    key = _only_text(chunk)
    if key is None or not frame.startswith(b"data: ") or b"\n" in frame:
        return None
    # Quotes inside of JSON strings are escaped: this can stand nowhere else.
    mark = b'"' + key + b'":"'
    if frame.count(mark) != 1:
        return None
    start = frame.index(mark) + len(mark) - 1
    end = _end_of_string(frame, start)
    return Hole(frame[:start], frame[end:])


def _only_text(chunk: Chunk) -> bytes | None:
    """The name of the one text that a chunk holds, if it is all there is."""
    if len(chunk.choices) != 1 or chunk.usage is not None or chunk.error is not None:
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    if delta is None or choice.index or choice.finish_reason is not None or choice.logprobs is not None:
        return None
    texts = {
        b"content": delta.content,
        b"refusal": delta.refusal,
        b"reasoning": delta.reasoning,
        b"reasoning_content": delta.reasoning_content,
    }
    keys = [key for key, text in texts.items() if text]
    if not delta.tool_calls:
        return keys[0] if len(keys) == 1 else None
    call = delta.tool_calls[0]
    only_arguments = call.function is not None and not call.function.name and not call.id
    return b"arguments" if only_arguments and len(delta.tool_calls) == 1 and not keys else None


def _end_of_string(frame: bytes, start: int) -> int:
    """Behind the closing quote of the string that opens at ``start``."""
    end = frame.index(b'"', start + 1)
    while _is_escaped(frame, end):
        end = frame.index(b'"', end + 1)
    return end + 1


def _is_escaped(frame: bytes, at: int) -> bool:
    first = at
    while frame[first - 1] == 92:
        first -= 1
    return (at - first) % 2 == 1


def _is_string(text: bytes) -> bool:
    r"""Whether this is one whole JSON string, without ``\u``: those may be halves of a pair, which need a parser."""
    if text[0] != 34 or text[-1] != 34 or b"\\u" in text:
        return False
    inside = text[1:-1].replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'"' not in inside and not inside.endswith(b"\\")
