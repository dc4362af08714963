"""The bounds of one request that hang on one subject: taken together, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.limits import Amounts, Bound, Standing, What
from app.services.limits.denial import Denied
from app.services.limits.share import share_of
from app.services.limits.slots import RETRY_S, Slots
from app.services.limits.subject import Subject
from app.services.limits.window import REMEMBERED_S, Where, Window
from app.storage.limit_pipeline import Change, SlotsChange, WindowChange

CONCURRENT: What = "concurrent_requests"

Piece = tuple[Bound, Window, Where, int, int]
"""Of which bound, from which window, from what of it, how much, and what was left then."""


@dataclass(slots=True)
class Taken:
    """What a request took of one subject."""

    subject: Subject
    pieces: list[Piece]
    slots: Sequence[Slots]


class Part:
    """What a sequence of bounds asks of one subject; made once, used by every request with those bounds."""

    __slots__ = ("_slots", "_windows", "subject")

    def __init__(self, subject: Subject, bounds: Sequence[Bound]) -> None:
        self.subject = subject
        self._windows: list[tuple[What, Bound, Window]] = []
        self._slots: list[tuple[Bound, Slots]] = []
        for bound in bounds:
            if bound.limit.per is None:
                self._slots.append((bound, subject.slots_of(bound)))
            else:
                self._windows.append((bound.limit.what, bound, subject.window(bound, bound.limit.per)))

    def take(self, amounts: Amounts, now: float) -> Taken | None:
        """Take it of what this process holds; None if that is too little."""
        for what, _, window in self._windows:
            amount = amounts.get(what, 0)
            if amount and (window.held < amount or window.until <= now):
                return None
        slots: Sequence[Slots] = ()
        if self._slots and amounts.get(CONCURRENT):
            slots = [each for _, each in self._slots]
            for each in slots:
                if not each.has_free(now):
                    return None
            for each in slots:
                each.in_use += 1
        pieces: list[Piece] = []
        for what, bound, window in self._windows:
            amount = amounts.get(what, 0)
            window.held -= amount
            window.spent += amount
            left = bound.limit.count - window.used + window.held
            pieces.append((bound, window, window.slice if amount else None, amount, left))
        return Taken(self.subject, pieces, slots)

    def change(self, amounts: Amounts, now: float) -> tuple[Change, tuple[Slots, ...]]:
        """What to ask the database for, and the slots that are held already and are in use from here on."""
        waiting = max(0, self.subject.queued - 1)
        windows: dict[str, WindowChange] = {}
        # Who has to ask for one of them anyway, needs no lease of the others.
        bursts = any(bound.limit.burst is not None for _, bound, _ in self._windows)
        for what, bound, window in self._windows:
            window.limit = bound.limit
            if amount := amounts.get(what, 0):
                windows[window.field] = window.change(amount, 0 if bursts else waiting * amount, now, alone=bursts)
            elif not window.known:
                windows[window.field] = window.change(0, 0, now)
        slots: dict[str, SlotsChange] = {}
        used: list[Slots] = []
        for bound, each in self._slots if amounts.get(CONCURRENT) else ():
            each.count = bound.limit.count
            if each.has_free(now):
                each.in_use += 1
                used.append(each)
                slots[each.name] = each.change(0, 0, now)
            else:
                slots[each.name] = each.change(1, 0 if bursts else waiting, now)
        return self.subject.change(windows, slots, now), tuple(used)

    def reading(self, now: float) -> Change:
        """What to ask the database for where only the standings are wanted."""
        for _, bound, window in self._windows:
            window.limit = bound.limit
        windows = {each.field: each.change(0, 0, now) for _, _, each in self._windows}
        return self.subject.change(windows, {each.name: each.change(0, 0, now) for _, each in self._slots}, now)

    def taken(self, amounts: Amounts, change: Change, used: Sequence[Slots]) -> Taken:
        """What the database let a request have."""
        slots = list(used)
        for asked in change.slots:
            if asked.need:
                each = self.subject.slots[asked.name]
                each.in_use += 1
                slots.append(each)
        pieces: list[Piece] = []
        for what, bound, window in self._windows:
            amount = amounts.get(what, 0)
            window.spent += amount
            left = bound.limit.count - window.used + window.held
            pieces.append((bound, window, window.current if amount else None, amount, left))
        return Taken(self.subject, pieces, slots)

    def share(self, amounts: Amounts, processes: int, now: float) -> Taken:
        """Take it of this process's share, while the database is away.

        Raises:
            Denied: The share has less left, or the database had less when it was last heard.
        """
        wanted = [(bound, window, amounts.get(what, 0)) for what, bound, window in self._windows]
        for bound, window, amount in wanted:
            if not amount:
                continue
            if window.share.left(bound.limit, processes, now) < amount:
                raise Denied(bound, amount, min(60.0, window.share.wait_s(bound.limit, processes, amount, now)))
            # A database that stumbles now and then gives nobody a share on top of what they had.
            wait_s = window.wait_s(bound.limit, amount + window.share.unpaid, now) if window.known else 0.0
            if wait_s > 0:
                raise Denied(bound, amount, min(60.0, wait_s))
        slots = [each for _, each in self._slots] if amounts.get(CONCURRENT) else []
        for bound, each in self._slots if slots else ():
            if each.in_use >= share_of(bound.limit, processes):
                raise Denied(bound, 1, RETRY_S)
        for each in slots:
            each.in_use += 1
        pieces: list[Piece] = [
            (
                bound,
                window,
                window.share.take(amount, now) if amount else None,
                amount,
                window.share.left(bound.limit, processes, now),
            )
            for bound, window, amount in wanted
        ]
        return Taken(self.subject, pieces, slots)

    def refusal(self, amounts: Amounts, now: float, *, fresh: bool = False) -> Denied | None:
        """Why the database need not be asked: it said a moment ago that there is less left, or never has as much.

        Args:
            fresh: Believe what it last said: that was about this.

        Returns:
            What the caller is to be told; None if the database should be asked.
        """
        worst: Denied | None = None
        for what, bound, window in self._windows:
            amount = amounts.get(what, 0)
            if not amount:
                continue
            if amount > bound.limit.count or (bound.limit.burst is not None and amount > bound.limit.burst):
                return Denied(bound, amount, None)
            believed = fresh or now - window.seen_at < REMEMBERED_S
            wait_s = window.wait_s(bound.limit, amount, now) if believed else 0.0
            if wait_s > 0 and (worst is None or wait_s > (worst.wait_s or 0)):
                worst = Denied(bound, amount, wait_s)
        for bound, slots in self._slots if amounts.get(CONCURRENT) else ():
            if bound.limit.count < 1:
                return Denied(bound, 1, None)
            if not slots.has_free(now) and slots.seem_full(bound.limit.count, now, fresh=fresh):
                worst = worst or Denied(bound, 1, RETRY_S)
        return worst

    def denied(self, amounts: Amounts, now: float) -> Denied:
        """Why the database said no."""
        if denied := self.refusal(amounts, now, fresh=True):
            return denied
        # It has passed since: the next one may.
        bound = self._windows[0][1] if self._windows else self._slots[0][0]
        return Denied(bound, amounts.get(bound.limit.what, 0), 0.001)

    def standings(self, now: float) -> list[Standing]:
        """How its windows stand, those that the database was ever asked about."""
        return [
            standing(bound, window, window.remaining(bound.limit), now)
            for _, bound, window in self._windows
            if window.known
        ]

    def places(self) -> Iterator[Standing]:
        """How its slots stand, once the database was asked about them."""
        for bound, slots in self._slots:
            yield Standing(bound, slots.left(bound.limit.count), 0, 0)

    def needs_budget(self, amounts: Amounts) -> bool:
        """Whether something is asked of a budget."""
        return any(bound.limit.is_budget and amounts.get(what, 0) for what, bound, _ in self._windows)


def standing(bound: Bound, window: Window, remaining: int, now: float) -> Standing:
    """How a bound stands with so much left."""
    return Standing(bound, remaining if remaining > 0 else 0, *window.resets(now))
