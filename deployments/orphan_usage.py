"""The manager's end of what replicas report of requests whose gateway is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from app.domain.usage import UsageDraft, UsageEvent
from deployments.reports import Orphan

logger = logging.getLogger("manta")


class OrphanUsage:
    """Gets them on record.

    Args:
        write: Puts an event on record, once for each request id.
    """

    def __init__(self, write: Callable[[UsageEvent], None]) -> None:
        self._write = write

    async def take(self, orphans: list[Orphan]) -> None:
        """Put these on record."""
        for orphan in orphans:
            try:
                event = event_of(orphan)
            except msgspec.MsgspecError as error:
                logger.error("what a request took is lost, for its account cannot be read: %s", error)
            else:
                self._write(event)


def event_of(orphan: Orphan) -> UsageEvent:
    """What is to be kept of a request that nobody waited for to the end.

    Raises:
        msgspec.MsgspecError: Its account is none.
    """
    draft = UsageDraft.decode(orphan.account)
    # Two machines' clocks: what ended before it began took no time.
    duration_ms = float(max(0, orphan.ended_at_ms - draft.started_at_ms))
    return draft.event(orphan.usage, "client_left", duration_ms=duration_ms)
