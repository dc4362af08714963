"""How a slate lies on disk: a header, then lines of the same length, each of words and an account.

state      64 bits: the account's checksum and its length; 0 for a line that is free. Set last, cleared first
output     64 bits: tokens of the answer that have left
input, cached, reasoning
account    from ``ACCOUNT`` on

Words are written in one piece each, so that a process that is killed leaves none half-written.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.domain.usage import Usage
from deployments.reports import Remains

logger = logging.getLogger("manta")

MAGIC: Final = b"manta slate 1\n\0\0"
LINE: Final = 1024
WORD: Final = 8
ACCOUNT: Final = 40
ROOM: Final = LINE - ACCOUNT
"""The longest account that a line takes."""

STATE, OUTPUT, INPUT, CACHED, REASONING = range(5)


def state_of(account: bytes) -> int:
    """The state of a line with this account."""
    return zlib.crc32(account) << 32 | len(account)


def read(path: Path) -> Iterator[Remains]:
    """What stands on a slate that nobody writes on any more; what cannot be read is left out, and the log says so.

    Raises:
        OSError: It cannot be read at all.
    """
    whole = path.read_bytes()
    data = memoryview(whole)
    if not whole.startswith(MAGIC) or len(whole) % LINE:
        logger.error("what calls took is lost, for this is no slate: %s", path)
        return
    for at in range(LINE, len(data), LINE):
        line = data[at : at + LINE]
        words = line[:ACCOUNT].cast("Q")
        if not words[STATE]:
            continue
        account = bytes(line[ACCOUNT : ACCOUNT + (words[STATE] & 0xFFFFFFFF)])
        if state_of(account) != words[STATE]:
            logger.error("what a call took is lost, for its line cannot be read: %s, byte %s", path, at)
            continue
        yield Remains(account, Usage(words[INPUT], words[OUTPUT], words[CACHED], words[REASONING]))
