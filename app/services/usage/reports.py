"""Answers what was used, by whom, when and of what."""

from __future__ import annotations

from app.domain.page import Page, PageRequest
from app.domain.usage import UsageEvent
from app.domain.usage_report import UsagePage, UsageQuery, UsageRow
from app.storage.stores import Stores

MAX_ROWS = 10_000


class UsageReports:
    """Sums and single requests, complete as of what the database has.

    What anybody but an admin is shown has to have their own id in ``owners``.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def rows(self, query: UsageQuery, *, limit: int = MAX_ROWS) -> list[UsageRow]:
        """The first rows of a report.

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
            InvalidRequest: ``after`` is nothing that was given out.
        """
        raise NotImplementedError

    async def recent(self, owner: str, page: PageRequest, *, key_id: str | None = None) -> Page[UsageEvent]:
        """Somebody's requests, the newest first unless the page says otherwise; those by one key, if one is named.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a request that is not theirs.
        """
        raise NotImplementedError
