"""What a text is found by: its words, without case and accents; of scripts without blanks, its pairs of characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MAX_LENGTH: Final = 32
"""Characters of a word that count: what is longer is found by its beginning."""

_RUN: Final = re.compile(r"\w+")
_UNSPACED: Final = re.compile(
    # kana, Han, Thai, Lao, Khmer and Burmese: written without blanks
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def words_of(text: str, most: int) -> list[str]:
    """The words that a text is found by, each once, the first ``most`` of them."""
    found: dict[str, None] = {}
    for word in _words(text, singles=True):
        found[word] = None
        if len(found) >= most:
            break
    return list(found)


def wanted_words(query: str, most: int) -> list[str]:
    """The words that a text must have to be found, the first ``most`` of them; none for a query without words."""
    found: dict[str, None] = {}
    for word in _words(query, singles=False):
        found[word] = None
    return list(found)[:most]


def _words(text: str, *, singles: bool) -> Iterator[str]:
    for match in _RUN.finditer(text):
        yield from _of_run(_plain(match[0]), singles=singles)


def _of_run(run: str, *, singles: bool) -> Iterator[str]:
    end = 0
    for match in _UNSPACED.finditer(run):
        if match.start() > end:
            yield run[end : match.start()][:MAX_LENGTH]
        yield from _pairs(match[0], singles=singles)
        end = match.end()
    if end < len(run):
        yield run[end:][:MAX_LENGTH]


def _pairs(run: str, *, singles: bool) -> Iterator[str]:
    if singles or len(run) == 1:
        yield from run
    for at in range(len(run) - 1):
        yield run[at : at + 2]


def _plain(run: str) -> str:
    if run.isascii():
        return run.lower()
    # Composed characters fall apart into the letter and its marks, which are left out.
    parts = unicodedata.normalize("NFKD", run.casefold())
    return unicodedata.normalize("NFC", "".join(part for part in parts if not unicodedata.combining(part)))
