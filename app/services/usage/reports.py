"""Answers what was used, by whom, when and of what."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

import msgspec

from app.domain.page import Page, PageRequest
from app.domain.usage import UsageEvent
from app.domain.usage_report import SUMS, UsagePage, UsageQuery, UsageRow
from app.errors import InvalidRequest
from app.storage.stores import Stores
from app.storage.usage_sums import DAY_MS, Grouping, Key, order_of

MAX_ROWS = 10_000
MAX_TIME_MS = 2**53


class UsageReports:
    """Sums and single requests, complete as of what the database has.

    Whole days come from the sums by day and from those of lots that are not in them yet; all else from events.
    What anybody but an admin is shown has to have their own id in ``owners``.
    """

    def __init__(self, stores: Stores) -> None:
        self._events = stores.usage_events
        self._lots = stores.usage_lots
        self._days = stores.usage_days
        self._state = stores.usage_rollup

    async def rows(self, query: UsageQuery, *, limit: int = MAX_ROWS) -> list[UsageRow]:
        """The first rows of a report; ``page`` says whether there are more.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return (await self.page(query, limit=limit)).rows

    async def page(self, query: UsageQuery, *, limit: int = MAX_ROWS, after: str | None = None) -> UsagePage:
        """A part of a report.

        Args:
            after: The ``next`` of the part before.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: ``after`` is nothing that was given out for such a report.
        """
        grouping = Grouping.of(query)
        behind = None if after is None else _shown(after, grouping)
        limit = max(1, min(limit, MAX_ROWS))
        total: dict[Key, list[int]] = {}
        days_from, days_to = _whole_days(query)
        for start_ms, end_ms in ((query.start_ms, days_from), (days_to, query.end_ms)):
            if start_ms < end_ms:
                found = await self._events.sums(query, start_ms, end_ms, after=behind, limit=limit + 1)
                _add(total, found.items())
        if days_from < days_to:
            await self._add_days(total, query, days_from, days_to, behind, limit + 1)
        keys = sorted(total, key=order_of)
        rows = [_row(grouping, key, total[key]) for key in keys[:limit]]
        return UsagePage(rows, _mark(keys[limit - 1]) if len(keys) > limit else None)

    async def recent(self, owner: str, page: PageRequest, *, key_id: str | None = None) -> Page[UsageEvent]:
        """Somebody's requests, the newest first unless the page says otherwise; those by one key, if one is named.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a request that is not theirs.
        """
        return await self._events.recent(owner, page, key_id=key_id)

    async def _add_days(  # noqa: PLR0913, PLR0917 - a stretch of a report
        self, total: dict[Key, list[int]], query: UsageQuery, start_ms: int, end_ms: int, after: Key | None, limit: int
    ) -> None:
        # The order is what makes it exact while a rollup goes on: all batches before this one are in their days now;
        # a lot of any other is in its days, as read, where they have its batch or a later one; and one that is in no
        # batch after the days were read was in none then.
        batch = await self._state.first_open()
        days = await self._days.sums(query, start_ms, end_ms, batch=batch, after=after, limit=limit)
        lots = await self._lots.sums_since_batch(query, start_ms, end_ms, batch=batch, after=after)
        _add(total, days.groups.items())
        missing = (
            (key, sums) for key, day, rolled, sums in lots if not rolled or rolled > days.batches.get(day, batch - 1)
        )
        _add(total, missing)


def _whole_days(query: UsageQuery) -> tuple[int, int]:
    """From where to where a query is of whole days; nowhere where it needs more than their sums."""
    if query.bucket not in {None, "day"}:
        return query.end_ms, query.end_ms
    first, last = -(-query.start_ms // DAY_MS) * DAY_MS, query.end_ms // DAY_MS * DAY_MS
    return (first, last) if first < last else (query.end_ms, query.end_ms)


def _add(total: dict[Key, list[int]], groups: Iterable[tuple[Key, list[int]]]) -> None:
    for key, sums in groups:
        before = total.get(key)
        total[key] = sums if before is None else [one + other for one, other in zip(before, sums, strict=True)]


def _row(grouping: Grouping, key: Key, sums: list[int]) -> UsageRow:
    of: Mapping[str, str | None] = dict(zip(grouping.by, key[1:], strict=True))
    return UsageRow(key[0], **of, **dict(zip(SUMS, sums, strict=True)))


def _mark(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _shown(mark: str, grouping: Grouping) -> Key:
    try:
        encoded = base64.b64decode(mark + "=" * (-len(mark) % 4), altchars=b"-_", validate=True)
        start_ms, *names = msgspec.json.decode(encoded, type=list[int | str | None])
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        raise InvalidRequest("`after` is not the `next` of a report.", param="after") from None
    of = tuple(name for name in names if not isinstance(name, int))
    if not isinstance(start_ms, int) or len(of) != len(grouping.by) or abs(start_ms) > MAX_TIME_MS:
        raise InvalidRequest("`after` is the `next` of another report.", param="after")
    return (start_ms, *of)
