"""Writes down who did what. An admin's act that cannot be written down does not happen; refusals never wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from app.domain.audit_event import Actor, AuditAction, AuditEvent, EventFilter, Outcome
from app.domain.page import Page, PageRequest
from app.domain.secrets import random_base62
from app.errors import DatabaseUnavailable
from app.storage.audit_log import AuditLog
from app.storage.users import now_ms

logger = logging.getLogger("manta.audit")

REFUSALS_PER_MINUTE = 60
"""Of one process; refusals are free for whoever makes them happen, so the rest is counted and not stored."""

MAX_PENDING = 256


class Audit:
    """The log of one process.

    Args:
        log: Where events go.
        clock: Monotonic seconds.
    """

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._window_ends = 0.0
        self._left = 0
        self._suppressed = 0
        self._pending: set[asyncio.Task[None]] = set()

    async def record(self, action: AuditAction, actor: Actor, target: str | None = None, **detail: Any) -> None:
        """Write down what is about to happen, or has.

        Raises:
            DatabaseUnavailable: It could not be written; an admin's act must not go on then.
        """
        event = _event(action, "succeeded", actor, target, detail)
        logger.info("%s %s", action, target or "", extra=_fields(event))
        await self._log.append(event)

    def refuse(self, action: AuditAction, actor: Actor, target: str | None = None, **detail: Any) -> None:
        """Write down that something was refused, soon; who was refused does not wait for it."""
        event = _event(action, "refused", actor, target, detail)
        logger.warning("%s refused: %s", action, detail.get("reason", ""), extra=_fields(event))
        if not self._may_store() or len(self._pending) >= MAX_PENDING:
            self._suppressed += 1
            return
        if self._suppressed:
            event = _event(action, "refused", actor, target, {**detail, "suppressed_before": self._suppressed})
            self._suppressed = 0
        task = asyncio.create_task(self._store(event))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def list(self, page: PageRequest, wanted: EventFilter) -> Page[AuditEvent]:
        """Events that the filter lets through, newest first unless the page says otherwise.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an event that is not in the list.
        """
        return await self._log.list(page, wanted)

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._pending, return_exceptions=True)

    def _may_store(self) -> bool:
        now = self._clock()
        if now >= self._window_ends:
            self._window_ends, self._left = now + 60, REFUSALS_PER_MINUTE
        self._left -= 1
        return self._left >= 0

    async def _store(self, event: AuditEvent) -> None:
        try:
            await self._log.append(event)
        except DatabaseUnavailable:
            self._suppressed += 1


def _event(
    action: AuditAction, outcome: Outcome, actor: Actor, target: str | None, detail: dict[str, Any]
) -> AuditEvent:
    return AuditEvent(
        id=f"audit_{random_base62(22)}",
        at_ms=now_ms(),
        action=action,
        outcome=outcome,
        actor=actor.subject,
        credential=actor.credential,
        target=target,
        address=actor.origin.address,
        user_agent=actor.origin.user_agent,
        request_id=actor.origin.request_id,
        detail=detail,
    )


def _fields(event: AuditEvent) -> dict[str, Any]:
    return {"actor": event.actor, "address": event.address, "request_id": event.request_id, "detail": event.detail}
