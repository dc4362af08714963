"""What a request took of its limits, until it is known what it really took."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.domain.limits import Amounts, Standing
from app.services.limits.part import Taken, standing
from app.services.limits.subject import Subject

Touched = Callable[[Subject, bool], None]
"""Hears that a subject has something for the database, and whether at once."""


class Reservation:
    """Room for one request. End it once, by ``settle`` or ``cancel``: calls after the first do nothing."""

    __slots__ = ("_clock", "_taken", "_touched", "_under_way")

    def __init__(self, taken: Sequence[Taken], clock: Callable[[], float], touched: Touched) -> None:
        self._taken = taken
        self._clock = clock
        self._touched = touched
        self._under_way = True

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How the windows stood right after this was taken; those left out that nothing is known of."""
        now = self._clock()
        return tuple(
            standing(bound, window, left, now)
            for taken in self._taken
            for bound, window, _, _, left in taken.pieces
            if window.known
        )

    def settle(self, actual: Amounts) -> None:
        """Say what it really took.

        The difference goes back to where it was taken from, or is charged there, beyond the limit if need be; nowhere
        if that does not count any more. Slots come free.

        Args:
            actual: What is not in it, is as it was reserved.
        """
        if self._under_way:
            self._under_way = False
            self._end(actual)

    def cancel(self) -> None:
        """It was not served: all goes back."""
        if self._under_way:
            self._under_way = False
            self._end(None)

    def _end(self, actual: Amounts | None) -> None:
        for taken in self._taken:
            end(taken, actual, self._clock(), self._touched)


def end(taken: Taken, actual: Amounts | None, now: float, touched: Touched) -> None:
    """Give back what was taken of one subject; with None, all of it."""
    changed = at_once = False
    for bound, window, where, amount, _ in taken.pieces:
        unused = amount if actual is None else amount - actual.get(bound.limit.what, amount)
        if unused:
            window.give(where, unused, now)
            changed = True
    for slots in taken.slots:
        at_once |= slots.release(now)
        changed = True
    if changed:
        touched(taken.subject, at_once)
