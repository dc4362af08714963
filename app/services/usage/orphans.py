"""What dead processes left: their events go to the database, and what they were at when they died is settled.

Of a request whose replica lived on, that had its event written. Of one whose replica died too, what stood on that one's
slate is in the database by then, and is what it took. Of what neither is known, it is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from app.domain.usage import NOTHING, UsageDraft, UsageEvent
from app.errors import DatabaseUnavailable
from app.services.usage.delivery import Delivery
from app.services.usage.folder import SpoolFolder
from app.services.usage.records import count, read_drafts, read_events

logger = logging.getLogger("manta.usage")

T = TypeVar("T")

BATCH = 500
"""Events or ids at the most of which the database is told, or asked, at once."""


@dataclass(slots=True, eq=False)
class _Left:
    """A dead process's folder.

    Attributes:
        since: When it was found, in monotonic seconds.
        drafts: What may have been under way, by request id.
    """

    folder: SpoolFolder
    since: float
    drafts: dict[str, UsageDraft] = field(default_factory=dict[str, UsageDraft])
    replayed: bool = False


class Orphans:
    """Adopts folders of dead processes; of several who would, a lock lets one.

    Args:
        grace_s: How long others who worked on a request have to say what became of it, in seconds in which the database
            answers.
        clock: Monotonic seconds, the delivery's too.
    """

    def __init__(self, root: Path, delivery: Delivery, *, grace_s: float, clock: Callable[[], float]) -> None:
        self.pending = 0
        self._root = root
        self._delivery = delivery
        self._grace_s = grace_s
        self._clock = clock
        self._left: list[_Left] = []

    @property
    def waiting(self) -> bool:
        """Whether something was adopted that is not settled."""
        return bool(self._left)

    async def look(self) -> None:
        """Adopt what there is, and go on with what was adopted."""
        try:
            found = [_Left(folder, self._clock()) for folder in SpoolFolder.adopt(self._root)]
        except OSError as error:
            logger.warning("Usage that dead processes left cannot be looked for: %s", error)
            found = []
        self._left += found
        for left in found:
            logger.info("Usage that a dead process left is taken over: %s", left.folder.path)
            self.pending += sum(count(path) for path in left.folder.files("events"))
        for left in list(self._left):
            if not left.replayed:
                await self._replay(left)
            if await self._is_settled(left):
                self._left.remove(left)
                left.folder.remove()

    def close(self) -> None:
        """Leave what is not settled to others."""
        for left in self._left:
            left.folder.close()
        self._left = []

    async def _replay(self, left: _Left) -> None:
        for path in left.folder.files("drafts"):
            for draft in read_drafts(path):
                left.drafts[draft.request_id] = draft
            await asyncio.sleep(0)
        for path in left.folder.files("events"):
            for events in batches(read_events(path), BATCH):
                await self._delivery.store(events)
                self.pending -= len(events)
                for event in events:
                    left.drafts.pop(event.request_id, None)
            path.unlink(missing_ok=True)
        left.replayed = True

    async def _is_settled(self, left: _Left) -> bool:
        """Whether there is an event for every draft by now, as there is at the end of the grace."""
        try:
            for ids in batches(iter(list(left.drafts)), BATCH):
                for request_id in await self._delivery.known(ids):
                    del left.drafts[request_id]
        except DatabaseUnavailable:
            return False
        if left.drafts and not self._is_over(left):
            return False
        try:
            events = await self._last_words(left)
        except DatabaseUnavailable:
            return False
        for each in batches(iter(events), BATCH):
            # If an event comes from elsewhere at this very moment, whichever is first counts.
            await self._delivery.store(each)
        if lost := sum(event.status == "lost" for event in events):
            logger.warning("%d requests were under way in a process that died, and are lost", lost)
        return True

    async def _last_words(self, left: _Left) -> list[UsageEvent]:
        events: list[UsageEvent] = []
        for drafts in batches(iter(left.drafts.values()), BATCH):
            remains = await self._delivery.remains([draft.request_id for draft in drafts])
            for draft in drafts:
                usage = remains.get(draft.request_id)
                events.append(draft.event(NOTHING, "lost") if usage is None else draft.event(usage, "failed"))
        return events

    def _is_over(self, left: _Left) -> bool:
        up_since = self._delivery.up_since
        # What others have to say is kept from the database for as long as it is away.
        return up_since is not None and self._clock() - max(up_since, left.since) >= self._grace_s


def batches(items: Iterator[T], size: int) -> Iterator[Sequence[T]]:
    """All of the items, so many at a time."""
    while batch := list(islice(items, size)):
        yield batch
