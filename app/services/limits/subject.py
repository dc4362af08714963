"""One subject: its document's windows and slots, and whose turn it is to ask the database for more."""

from __future__ import annotations

import asyncio

from app.domain.limits import Bound, Per
from app.domain.slices import oldest_live, slice_at
from app.services.limits.slots import Slots
from app.services.limits.window import Window
from app.storage.limit_pipeline import Change, SlotsChange, WindowChange
from app.storage.limits import Found


class Subject:
    """What a process knows of one document.

    Attributes:
        turn: Whoever has it asks the database; there is one operation at a time.
        queued: How many requests wait for it, or have it.
        seen_at: When the database was last asked.
        gone: It was forgotten: others are made for this document by now.
    """

    __slots__ = ("_stale", "gone", "key", "queued", "seen_at", "slots", "turn", "windows")

    def __init__(self, key: str) -> None:
        self.key = key
        self.windows: dict[str, Window] = {}
        self.slots: dict[str, Slots] = {}
        self.turn = asyncio.Lock()
        self.queued = 0
        self.seen_at = float("-inf")
        self.gone = False
        self._stale: tuple[tuple[str, Per], ...] = ()

    def window(self, bound: Bound, per: Per) -> Window:
        """The window that a bound is counted in."""
        found = self.windows.get(f"{bound.name}:{per}")
        if found is None:
            found = Window(bound.name, per, bound.limit)
            self.windows[found.field] = found
        return found

    def slots_of(self, bound: Bound) -> Slots:
        """The slots that a bound is counted in."""
        found = self.slots.get(bound.name)
        if found is None:
            found = self.slots[bound.name] = Slots(bound.name, bound.limit.count)
        return found

    def is_busy(self) -> bool:
        """Whether somebody waits, or uses what a subject of the same document must not claim as well."""
        return bool(self.queued) or self.turn.locked() or any(slots.holds for slots in self.slots.values())

    def holds(self) -> bool:
        """Whether there is something that has to go back one day."""
        for window in self.windows.values():
            if window.held or window.owes:
                return True
        return any(slots.holds for slots in self.slots.values())

    def lapse(self) -> None:
        """Give up what is not in use."""
        for window in self.windows.values():
            window.lapse()
        for slots in self.slots.values():
            slots.lapse()

    def is_hasty(self) -> bool:
        """Whether others may wait for what is not in use here."""
        return any(slots.in_use < slots.held and slots.are_scarce for slots in self.slots.values())

    def is_due(self, now: float, slot_life_s: float) -> bool:
        """Whether the database has to be told something; what is not spent in time has to go back."""
        for window in self.windows.values():
            if window.held and (window.until <= now or window.is_quiet()):
                window.lapse()
        return any(window.owes for window in self.windows.values()) or any(
            slots.is_due(now, slot_life_s) for slots in self.slots.values()
        )

    def change(self, windows: dict[str, WindowChange], slots: dict[str, SlotsChange], now: float) -> Change:
        """What to tell the database, beside what it is asked for."""
        for field, window in self.windows.items():
            if field not in windows and window.owes:
                windows[field] = window.change(0, 0, now)
        for name, each in self.slots.items():
            if name not in slots and each.holds:
                slots[name] = each.change(0, 0, now)
        stale, self._stale = self._stale, ()
        stale = tuple(each for each in stale if each[0] not in windows)
        return Change(self.key, tuple(windows.values()), tuple(slots.values()), stale)

    def absorb(self, found: Found, change: Change, sent: float, got: float, life_s: float) -> None:
        """Learn what the database said."""
        self.seen_at = sent
        asked = {each.field: each for each in change.windows}
        for field, counted in found.windows.items():
            window = self.windows.get(field)
            if window is not None:
                window.absorb(counted, asked.get(field), found.now_ms, sent, got)
        for name, held in found.slots.items():
            self.slots[name].absorb(held, sent, life_s)
        removed = {field for field, _ in change.stale}
        self._stale = tuple(
            (field, per)
            for field, counted in found.windows.items()
            if (per := _per(field)) and field not in asked and field not in removed
            if not counted.slices or counted.slices[-1][0] < oldest_live(per, slice_at(per, found.now_ms))
        )

    def forget(self, change: Change) -> None:
        """The database did not answer: what it was asked for counts as taken, and what it was told as told."""
        for each in change.windows:
            self.windows[each.field].forget()
        for each in change.slots:
            self.slots[each.name].forget()


def _per(field: str) -> Per | None:
    per = field.rpartition(":")[2]
    return per if per in ("second", "minute", "hour", "day", "month") else None
