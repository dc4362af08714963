"""Sums events up by day, each exactly once, whoever dies on the way.

Events come in lots that say what they sum up to; reports read those together with the days, so nobody waits for this.
One process at a time does it, by a lease; but nothing rests on there being only one. Which lots are a batch is written
into one document before anything is done about it. Then they are marked with its number, their sums are added to each
day that does not have that number yet, and the batch is done. Any of it done again, by anybody, has no effect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Set

from app.domain.secrets import random_base62
from app.errors import DatabaseUnavailable
from app.services.periodic import Periodic
from app.storage.stores import Stores
from app.storage.usage_rollup import Batch
from app.storage.usage_sums import DAY_MS

EVERY_S = 5.0
LEASE_MS = 20_000
BATCH = 50
"""Lots at the most in a batch: what is added to the days at once."""

PURGES = 10
"""How often something is deleted in a run at the most, so that sums do not wait for it."""


class UsageRollup:
    """The rollup as one process takes part in it.

    Args:
        retention_days: How long usage is kept; 0 for ever.
        every_s: How often it looks for lots.
        batch: Lots at the most in a batch.
    """

    def __init__(
        self, stores: Stores, *, retention_days: int = 0, every_s: float = EVERY_S, batch: int = BATCH
    ) -> None:
        self._events = stores.usage_events
        self._lots = stores.usage_lots
        self._days = stores.usage_days
        self._state = stores.usage_rollup
        self._ownership = stores.ownership
        self._retention_days = retention_days
        self._batch = batch
        self._name = random_base62(16)
        self._coming: Set[str] = frozenset()
        self._runs = Periodic(self.run_once, name="rolling up usage", every_s=every_s, spread=0.25)

    def start(self) -> None:
        """Take part from now on."""
        self._runs.start()

    async def close(self) -> None:
        """Take part no more; a batch under way is gone on with by somebody else."""
        if await self._runs.close():
            with contextlib.suppress(DatabaseUnavailable):
                await self._state.resign(self._name)

    async def run_once(self) -> int:
        """Roll up all that there is, if it falls to this process; how many batches that were.

        Raises:
            DatabaseUnavailable: The database did not answer. The next run, of anybody, goes on from there.
        """
        batches = 0
        while (now_ms := await self._state.lead(self._name, LEASE_MS)) is not None:
            left = await self._state.batch()
            batch = left or await self._begin()
            if batch is None:
                break
            await self._take(batch)
            batches += 1
            # What came meanwhile is little, and the next run's.
            if left is None and len(batch.lots) < self._batch:
                break
        if now_ms is not None:
            await self._finish_lots()
            await self._purge(now_ms)
        return batches

    async def _finish_lots(self) -> None:
        """Store what was written down and not stored: who was about to had the time since the last run."""
        coming = {lot.id: lot for lot in await self._lots.coming()}
        for id_ in self._coming & coming.keys():
            await self._events.store(coming[id_])
        self._coming = coming.keys() - self._coming

    async def _begin(self) -> Batch | None:
        lots = await self._lots.not_rolled(self._batch)
        return await self._state.begin(self._name, lots) if lots else None

    async def _take(self, batch: Batch) -> None:
        await self._lots.mark_rolled(batch.lots, batch.number)
        sums = await self._lots.sums_of_batch(batch.number)
        await self._days.add(batch.number, sums)
        # After the sums: whoever is merged or deleted from here on finds them.
        await self._ownership.pass_on(group["owner"] for group in sums)
        await self._lots.forget(batch.number)
        await self._state.finish(batch)

    async def _purge(self, now_ms: int) -> None:
        """Delete what is too old, by the database's time: a machine whose clock is wrong must not delete anything."""
        if not self._retention_days:
            return
        before_ms = (now_ms // DAY_MS - self._retention_days) * DAY_MS
        for store in (self._days, self._events):
            for _ in range(PURGES):
                if not await store.purge(before_ms):
                    break
