"""One window, as this process knows it: the lease it holds of it, and how it stood when the database was last asked."""

from __future__ import annotations

from app.domain.limits import Limit, Per
from app.domain.slices import Slices, ends_at_ms, fits_at_ms, interval_ms, passes_at_ms, slice_at
from app.services.limits.share import Debt, Share
from app.storage.limit_pipeline import SLACK_MS, WindowChange
from app.storage.limits import Counted

LEASE_S = 2.0
"""How long a lease lasts at the most; it ends with the slice that it is of, too."""

REMEMBERED_S = 1.0
"""How long what the database said of a full window is believed: what others give back may come sooner."""

WORTH_A_LEASE = 2.0
"""Units a second: whoever spends fewer asks each time."""

QUIET_LOOKS = 2

Where = int | Debt | None
"""What an amount was taken from: a slice, or a share of the limit; None where nothing was."""


class Window:
    """A window of a subject.

    A lease is quota that the database has already counted, in one slice. It is spent here without asking, while that
    slice lasts: so what is spent always lies in the slice that counts it. How long that is, is told by this process's
    monotonic clock from before the database was asked: it ends here no later than there.

    Args:
        name: What it is called in its subject.
        limit: Of what it is.

    Attributes:
        field: What it is called in the document: another period is another count.
        held: What is left of the lease.
        slice: Which slice it is of.
        until: When it ends.
        used: What is taken at the database, the lease included.
        spent: What was taken of it since its pace was last looked at.
        current: The slice that was under way when the database was last asked.
        known: Whether it ever was.
        seen_at: When that was.
    """

    __slots__ = (
        "_all_back_ms",
        "_base_ms",
        "_carried",
        "_charge",
        "_current_back_ms",
        "_fits_at_ms",
        "_fits_for",
        "_rated_at",
        "_returns",
        "_seen_spent",
        "_slices",
        "_spread_ms",
        "_still",
        "current",
        "field",
        "held",
        "known",
        "limit",
        "per",
        "seen_at",
        "share",
        "slice",
        "spent",
        "until",
        "used",
    )

    def __init__(self, name: str, per: Per, limit: Limit) -> None:
        self.field = f"{name}:{per}"
        self.per: Per = per
        self.limit = limit
        self.held = 0
        self.slice = 0
        self.current = 0
        self.known = False
        self.until = float("-inf")
        self.used = 0
        self.spent = 0
        self.seen_at = float("-inf")
        self.share = Share(per)
        self._slices: Slices = ()
        self._spread_ms = 0.0
        self._base_ms = 0.0
        # When all of it is back, and what is taken of the slice under way: for every answer, made once.
        self._all_back_ms = 0.0
        self._current_back_ms = 0.0
        # When what was asked for last fits, and for what that holds: who is refused mostly asks for the same again.
        self._fits_for: tuple[int, int] | None = None
        self._fits_at_ms = 0.0
        self._returns: dict[int, int] = {}
        self._charge = 0
        self._carried = 0.0
        self._rated_at = float("-inf")
        self._seen_spent = 0
        self._still = 0

    def remaining(self, limit: Limit) -> int:
        """What is left, as far as this process knows."""
        return max(0, limit.count - self.used + self.held)

    def resets(self, now: float) -> tuple[float, float]:
        """When all of it is back, in Unix seconds by the database's clock; and the same from now."""
        now_ms = self._now_ms(now)
        at_ms = self._all_back_ms if self._all_back_ms > now_ms else now_ms
        return at_ms / 1000, (at_ms - now_ms) / 1000

    def wait_s(self, limit: Limit, amount: int, now: float) -> float:
        """How long until so much more fits, by what the database last said; 0 if it seems to fit now."""
        now_ms = self._now_ms(now)
        asked = (limit.count - self.used + self.held, amount)
        if asked != self._fits_for:
            self._fits_for = asked
            # What is charged and not in the slices yet has passed, too, when the latest of them has.
            self._fits_at_ms = min(fits_at_ms(self.per, self._slices, *asked), self._current_back_ms)
        fits_at = self._fits_at_ms
        if limit.burst is not None:
            interval = interval_ms(self.per, limit.count)
            spread_at = self._spread_ms + (amount - limit.burst) * interval
            fits_at = max(fits_at, spread_at if spread_at - now_ms > SLACK_MS else 0)
        return (fits_at - now_ms) / 1000 if fits_at > now_ms else 0.0

    def give(self, where: Where, amount: int, now: float) -> None:
        """Take back what was not used (or take more, where negative), in the slice it was taken from."""
        if where is None:
            self._charge -= amount
            self.used -= amount
            return
        if isinstance(where, Debt):
            paid = where.give(amount)
            if paid is None:
                return
            where = paid
        if self.slice == where and self.until > now:
            # Into the lease, or out of it as far as that goes.
            moved = max(amount, -self.held)
            self.held += moved
            amount -= moved
        if amount:
            self._return(where, amount)

    def _return(self, k: int, amount: int) -> None:
        self._returns[k] = self._returns.get(k, 0) - amount
        self.used -= amount

    def lapse(self) -> None:
        """Give up the lease."""
        if self.held:
            self._return(self.slice, self.held)
            self.held = 0
        self.until = float("-inf")

    def is_quiet(self) -> bool:
        """Whether nothing was spent between the last times that this was asked."""
        self._still = self._still + 1 if self._seen_spent == self.spent else 0
        self._seen_spent = self.spent
        return self._still >= QUIET_LOOKS

    @property
    def owes(self) -> bool:
        """Whether the database has to be told something."""
        return bool(self._returns or self._charge or self.share.owes)

    def change(self, need: int, waiting: int, now: float, *, alone: bool = False) -> WindowChange:
        """What to ask the database for, with all that it has to be told.

        Args:
            waiting: How much others wait for already.
            alone: Ask for no more than is needed.
        """
        extra = 0
        if need:
            # What it takes instead is of the slice that is under way then.
            self.lapse()
            if not alone:
                extra = self._expected(now)
        returns = tuple((k, delta) for k, delta in self._returns.items() if delta)
        charge = self._charge + self.share.owed()
        self._returns, self._charge = {}, 0
        limit = self.limit
        return WindowChange(self.field, self.per, limit.count, limit.burst, need, extra, waiting, charge, returns)

    def absorb(self, counted: Counted, change: WindowChange | None, now_ms: int, sent: float, got: float) -> None:
        """Learn what the database said.

        Args:
            change: What it was asked for, if it was.
            now_ms: The database's clock.
            sent: When it was asked.
            got: When it answered.
        """
        self._slices, self._spread_ms, self._fits_for = counted.slices, counted.spread_ms, None
        # What was given back since it was asked, it does not know yet.
        pending = sum(self._returns.values()) + self._charge
        self.used = sum(taken for _, taken in counted.slices) + pending
        self.known, self.seen_at, self._base_ms = True, sent, now_ms - got * 1000
        self.current = slice_at(self.per, now_ms)
        self._current_back_ms = passes_at_ms(self.per, self.current)
        self._all_back_ms = passes_at_ms(self.per, counted.slices[-1][0]) if counted.slices else 0.0
        if change is None:
            return
        if late := self.share.paid(self.current):
            self._return(self.current, late)
        # A burst's quota is for now, and not for as long as the slice lasts.
        if change.need and counted.granted and change.burst is None:
            self.held, self.slice = counted.granted - change.need, self.current
            self.until = sent + min(LEASE_S, (ends_at_ms(self.per, self.current) - now_ms) / 1000)

    def forget(self) -> None:
        """Nobody knows how it stands: the database did not answer."""
        self.seen_at = float("-inf")
        self.share.lost()

    def _now_ms(self, now: float) -> float:
        """The database's clock: what it shows by now, or a little less."""
        return self._base_ms + now * 1000

    def _expected(self, now: float) -> int:
        """How much will be spent of it while a lease lasts, if it goes on like in about the last second."""
        passed = now - self._rated_at
        recent = self.spent / passed if passed >= 1 else self.spent + self._carried * (1 - passed)
        self._carried, self._rated_at = recent, now
        self.spent = self._seen_spent = 0
        return int(recent * LEASE_S) if recent >= WORTH_A_LEASE else 0
