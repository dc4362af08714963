"""May they, now? Decides by what this process holds of a limit, and asks the database where that is too little.

The database counts exactly: one operation takes of all windows of a subject, or of none. A subject that is asked for
often gets more than it needs, a lease, from which requests are let in without asking; what it does not use goes back.
While the database is away, each process counts its own share of every limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from app.domain.limits import Amounts, Bound, Standing
from app.errors import DatabaseUnavailable
from app.services.limits.denial import Denied, later, told
from app.services.limits.keeper import Keeper
from app.services.limits.looks import Looks
from app.services.limits.outage import PROBE_S, Mode, Outage
from app.services.limits.part import Part, Taken
from app.services.limits.plans import Plan, Plans
from app.services.limits.reservation import Reservation, end
from app.services.limits.slots import Slots
from app.services.limits.subject import Subject
from app.storage.limit_pipeline import Change
from app.storage.limits import Found, Limits

SUBJECTS = 10_000
LEFT_TO_OTHERS = 4
"""Of what is left, a process takes one part in so many for each process that there is."""

ASLEEP = 2
"""A deadline that is met so many times too late says nothing of the database."""

AGAIN_S = 5.0
"""When whoever needs a budget may come again while the database is away."""


class Limiter:
    """Reserves room for requests.

    Args:
        store: Where limits are counted.
        gateways: How many processes count there.
        timeout_s: How long a request waits for the database at the most.
        grace_s: How long budgets stay open while it is away.
        on_mode: Hears of every change of mode.
        clock: Monotonic seconds.
        subjects: How many are remembered.
        probe_s: How often a database that is away is probed.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        store: Limits,
        *,
        gateways: int,
        timeout_s: float,
        grace_s: float,
        on_mode: Callable[[Mode], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        subjects: int = SUBJECTS,
        probe_s: float = PROBE_S,
    ) -> None:
        self._store = store
        self._gateways = gateways
        self._timeout_s = timeout_s
        self._clock = clock
        self._outage = Outage(self._probe, grace_s=grace_s, on_mode=on_mode, clock=clock, probe_s=probe_s)
        self._keeper = Keeper(self._tell, self._outage, slot_life_s=store.slot_life_s, clock=clock)
        self._looks = Looks(store, self._outage, timeout_s=timeout_s, clock=clock)
        self._plans = Plans(subjects, self._keeper.keep)
        self._asking: set[asyncio.Task[Any]] = set()

    @property
    def mode(self) -> Mode:
        """How limits are counted now."""
        return self._outage.mode

    @property
    def mode_changes(self) -> int:
        """How often that changed."""
        return self._outage.changes

    async def reserve(self, bounds: Sequence[Bound], amounts: Amounts) -> Reservation:
        """Take what a request needs, of all of its bounds or of none.

        Args:
            bounds: Best the same tuple each time, for those who are limited alike.
            amounts: What counts for a bound is what is here of its kind.

        Raises:
            RateLimited: A bound has less left, or never has as much.
            InsufficientQuota: The same, of a budget.
            DatabaseUnavailable: A budget cannot be checked, and has not been for too long.
        """
        if not bounds:
            return Reservation((), self._clock, self._keeper.keep)
        plan = self._plans.of(bounds)
        taken: list[Taken] = []
        try:
            denied = await self._gather(plan, amounts, taken)
        except BaseException:
            self._return(taken)
            raise
        if denied is not None:
            self._return(taken)
            raise told(denied, self._standings(plan))
        return Reservation(taken, self._clock, self._keeper.keep)

    async def standings(self, bounds: Sequence[Bound]) -> tuple[Standing, ...]:
        """How bounds stand; nothing is taken.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        plan = self._plans.of(bounds) if bounds else ()
        for part in plan:
            if self._outage.lasts:
                raise _away()
            reading = asyncio.create_task(self._read(part))
            self._asking.add(reading)
            reading.add_done_callback(self._asking.discard)
            # It tells the database what there is to tell, too: whoever leaves must not take that along.
            await asyncio.shield(reading)
        return self._standings(plan) + tuple(place for part in plan for place in part.places())

    async def close(self) -> None:
        """Give back what this process holds."""
        await self._looks.close()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._keeper.close()
        await self._outage.close()

    async def _gather(self, plan: Plan, amounts: Amounts, taken: list[Taken]) -> Denied | None:
        """Take of each subject of a plan in turn; what is in the way, if something is."""
        now = self._clock()
        for index, part in enumerate(plan):
            found = part.take(amounts, now) if not part.subject.queued else None
            if found is None:
                # Nobody waits, or is given quota, for what is going to be refused anyway.
                if denied := self._refusal(plan[index:], amounts, now):
                    return denied
                try:
                    found = await self._take(part, amounts)
                except Denied as error:
                    return later(error, self._refusal(plan[index + 1 :], amounts, self._clock()))
            taken.append(found)
        return None

    def _refusal(self, parts: Plan, amounts: Amounts, now: float) -> Denied | None:
        """Why a request cannot have what it needs of these, by what the database said a moment ago."""
        if self._outage.lasts:
            return None
        worst: Denied | None = None
        for part in parts:
            if denied := part.refusal(amounts, now):
                if denied.wait_s is not None:
                    self._looks.begin(part.subject, now)
                worst = later(worst, denied)
        return worst

    async def _take(self, part: Part, amounts: Amounts) -> Taken:
        """Take of one subject, if need be by asking the database."""
        if self._outage.lasts:
            now = self._clock()
            return part.take(amounts, now) or self._share(part, amounts, now)
        subject = part.subject
        subject.queued += 1
        try:
            await subject.turn.acquire()
            found = self._decide(part, amounts)
            if isinstance(found, Taken):
                return found
            try:
                # Whoever leaves must not take the operation along: it may have been done already.
                return await asyncio.shield(found)
            except asyncio.CancelledError:
                found.add_done_callback(self._unwanted)
                raise
            except DatabaseUnavailable:
                return self._share(part, amounts, self._clock())
        finally:
            subject.queued -= 1

    def _decide(self, part: Part, amounts: Amounts) -> Taken | asyncio.Task[Taken]:
        """What is there by now, or who asks the database for it: the turn ends then, and here otherwise."""
        asks = False
        try:
            now = self._clock()
            if found := part.take(amounts, now):
                return found
            if self._outage.lasts:
                return self._share(part, amounts, now)
            if denied := part.refusal(amounts, now):
                raise denied
            task = asyncio.create_task(self._ask(part, amounts))
            asks = True
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            return task
        finally:
            if not asks:
                part.subject.turn.release()

    async def _ask(self, part: Part, amounts: Amounts) -> Taken:
        """Ask the database, whoever waits for it; ends the turn."""
        subject, ok = part.subject, False
        used: Sequence[Slots] = ()
        try:
            # Whoever came in the same moment waits by now: it is asked for them, too.
            change, used = part.change(amounts, self._clock())
            ok = (await self._operate(subject, change)).ok
            if not ok:
                raise part.denied(amounts, self._clock())
            taken = part.taken(amounts, change, used)
            if subject.holds():
                self._keeper.keep(subject)
            return taken
        finally:
            if not ok:
                for slots in used:
                    slots.release(self._clock())
            subject.turn.release()

    async def _read(self, part: Part) -> None:
        """Ask the database how a subject stands."""
        async with part.subject.turn:
            if self._outage.lasts:
                raise _away()
            await self._operate(part.subject, part.reading(self._clock()))

    async def _operate(self, subject: Subject, change: Change, *, again: bool = False) -> Found:
        """Change a subject's document; in one's turn."""
        sent = self._clock()
        try:
            share = LEFT_TO_OTHERS * self._gateways
            found = await self._store.apply(change, share=share, timeout_s=self._timeout_s)
        except DatabaseUnavailable:
            subject.forget(change)
            self._keeper.keep(subject)
            if not again and self._clock() - sent >= ASLEEP * self._timeout_s:
                # It was this process that slept, and may have slept through the answer: no reason to count by itself.
                # What it asked for may be taken twice then, which lets nobody in who should not be.
                return await self._operate(subject, change.asking(), again=True)
            self._outage.begin()
            raise
        subject.absorb(found, change, sent, self._clock(), self._store.slot_life_s)
        return found

    async def _tell(self, subject: Subject) -> None:
        """Tell the database what a subject has for it."""
        async with subject.turn:
            if self._outage.lasts:
                # Since it has waited for its turn: what is put into a change that nobody sends would be told to nobody.
                return
            change = subject.change({}, {}, self._clock())
            if change.windows or change.slots:
                try:
                    await self._operate(subject, change)
                except DatabaseUnavailable:
                    return

    def _share(self, part: Part, amounts: Amounts, now: float) -> Taken:
        if self.mode == "closed" and part.needs_budget(amounts):
            raise _away()
        self._keeper.keep(part.subject)
        return part.share(amounts, self._gateways, now)

    def _unwanted(self, task: asyncio.Task[Taken]) -> None:
        """Give back what nobody waits for any more."""
        if not task.cancelled() and task.exception() is None:
            self._return([task.result()])

    def _return(self, taken: Sequence[Taken]) -> None:
        for each in taken:
            end(each, None, self._clock(), self._keeper.keep)

    def _standings(self, plan: Plan) -> tuple[Standing, ...]:
        now, found = self._clock(), list[Standing]()
        for part in plan:
            found += part.standings(now)
        return tuple(found)

    async def _probe(self) -> None:
        await self._store.probe(timeout_s=self._timeout_s)


def _away() -> DatabaseUnavailable:
    return DatabaseUnavailable("The database that budgets are kept in does not answer.", retry_after_s=AGAIN_S)
