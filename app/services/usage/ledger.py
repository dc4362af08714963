"""The ledger of one process: every request's usage is on disk at once, and soon after in the database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from app.domain.usage import Usage, UsageDraft, UsageEvent
from app.errors import DatabaseUnavailable
from app.services.usage.delivery import Delivery
from app.services.usage.orphans import BATCH, Orphans, batches
from app.services.usage.records import read_events
from app.services.usage.spool import Spool
from app.settings import SettingsError
from app.storage.usage_events import UsageEvents

logger = logging.getLogger("manta.usage")

IN_MEMORY = 10_000
"""Events at the most that wait in memory when the disk takes none."""

COMPLAIN_EVERY_S = 60.0


class UsageLedger:
    """Where usage is written, from the event loop's thread alone.

    Args:
        root: The folder that the processes of a node have their spools in.
        spool_mb: How long the spool may get, in MiB, before ``has_room`` says no.
        every_s: How often the database is told, in seconds, when there are few events.
        adopt_every_s: How often is looked for what dead processes left, in seconds.
        grace_s: How long after the death of a process others may say what became of its requests, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        events: UsageEvents,
        root: Path,
        *,
        spool_mb: int = 1024,
        every_s: float = 0.5,
        adopt_every_s: float = 30.0,
        grace_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._spool_bytes = spool_mb * 1024 * 1024
        self._every_s = every_s
        self._adopt_every_s = adopt_every_s
        self._grace_s = grace_s
        self._clock = clock
        self._delivery = Delivery(events, clock)
        self._orphans = Orphans(root, self._delivery, grace_s=grace_s, clock=clock)
        self._spool: Spool | None = None
        self._in_memory: deque[UsageEvent] = deque()
        self._unsent = 0
        self._enough = asyncio.Event()
        self._closing = False
        self._complain_at = 0.0
        self._dropped = 0
        self._flushing: asyncio.Task[None] | None = None
        self._adopting: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()

    @property
    def has_room(self) -> bool:
        """Whether usage of more requests can be written: if not, none should be taken on."""
        full = self._spool is not None and self._spool.bytes >= self._spool_bytes
        # The other half of the memory is for what is under way.
        return not full and len(self._in_memory) < IN_MEMORY // 2

    @property
    def pending(self) -> int:
        """How many events the database does not have yet: this process's, and of dead ones that it adopted."""
        return self._unsent + self._orphans.pending

    def open(self, draft: UsageDraft) -> None:
        """Write down that work begins, so that it is told if nobody is left to tell more."""
        if self._spool is None:
            return
        try:
            self._spool.append_draft(draft)
        except OSError as error:
            self._complain(error)
        except (ValueError, OverflowError):
            logger.exception("A usage draft cannot be written, and is left out: %s", draft)

    def write(self, event: UsageEvent) -> None:
        """Write down what became of a request; a second event of the same one counts for nothing."""
        self._unsent += 1
        try:
            if self._spool is None:
                raise FileNotFoundError(f"the ledger is not open: {self._root}")
            self._spool.append_event(event)
        except OSError as error:
            self._keep_in_memory(event)
            self._complain(error)
        except (ValueError, OverflowError):
            # Nothing that could be counted is so long, or no text.
            self._unsent -= 1
            logger.exception("A usage event cannot be written, and is left out: %s", event)
        if self._unsent >= BATCH:
            self._enough.set()

    def write_later(self, event: UsageEvent, of: Callable[[Usage], UsageEvent], after_s: float) -> None:
        """Write down what became of a request of which others may know more, when they have had their time to say so.

        Args:
            event: What is known here. It is on disk from then on; before, the request's draft is.
            of: The event, if this was taken.
            after_s: Their time, in seconds.
        """
        task = asyncio.get_running_loop().create_task(self._write_later(event, of, after_s), name="usage event")
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def start(self) -> None:
        """Make the spool, begin to send, and adopt what dead processes left.

        Raises:
            SettingsError: The spool cannot be made.
        """
        if self._spool is not None:
            return
        try:
            self._spool = Spool(self._root)
        except OSError as error:
            raise SettingsError(f"Usage cannot be written to {self._root}: {error.strerror}.") from None
        self._closing = False
        self._flushing = asyncio.create_task(self._flush_often(), name="usage ledger")
        self._adopting = asyncio.create_task(self._adopt_often(), name="usage orphans")

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send what there is, for so many seconds at the most; what is left is on disk for whoever comes next."""
        self._closing = True
        self._enough.set()
        for task in self._later:
            task.cancel()  # their drafts are on disk
        flushing, adopting = self._flushing, self._adopting
        self._flushing = self._adopting = None
        if adopting is not None:
            adopting.cancel()
            await asyncio.gather(adopting, return_exceptions=True)
        if flushing is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(flushing, timeout_s)
        self._orphans.close()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._in_memory:
            logger.error("%d usage events could be written neither to disk nor to the database", len(self._in_memory))

    async def _write_later(self, event: UsageEvent, of: Callable[[Usage], UsageEvent], after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                remains = await self._delivery.remains([event.request_id])
                break
            except DatabaseUnavailable:
                await asyncio.sleep(after_s)
        usage = remains.get(event.request_id)
        # Nobody knows of more than was taken.
        self.write(event if usage is None or usage.output_tokens < event.output_tokens else of(usage))

    async def _flush_often(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._enough.wait()
            self._enough.clear()
            closing = self._closing
            try:
                await self._flush()
            except Exception:
                # Nothing is lost: it is on disk.
                logger.exception("Usage events could not be sent; it will be tried again")
                await asyncio.sleep(self._every_s)
            if closing:
                return

    async def _flush(self) -> None:
        while self._in_memory:
            events = list(islice(self._in_memory, BATCH))
            await self._delivery.store(events)
            for event in events:
                self._in_memory.popleft()
                if self._spool is not None:
                    self._spool.settle(event.request_id)
            self._unsent -= len(events)
        spool = self._spool
        if spool is None:
            return
        # While the database is away one file is filled, not many begun.
        if not spool.sealed:
            spool.seal()
        while spool.sealed:
            first = spool.sealed[0]
            try:
                for events in batches(read_events(first.path), BATCH):
                    await self._delivery.store(events)
            except FileNotFoundError:
                logger.error("%d usage events are lost: somebody deleted %s", first.records, first.path)
            self._unsent -= first.records
            spool.delete_first()
            if not spool.sealed and spool.unsealed >= BATCH:
                spool.seal()

    async def _adopt_often(self) -> None:
        while True:
            try:
                await self._orphans.look()
            except Exception:
                logger.exception("What dead processes left could not be settled; it will be tried again")
            soon = max(self._grace_s / 4, 0.05)
            await asyncio.sleep(min(soon, self._adopt_every_s) if self._orphans.waiting else self._adopt_every_s)

    def _keep_in_memory(self, event: UsageEvent) -> None:
        if len(self._in_memory) < IN_MEMORY:
            self._in_memory.append(event)
        else:
            self._unsent -= 1
            self._dropped += 1

    def _complain(self, error: OSError) -> None:
        now = self._clock()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY_S
            logger.error(
                "Usage cannot be written to disk, and is kept in memory: %s (%d events, %d dropped)",
                error,
                len(self._in_memory),
                self._dropped,
            )
