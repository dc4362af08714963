"""What is asked of which subject, worked out once for all requests with the same bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

from app.domain.limits import Bound
from app.services.limits.part import Part
from app.services.limits.subject import Subject

K = TypeVar("K")
V = TypeVar("V")
Plan = tuple[Part, ...]

TRIES = 8
"""How many of the oldest subjects are looked at for one that can be forgotten."""


class Plans:
    """The subjects that were asked for lately, and what sequences of bounds ask of them.

    Args:
        size: How many of each are remembered.
        forgotten: Hears of a subject that still has something for the database.
    """

    def __init__(self, size: int, forgotten: Callable[[Subject], None]) -> None:
        self._size = size
        self._forgotten = forgotten
        self._subjects: OrderedDict[str, Subject] = OrderedDict()
        self._plans: OrderedDict[Sequence[Bound], Plan] = OrderedDict()
        # Most callers bring the very same tuple each time: to hash all that is in it takes longer than to decide.
        self._by_id: OrderedDict[int, tuple[Sequence[Bound], Plan]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._subjects)

    def of(self, bounds: Sequence[Bound]) -> Plan:
        """The parts of these bounds, in the order in which their subjects come."""
        known = self._by_id.get(id(bounds))
        if known is not None and known[0] is bounds:
            plan = known[1]
            for part in plan:
                if part.subject.gone:
                    break
                self._subjects.move_to_end(part.subject.key)
            else:
                return plan
        key = tuple(bounds)
        plan = self._plans.get(key)
        if plan is None or any(part.subject.gone for part in plan):
            by_subject: dict[str, list[Bound]] = {}
            for bound in key:
                by_subject.setdefault(bound.subject, []).append(bound)
            plan = tuple(Part(self._subject(subject), each) for subject, each in by_subject.items())
            _put(self._plans, key, plan, self._size)
        if key is bounds:
            _put(self._by_id, id(bounds), (bounds, plan), self._size)
        return plan

    def _subject(self, key: str) -> Subject:
        subject = self._subjects.get(key)
        if subject is None:
            if len(self._subjects) >= self._size:
                self._forget_one()
            subject = self._subjects[key] = Subject(key)
        self._subjects.move_to_end(key)
        return subject

    def _forget_one(self) -> None:
        for _ in range(TRIES):
            key, subject = next(iter(self._subjects.items()))
            if not subject.is_busy():
                del self._subjects[key]
                subject.gone = True
                subject.lapse()
                if subject.holds():
                    self._forgotten(subject)
                return
            self._subjects.move_to_end(key)


def _put(into: OrderedDict[K, V], key: K, value: V, size: int) -> None:
    into[key] = value
    into.move_to_end(key)
    if len(into) > size:
        into.popitem(last=False)
