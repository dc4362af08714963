"""The policy in force: the file's, or what admins set at run time, known to every process within seconds."""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import ValidationError

from app.domain.audit_event import Actor
from app.domain.limit_policy import Policy
from app.domain.limit_table import LimitTable
from app.services.audit import Audit
from app.services.periodic import Periodic
from app.storage.limit_tables import LimitTables

logger = logging.getLogger("manta")

FOLLOW_S = 2.0
"""How often a process looks for a table that was set through another one."""

Origin = Literal["file", "admin"]


class Policies:
    """What limits hold.

    Args:
        file: The table that this installation started with.

    Attributes:
        current: The policy in force.
    """

    def __init__(self, file: LimitTable, tables: LimitTables, audit: Audit) -> None:
        self._file = Policy.of(file)
        self._tables = tables
        self._audit = audit
        self._version: int = 0
        # Whoever follows no more never hears of the limits that come after these.
        self._following = Periodic(self.refresh, name="reading the limits in force", every_s=FOLLOW_S, at_once=True)
        self.current = self._file

    @property
    def origin(self) -> Origin:
        """Where the table in force comes from."""
        return "file" if self.current is self._file else "admin"

    def start(self) -> None:
        """Follow, in the background."""
        self._following.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._following.close()

    async def set(self, table: LimitTable, actor: Actor) -> None:
        """Put a table in force: here at once, elsewhere within ``FOLLOW_S``.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        await self._audit.record("limits.updated", actor, "limits")
        await self._tables.put(table.to_dict())
        await self.refresh()

    async def reset(self, actor: Actor) -> None:
        """Go back to the file's table.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        await self._audit.record("limits.reset", actor, "limits")
        await self._tables.put(None)
        await self.refresh()

    async def refresh(self) -> None:
        """Take what is stored, if it is new.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        stored = await self._tables.get()
        if stored is None or stored.version == self._version:
            return
        try:
            current = self._file if stored.values is None else Policy.of(LimitTable.model_validate(stored.values))
        except ValidationError as error:
            # Another version of this program knows other fields: what was in force stays.
            logger.error("the limits in the database cannot be used, those before stay: %s", error)
        else:
            self.current = current
            logger.info("limits changed: now %s", "the file's" if stored.values is None else "an admin's")
        self._version = stored.version
