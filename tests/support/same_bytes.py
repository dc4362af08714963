"""Compares two streams of one answer byte for byte, but for what chance decides.

    assert shape_of(one) == shape_of(other)

Chance decides the id, the second in which it was made, and where the text is cut: a reader that is behind its engine
gets the tokens of two steps in one chunk. All else (every other byte of every chunk, and all of the text as it was
escaped) has to be the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CHANCE = re.compile(rb'"id":"(?:chatcmpl|cmpl)-[^"]*"|"created":\d+')
TEXT = re.compile(rb'"(?:content|text)":"((?:[^"\\]|\\.)*)"')
COMMENT = b":"


@dataclass(frozen=True)
class Shape:
    """A stream without what chance decides.

    Attributes:
        frames: Its chunks with a hole for their text; equal ones in a row are one.
        text: What fills the holes, as it was escaped.
    """

    frames: tuple[bytes, ...]
    text: bytes


def shape_of(stream: bytes) -> Shape:
    """What must be the same in two streams of one answer."""
    frames: list[bytes] = []
    texts: list[bytes] = []
    for event in stream.split(b"\n\n"):
        if event.startswith(COMMENT):
            continue
        frame = CHANCE.sub(b"*", event)
        if found := TEXT.search(frame):
            texts.append(found[1])
            frame = frame[: found.start(1)] + b"*" + frame[found.end(1) :]
        if not frames or frame != frames[-1]:
            frames.append(frame)
    return Shape(tuple(frames), b"".join(texts))
