"""What a process may take of a window while the database is away: its share, in any stretch of the period."""

from __future__ import annotations

from app.domain.limits import Limit, Per
from app.domain.slices import SLICES, width_ms

NOWHERE = -1
"""A slice that is over."""


class Debt:
    """What was taken of a share in one slice, and is charged to the database when it is back.

    Attributes:
        amount: How much.
    """

    __slots__ = ("_asked", "_late", "_slice", "amount")

    def __init__(self) -> None:
        self.amount = 0
        self._asked = False
        self._late = 0
        self._slice: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the database has to be told of it."""
        return not self._asked and self.amount > 0

    @property
    def is_counted(self) -> bool:
        """Whether the database is known to have counted it."""
        return self._slice is not None and self._slice != NOWHERE

    def give(self, amount: int) -> int | None:
        """Take back what was not used.

        Returns:
            The slice in which the database has counted it; None where it has not, so that it need not be told.
        """
        self.amount -= amount
        if self._asked and self._slice is None:
            self._late += amount
        return self._slice

    def ask(self) -> int:
        """What the database is to be told now."""
        self._asked = True
        return max(0, self.amount)

    def paid(self, k: int) -> int:
        """The database has counted it in slice ``k``; what was given back since it was asked to."""
        if not self._asked or self._slice is not None:
            return 0
        self._slice = k
        return self._late

    def lost(self) -> None:
        """Nobody knows whether the database has counted it: it is not told again, nor of what comes back."""
        if self._asked and self._slice is None:
            self._slice = NOWHERE


def share_of(limit: Limit, processes: int) -> int:
    """What one of so many processes may take of a limit by itself."""
    return min(limit.count, max(1, limit.count // processes))


class Share:
    """A window of its own, by this process's monotonic clock."""

    __slots__ = ("_debts", "_kept", "_width_s")

    def __init__(self, per: Per) -> None:
        self._width_s = width_ms(per) / 1000
        self._kept = 1 if per == "month" else SLICES
        self._debts: list[tuple[int, Debt]] = []

    @property
    def owes(self) -> bool:
        """Whether the database has to be told of something."""
        return any(debt.is_open for _, debt in self._debts)

    @property
    def unpaid(self) -> int:
        """What was taken and is not known to be counted at the database."""
        return sum(debt.amount for _, debt in self._debts if not debt.is_counted)

    def left(self, limit: Limit, processes: int, now: float) -> int:
        """How much may still be taken."""
        if self._debts:
            oldest = int(now // self._width_s) - self._kept
            self._debts = [(k, debt) for k, debt in self._debts if k >= oldest]
        return share_of(limit, processes) - sum(debt.amount for _, debt in self._debts)

    def take(self, amount: int, now: float) -> Debt:
        """Take so much, which is left."""
        current = int(now // self._width_s)
        for k, debt in self._debts:
            # What the database was told of does not grow any more.
            if k == current and debt.is_open:
                debt.amount += amount
                return debt
        debt = Debt()
        debt.amount = amount
        self._debts.append((current, debt))
        return debt

    def wait_s(self, limit: Limit, processes: int, amount: int, now: float) -> float:
        """How long until so much more fits; infinity if the share is too small for it."""
        free = self.left(limit, processes, now)
        for k, debt in self._debts:
            free += debt.amount
            if free >= amount:
                return max(0.0, (k + self._kept + 1) * self._width_s - now)
        return float("inf")

    def owed(self) -> int:
        """What the database is to be told now, once."""
        return sum(debt.ask() for _, debt in self._debts if debt.is_open)

    def paid(self, k: int) -> int:
        """The database has counted that in slice ``k``; what came back since."""
        return sum(debt.paid(k) for _, debt in self._debts)

    def lost(self) -> None:
        """Nobody knows what the database made of what it was told."""
        for _, debt in self._debts:
            debt.lost()
