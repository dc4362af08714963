"""What has to be done in the database however long that is away."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.errors import DatabaseUnavailable

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0


async def persist(act: Callable[[], Awaitable[T]]) -> T:
    """Do something in the database, again and again while that is away; what came of it."""
    wait_s = FIRST_WAIT_S
    while True:
        with contextlib.suppress(DatabaseUnavailable):
            return await act()
        # Not all processes at once.
        await asyncio.sleep(wait_s * random.uniform(0.5, 1))
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
