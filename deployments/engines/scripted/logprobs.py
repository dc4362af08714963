"""Log probabilities: made up, deterministic, and in order (the chosen token is the likeliest)."""

from __future__ import annotations

import zlib
from typing import Any

from deployments.engines.scripted.script import Script

Json = dict[str, Any]


def chosen(piece: str) -> float:
    """The chosen token's: between -0.001 and -0.5."""
    return -(zlib.crc32(piece.encode()) % 500 + 1) / 1000


def ranked(script: Script, piece: str, number: int) -> list[tuple[str, float]]:
    """The likeliest ``number`` tokens, the chosen one first."""
    others = script.alternatives(piece, number - 1) if number > 1 else []
    likeliest = [(piece, chosen(piece))] if number else []
    return likeliest + [(other, round(chosen(piece) - rank, 3)) for rank, other in enumerate(others, 1)]


def for_chat(script: Script, piece: str, number: int) -> Json:
    """A token as chat completions show it."""
    top = [_entry(token, logprob) for token, logprob in ranked(script, piece, number)]
    return _entry(piece, chosen(piece)) | {"top_logprobs": top}


def for_completion(script: Script, pieces: list[str], number: int, offset: int) -> Json:
    """Tokens as completions show them, with offsets into the answer's text, in characters."""
    shown = [piece for piece in pieces if piece]
    offsets: list[int] = []
    for piece in shown:
        offsets.append(offset)
        offset += len(piece)
    return {
        "text_offset": offsets,
        "token_logprobs": [chosen(piece) for piece in shown],
        "tokens": shown,
        "top_logprobs": [dict(ranked(script, piece, number)) for piece in shown],
    }


def _entry(token: str, logprob: float) -> Json:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
