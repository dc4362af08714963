"""Sums events up by day, each exactly once, whoever dies on the way.

One process at a time does it, by a lease; but nothing rests on there being only one. Which events are a batch is
written into one document before anything is done about it. Then they are marked with its number, their sums are added
to each day that does not have that number yet, and the batch is done. Any of it done again, by anybody, has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

from app.domain.secrets import random_base62
from app.errors import DatabaseUnavailable
from app.storage.stores import Stores
from app.storage.usage_rollup import Batch

logger = logging.getLogger("manta.usage")

EVERY_S = 5.0
LEASE_MS = 20_000
BATCH = 2000
"""Events at the most in a batch: their ids are kept in one document while it is under way."""


class UsageRollup:
    """The rollup as one process takes part in it.

    Args:
        every_s: How often it looks for events.
        batch: Events at the most in a batch.
    """

    def __init__(self, stores: Stores, *, every_s: float = EVERY_S, batch: int = BATCH) -> None:
        self._events = stores.usage_events
        self._days = stores.usage_days
        self._state = stores.usage_rollup
        self._ownership = stores.ownership
        self._every_s = every_s
        self._batch = batch
        self._name = random_base62(16)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take part from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="usage rollup")

    async def close(self) -> None:
        """Take part no more; a batch under way is gone on with by somebody else."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(DatabaseUnavailable):
            await self._state.resign(self._name)

    async def run_once(self) -> int:
        """Roll up all that there is, if it falls to this process; how many batches that were.

        Raises:
            DatabaseUnavailable: The database did not answer. The next run, of anybody, goes on from there.
        """
        batches = 0
        while await self._state.lead(self._name, LEASE_MS):
            left = await self._state.batch()
            batch = left or await self._begin()
            if batch is None:
                break
            await self._take(batch)
            batches += 1
            # What came meanwhile is little, and the next run's.
            if left is None and len(batch.request_ids) < self._batch:
                break
        return batches

    async def _begin(self) -> Batch | None:
        ids = await self._events.not_rolled(self._batch)
        return await self._state.begin(self._name, ids) if ids else None

    async def _take(self, batch: Batch) -> None:
        await self._events.mark_rolled(batch.request_ids, batch.number)
        sums = await self._events.sums_of_batch(batch.number)
        await self._days.add(batch.number, sums)
        # After the sums: whoever is merged or deleted from here on finds them.
        await self._ownership.pass_on(group["owner"] for group in sums)
        await self._state.finish(batch)

    async def _run(self) -> None:
        while True:
            # Not all processes at once.
            await asyncio.sleep(self._every_s * random.uniform(0.75, 1.25))
            try:
                await self.run_once()
            except DatabaseUnavailable:
                # The ledger says so; here it only means later.
                continue
            except Exception:
                logger.exception("Usage could not be rolled up; it will be tried again")
