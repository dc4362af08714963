"""Which gateway processes live: each is heard of every few seconds, and what a dead one left falls to the others.

Times are the database's, so clocks that differ do no harm. While the database is away nobody is heard of: whoever comes
back to it takes nobody for dead before all the others had the time to come back too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.domain.secrets import random_base62
from app.errors import DatabaseUnavailable
from app.services.periodic import Periodic
from app.storage.processes import ProcessBeat, Processes

DEAD_S = 20.0
BEATS = 4
"""How often a process is heard of in the time after which it counts as dead."""


@dataclass(frozen=True, slots=True)
class DeadProcess:
    """One that is heard of no more.

    Attributes:
        for_s: How long it has counted as dead, in seconds, as far as this process has seen.
    """

    id: str
    for_s: float


Heir = Callable[[DeadProcess], Awaitable[bool]]
"""Takes over what a dead process left, and is asked again until nothing is left: whether that is so."""


class Liveness:
    """This process's life, and what it knows of the others'.

    Args:
        dead_s: After how many seconds of silence a process counts as dead.
        clock: Monotonic seconds.

    Attributes:
        id: This process's.
        beat_s: How often it is heard of, in seconds.
    """

    def __init__(
        self, processes: Processes, *, dead_s: float = DEAD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.id = random_base62(20)
        self.beat_s = dead_s / BEATS
        self._processes = processes
        self._dead_s = dead_s
        self._clock = clock
        self._heirs: list[Heir] = []
        self._first: float | None = None
        self._last = float("-inf")
        self._ahead_ms = 0.0
        self._found_dead: dict[str, float] = {}
        self._rounds = Periodic(
            self.round, name="being heard of, and taking over from the dead", every_s=self.beat_s, at_once=True
        )

    def add_heir(self, heir: Heir) -> None:
        """Have ``heir`` asked about every dead process; before ``start``."""
        self._heirs.append(heir)

    def start(self) -> None:
        """Be heard of from now on."""
        self._rounds.start()

    async def close(self) -> None:
        """Say that this process ends. What it was at must be at rest."""
        if await self._rounds.close():
            with contextlib.suppress(DatabaseUnavailable):
                await self._processes.leave(self.id)

    async def me(self) -> str:
        """This process's id, for what is to be taken over when it dies: others see it live by now.

        Raises:
            DatabaseUnavailable: They cannot.
        """
        if self._clock() - self._last > self._dead_s / 2:
            await self._beat()
        return self.id

    async def is_alive(self, process: str) -> bool:
        """Whether a process may still be at what it was at.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        if process == self.id:
            return True
        found = await self._processes.get(process)
        return found is not None and not self._is_dead(found)

    async def round(self) -> None:
        """Be heard of, and have what dead processes left taken over.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        await self._beat()
        for process in await self._processes.all():
            if process.id == self.id or not self._is_dead(process):
                self._found_dead.pop(process.id, None)
                continue
            since = self._found_dead.setdefault(process.id, self._clock())
            dead = DeadProcess(process.id, self._clock() - since)
            # All of them, though one may have more to do.
            settled = [await heir(dead) for heir in self._heirs]
            if all(settled):
                await self._processes.forget(process)
                del self._found_dead[process.id]

    async def _beat(self) -> None:
        database_ms = await self._processes.beat(self.id)
        now = self._clock()
        if self._first is None or now - self._last > self._dead_s:
            self._first = now
        self._last = now
        self._ahead_ms = database_ms - now * 1000

    def _is_dead(self, process: ProcessBeat) -> bool:
        if process.left:
            return True
        now = self._clock()
        # Who was away may be what was silent.
        if self._first is None or now - self._last > self._dead_s or now - self._first < self._dead_s:
            return False
        return now * 1000 + self._ahead_ms - process.beat_ms > self._dead_s * 1000
