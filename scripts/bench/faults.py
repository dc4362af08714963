"""What goes wrong around a running service on purpose: processes are killed, and made to stand still."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

import psutil

from scripts.bench.processes import GATEWAY, command_of, role

REPLICA, DATABASE = "model replica", "database"
ENOUGH_S = 60.0
POLL_S = 0.25

Processes = Callable[[], Iterable[psutil.Process]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens when so many requests have been made.

    Attributes:
        kills: Of which processes one is killed, each; all in the same moment.
        pause_s: Or how long the database stands still.
    """

    at: int
    kills: Sequence[str] = ()
    pause_s: float = 0.0


def spread(requests: int, *, replicas: int, gateways: int, both: int, pause_s: float) -> list[Fault]:
    """So many faults of each kind, evenly over so many requests."""
    kinds = [(REPLICA,)] * replicas + [(GATEWAY,)] * gateways + [(REPLICA, GATEWAY)] * both
    Random(len(kinds)).shuffle(kinds)
    faults: list[Fault] = [Fault(0, kills) for kills in kinds]
    if pause_s:
        faults.insert(len(faults) // 2, Fault(0, pause_s=pause_s))
    step = requests // (len(faults) + 1)
    return [Fault(step * number, fault.kills, fault.pause_s) for number, fault in enumerate(faults, 1)]


class Faults:
    """Brings them about, one after the other.

    Args:
        processes: All that belongs to the service, whenever it is asked.
        expected: How many processes there have to be of a kind before one of them is killed.

    Attributes:
        done: How often what was killed, or paused.
    """

    def __init__(self, processes: Processes, expected: dict[str, int], random: Random) -> None:
        self.done: Counter[str] = Counter()
        self._processes = processes
        self._expected = expected
        self._random = random
        self._begun = 0
        self._due: tuple[int, asyncio.Event] | None = None

    def progress(self, begun: int) -> None:
        """So many requests have been made."""
        self._begun = begun
        if self._due is not None and begun >= self._due[0]:
            self._due[1].set()

    async def run(self, faults: Sequence[Fault], say: Callable[[str], None]) -> None:
        """Wait for the moment of each, and have it happen. While the database stands still, the others go on.

        Raises:
            TimeoutError: What was killed did not come back.
        """
        async with asyncio.TaskGroup() as pauses:
            for fault in faults:
                self._due = (fault.at, asyncio.Event())
                self.progress(self._begun)
                await self._due[1].wait()
                if fault.pause_s:
                    say(f"after {self._begun} requests: the database stands still for {fault.pause_s:g} s")
                    pauses.create_task(self._pause(fault.pause_s))
                else:
                    say(f"after {self._begun} requests: kills {' and '.join(fault.kills)}")
                    await self._kill(fault.kills)

    async def whole(self) -> None:
        """Return when all that there has to be is there.

        Raises:
            TimeoutError: It does not come.
        """
        await asyncio.to_thread(self._wait_until_whole)

    async def _kill(self, kinds: Sequence[str]) -> None:
        await self.whole()
        victims = [self._random.choice(await asyncio.to_thread(self._of, kind)) for kind in kinds]
        # None of them may hear of the other's end.
        for strike in (psutil.Process.suspend, psutil.Process.kill):
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    strike(victim)
        self.done[" and ".join(kinds)] += 1

    async def _pause(self, seconds: float) -> None:
        paused = await asyncio.to_thread(self._of, DATABASE)
        for process in paused:
            process.suspend()
        try:
            await asyncio.sleep(seconds)
        finally:
            for process in paused:
                process.resume()
        self.done[DATABASE] += 1

    def _wait_until_whole(self) -> None:
        deadline = time.monotonic() + ENOUGH_S
        while missing := [kind for kind, number in self._expected.items() if len(self._of(kind)) < number]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"what was killed did not come back: {', '.join(missing)}")
            time.sleep(POLL_S)

    def _of(self, kind: str) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                if role(command_of(process))[0] == kind and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found
