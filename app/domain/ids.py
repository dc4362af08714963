"""Ids of what callers keep: a prefix that says what it is, when it was made, and enough chance to be the only one."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

ITEM_PREFIXES: Final = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
"""By the type of an item, what its id begins with."""

_TAIL: Final = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{2})?")
"""Two digits more have those of several ids that were made as one."""

_TIME: Final = 12
_CHANCE: Final = 20
"""Digits of a tail: when it was made, and the rest."""


def new_tail() -> str:
    """What is behind the prefix of a new id: ids that were made later are greater."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def new_id(prefix: str) -> str:
    """A new id, such as ``conv_0198...``."""
    return f"{prefix}_{new_tail()}"


def sibling(tail: str, index: int) -> str:
    """The tail of something that is made along with what has this one: the same in every try."""
    chance = (int(tail[_TIME : _TIME + _CHANCE], 16) + 1 + index) % 16**_CHANCE
    return f"{tail[:_TIME]}{chance:0{_CHANCE}x}"


def tail(id_: str) -> str:
    """What is behind the prefix: one thing under several names has one tail."""
    return id_.partition("_")[2]


def with_prefix(id_: str, prefix: str) -> str:
    """The same thing's name of another kind: a conversation's as a thread."""
    return f"{prefix}_{tail(id_)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether this may be an id of that kind, as far as can be seen."""
    return text.startswith(prefix + "_") and _TAIL.fullmatch(text, len(prefix) + 1) is not None
