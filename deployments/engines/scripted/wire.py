"""Bytes of streams: every token is one template with its text in the middle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import msgspec

Json = dict[str, Any]

FINGERPRINT = "fp_scripted"
DONE = b"data: [DONE]\n\n"
TEXT = "\u0001text"
EXTRA = "\u0001extra"
"""Stand for a token's text and its logprobs while a template is made."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request's headers say.

    Attributes:
        request_id: Ours; ids of answers derive from it.
        model: The name to answer with.
        created: Unix seconds.
    """

    request_id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


class Stream(Protocol):
    """An answer as server-sent events. All its choices advance together, token by token."""

    def opening(self) -> bytes:
        """What goes ahead of the first token."""
        ...

    def tokens(self, first: int, end: int) -> bytes:
        """Tokens ``first`` to ``end - 1`` of every choice that has them."""
        ...

    def closing(self) -> bytes:
        """What follows the last token, to the stream's end."""
        ...


@dataclass(slots=True)
class Reading:
    """A prompt on its way through the engine.

    Attributes:
        tokens: How many it has.
        cached: How many of them were there already; None where nothing is kept, and before it is read.
    """

    prompt: str
    tokens: int
    cached: int | None = None

    def details(self) -> Json:
        """The part of OpenAI's usage that tells."""
        return {} if self.cached is None else {"prompt_tokens_details": {"cached_tokens": self.cached}}


@dataclass(frozen=True, slots=True)
class Job:
    """A parsed request and its answer.

    Attributes:
        body: Makes the whole answer, for those who do not stream.
        lengths: Tokens of each sequence it takes; none at all for what needs no model.
        prompt: What the markers of faults are looked for in.
        stream: The answer as a stream, if that was asked for.
        reading: The prompt, where there is one to read.
        texts_tokens: Tokens of the texts, where none is a prompt.
    """

    body: Callable[[], Json]
    lengths: list[int] = field(default_factory=list[int])
    prompt: str = ""
    stream: Stream | None = None
    reading: Reading | None = None
    texts_tokens: int = 0


class Frames:
    """The tokens of one choice as events.

    Args:
        pieces: Their texts; those without text are left out.
        template: An event that holds ``TEXT``, and ``EXTRA`` behind it if there are extras.
        extras: More JSON for each token, in place of ``EXTRA``.
    """

    __slots__ = ("_extras", "_head", "_middle", "_pieces", "_tail")

    def __init__(self, pieces: list[str], template: bytes, extras: list[bytes] | None = None) -> None:
        self._pieces = pieces
        self._extras = extras
        self._middle = b""
        # From the right: names that callers chose come first, and might look like a mark.
        if extras is not None:
            template, _, self._tail = template.rpartition(quoted(EXTRA))
            self._head, _, self._middle = template.rpartition(quoted(TEXT))
        else:
            self._head, _, self._tail = template.rpartition(quoted(TEXT))

    def slice(self, first: int, end: int) -> bytes:
        """Tokens ``first`` to ``end - 1``, as far as there are any."""
        head, tail, extras, middle = self._head, self._tail, self._extras, self._middle
        if extras is None:
            return b"".join([head + quoted(piece) + tail for piece in self._pieces[first:end] if piece])
        rows = zip(self._pieces[first:end], extras[first:end], strict=True)
        return b"".join([head + quoted(piece) + middle + extra + tail for piece, extra in rows if piece])


class Parts:
    """What one choice tells one after the other, such as two calls.

    Args:
        parts: The tokens of each, how many they are, and what goes ahead of the first.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: list[tuple[Frames, int, bytes]]) -> None:
        self._parts = parts

    def slice(self, first: int, end: int) -> bytes:
        """Tokens ``first`` to ``end - 1``, as far as there are any."""
        told: list[bytes] = []
        for frames, length, ahead in self._parts:
            if first <= 0 < end and length:
                told.append(ahead)
            told.append(frames.slice(max(first, 0), max(end, 0)))
            first, end = first - length, end - length
        return b"".join(told)


def interleaved(frames: Sequence[Frames | Parts], first: int, end: int) -> bytes:
    """A step of every choice, then the next."""
    if len(frames) == 1:
        return frames[0].slice(first, end)
    return b"".join(choice.slice(step, step + 1) for step in range(first, end) for choice in frames)


@lru_cache(maxsize=8192)
def quoted(text: str) -> bytes:
    """The text as a JSON string; answers come from few words, so most are known."""
    return msgspec.json.encode(text)


def event(data: Json, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"
