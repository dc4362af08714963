"""The manager's end of what replicas report of requests whose gateway is gone, and of what dead replicas left."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from app.domain.usage import Usage, UsageDraft, UsageEvent
from app.errors import DatabaseUnavailable
from app.storage.usage_remains import UsageRemains
from deployments.reports import Orphan, Remains

logger = logging.getLogger("manta")


class OrphanUsage:
    """Gets them on record.

    Args:
        write: Puts an event on record, once for each request id.
        remains: What dead replicas left.
    """

    def __init__(self, write: Callable[[UsageEvent], None], remains: UsageRemains) -> None:
        self._write = write
        self._remains = remains

    async def take(self, orphans: list[Orphan]) -> None:
        """Put these on record."""
        for orphan in orphans:
            try:
                event = event_of(orphan)
            except msgspec.MsgspecError as error:
                logger.error("what a request took is lost, for its account cannot be read: %s", error)
            else:
                self._write(event)

    async def keep(self, slate: str, remains: list[Remains]) -> bool:
        """Keep what stood on a slate for whoever settles what the gateways of these requests may leave.

        Returns:
            Whether the database has it; perhaps it has some of it.
        """
        usage: dict[str, Usage] = {}
        for each in remains:
            try:
                request_id = UsageDraft.decode(each.account).request_id
            except msgspec.MsgspecError as error:
                logger.error("what a request took is lost, for its account cannot be read: %s", error)
            else:
                # A request may have come to one replica twice, when its connection had been lost.
                usage[request_id] = usage.get(request_id, Usage()) + each.usage
        try:
            await self._remains.insert(slate, usage)
        except DatabaseUnavailable:
            return False
        return True


def event_of(orphan: Orphan) -> UsageEvent:
    """What is to be kept of a request that nobody waited for to the end.

    Raises:
        msgspec.MsgspecError: Its account is none.
    """
    draft = UsageDraft.decode(orphan.account)
    # Two machines' clocks: what ended before it began took no time.
    duration_ms = float(max(0, orphan.ended_at_ms - draft.started_at_ms))
    return draft.event(orphan.usage, "client_left", duration_ms=duration_ms)
