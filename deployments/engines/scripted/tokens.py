"""A reversible tokenizer without a vocabulary.

A token is a run of one to five visible ASCII characters with the space before it, or any other single character, so
about six bytes of text at most. Its id is its UTF-8 bytes read as a number, behind a leading 1 that keeps zero bytes
and lengths apart: every text comes back exactly, ids stay below 2**53 (exact in any JSON reader), and no token splits a
character, so that every token can be streamed by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.errors import InvalidRequest

PIECE = re.compile(r" ?[!-~]{1,5}|.", re.DOTALL)
MAX_ID = 2**63 - 1


def pieces(text: str) -> list[str]:
    """The text cut into its tokens; joined, they are the text."""
    return PIECE.findall(text)


def count(text: str) -> int:
    """How many tokens the text has."""
    return len(PIECE.findall(text))


def encode(text: str) -> list[int]:
    """Token ids of a text."""
    return [int.from_bytes(b"\1" + piece.encode()) for piece in pieces(text)]


def decode(ids: Iterable[int]) -> str:
    """The text of token ids; ids that ``encode`` never makes stand for their own bytes.

    Raises:
        InvalidRequest: An id is negative or above ``MAX_ID``.
    """
    return b"".join(_bytes(id_) for id_ in ids).decode(errors="replace")


def _bytes(id_: int) -> bytes:
    if not 0 <= id_ <= MAX_ID:
        raise InvalidRequest(f"Token id {str(id_)[:32]} is out of range: ids go from 0 to {MAX_ID}.")
    raw = id_.to_bytes(max(1, (id_.bit_length() + 7) // 8))
    return raw[1:] if len(raw) > 1 and raw[0] == 1 else raw
