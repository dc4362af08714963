"""Slots for what is under way, as this process knows them: how many it holds at the database, and how many it uses."""

from __future__ import annotations

from app.storage.limit_pipeline import SlotsChange
from app.storage.limits import Held

KEPT_S = 1.0
"""How long a slot that came free is kept for the next request, while there are plenty."""

REMEMBERED_S = 0.1
"""How long it is believed that there are none: they come free at any moment."""

RETRY_S = 1.0
"""What a caller is told who finds none: nobody knows when one comes free."""


class Slots:
    """The slots of one name in a subject.

    The document says how many each process holds, and until when: whoever is not heard of loses them. Here they are
    used and come free without asking.

    Attributes:
        count: How many there are.
        held: How many the database knows to be this process's.
        in_use: How many requests are under way; more than are held where they began while the database was away.
    """

    __slots__ = ("_freed_at", "_others", "_seen_at", "_unsure", "_until", "count", "held", "in_use", "name")

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.held = 0
        self.in_use = 0
        self._others = 0
        self._until = float("-inf")
        self._seen_at = float("-inf")
        self._freed_at = float("-inf")
        self._unsure = False

    def has_free(self, now: float) -> bool:
        """Whether there is one that is held and not in use."""
        return self.in_use < self.held and now < self._until

    def seem_full(self, count: int, now: float, *, fresh: bool = False) -> bool:
        """Whether the database said just now that others hold all that are not in use here."""
        return (fresh or now - self._seen_at < REMEMBERED_S) and self._others + self.in_use >= count

    def left(self, count: int) -> int:
        """How many of so many are not in use, as far as the database said; what others keep for later is."""
        return max(0, count - self._others - self.in_use)

    @property
    def are_scarce(self) -> bool:
        """Whether others may soon miss those that are not in use here."""
        return (self._others + self.held) * 2 >= self.count

    @property
    def holds(self) -> bool:
        """Whether something has to go back, or be kept."""
        return bool(self.held or self.in_use or self._unsure)

    def lapse(self) -> None:
        """Keep none for later."""
        self._freed_at = float("-inf")

    def release(self, now: float) -> bool:
        """One request is over; whether the slot should go back at once."""
        self.in_use -= 1
        self._freed_at = now
        return self.are_scarce

    def is_due(self, now: float, life_s: float) -> bool:
        """Whether the database has to be told something."""
        if self._unsure or self.in_use > self.held:
            return True
        if self.held and now - self._seen_at >= life_s / 3:
            return True
        return self.in_use < self.held and (self.are_scarce or now - self._freed_at >= KEPT_S)

    def change(self, need: int, waiting: int, now: float) -> SlotsChange:
        """What to ask the database for; what is held meanwhile is what is held in any case."""
        spare = self.held - self.in_use
        if need or self.are_scarce or now - self._freed_at >= KEPT_S or now >= self._until:
            spare = 0
        self.held = self.in_use + max(0, spare)
        self._unsure = False
        return SlotsChange(self.name, self.count, self.held, need, waiting if need else 0)

    def absorb(self, held: Held, sent: float, life_s: float) -> None:
        """Learn what the database said."""
        self.held, self._others = held.held, held.others
        self._seen_at, self._until = sent, sent + life_s

    def forget(self) -> None:
        """Nobody knows what the database did."""
        self._unsure = True
        self._seen_at = float("-inf")
