"""Hands over what guests have to the accounts that they turn out to have: once begun it is ended, whoever dies."""

from __future__ import annotations

import asyncio
import logging

from app.domain.audit_event import Actor
from app.domain.origin import Origin
from app.domain.user import User
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.liveness import DeadProcess, Liveness
from app.services.persist import persist
from app.storage.merges import Merge
from app.storage.stores import Stores

logger = logging.getLogger("manta")

WAIT_S = 10.0
"""How long a sign-in waits for it: whoever has much finds the rest a little later."""


class Merging:
    """What one process hands over. Any of it done again, by anybody, has no effect, but two must not do it at once."""

    def __init__(self, stores: Stores, audit: Audit, authenticator: Authenticator, liveness: Liveness) -> None:
        self._merges = stores.merges
        self._users = stores.users
        self._ownership = stores.ownership
        self._audit = audit
        self._authenticator = authenticator
        self._liveness = liveness
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        liveness.add_heir(self._take_over)

    async def merge(self, guest: User, user: User, origin: Origin) -> None:
        """End a guest, and make all that is theirs the user's; what takes long goes on behind whoever asked for it.

        Raises:
            DatabaseUnavailable: The database did not answer before it was begun.
        """
        merge = Merge(guest.id, user.id, await self._liveness.me(), origin)
        # The guest ends first, and only a guest does: by now another sign-in may have made a user of them.
        if await self._merges.begin(merge):
            self._authenticator.forget(guest.id)
            await asyncio.wait((self._begin(merge),), timeout=WAIT_S)

    async def idle(self) -> None:
        """Return when nothing is on its way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Leave what is on its way to others; before the liveness ends."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, merge: Merge) -> asyncio.Task[None]:
        task = asyncio.create_task(self._carefully(merge), name=f"merging {merge.guest}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carefully(self, merge: Merge) -> None:
        try:
            await persist(lambda: self._hand_over(merge))
        except Exception:
            logger.exception("What %s had is not all %s's; whoever comes after this process goes on", *_names(merge))

    async def _hand_over(self, merge: Merge) -> None:
        guest, into = _names(merge)
        # Who deleted their account meanwhile wanted none of it.
        if await self._users.get(into) is not None:
            moved = await self._ownership.move(guest, into)
            actor = Actor(into, None, merge.origin)
            await self._audit.record("guest.upgraded", actor, guest, into=into, moved=moved)
        await self._ownership.delete(guest)
        await self._users.delete(guest)

    async def _take_over(self, dead: DeadProcess) -> bool:
        """The heir of what dead processes were at."""
        if self._closing:
            return False
        for merge in await self._merges.of(dead.id):
            if await self._merges.claim(merge, self._liveness.id):
                logger.info("What %s had goes on to %s, whoever began it being dead", *_names(merge))
                self._begin(merge)
        return True


def _names(merge: Merge) -> tuple[str, str]:
    return merge.guest, merge.into
