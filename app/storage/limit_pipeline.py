"""The update that takes from a subject's windows: all that it asks for, or nothing, by the database's clock.

A document of the collection ``limits`` is one subject::

    {_id, w: {<field>: {s: [{k: slice, n: taken}], t: when all that a burst took is spread over}},
     slots: [{c: name, p: process, n: how many it holds, e: until when}], expires, r: what the last update found}

Each stage reads what the ones before have written, so that none needs more than a few lines. Sums go over a ``$map``:
of a path into an array, not every server can tell the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.domain.limits import Per
from app.domain.slices import SLICES, interval_ms, period_ms, width_ms

Stage = dict[str, Any]
Expression = Any

SLACK_MS = 0.01
"""What rounding may make of the times of a burst."""

KEEP_MS = 60_000
"""How much longer than its windows a document is kept."""


@dataclass(frozen=True, slots=True)
class WindowChange:
    """What an update does to a window.

    Attributes:
        field: Where in the document it is.
        count: The most that there may be in its period; 0 with a ``need`` of 0, where nobody knows.
        need: What is asked for.
        extra: What would be welcome beyond that.
        waiting: What others wait for already: of that, as much as is left.
        charge: What is taken in any case.
        returns: What is taken more (or less, where negative) in slices of before, in those that still count.
    """

    field: str
    per: Per
    count: int
    burst: int | None = None
    need: int = 0
    extra: int = 0
    waiting: int = 0
    charge: int = 0
    returns: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SlotsChange:
    """What an update does to the slots that a process holds.

    Attributes:
        base: How many it holds in any case.
        need: How many more are asked for.
        extra: How many more would be welcome.
    """

    name: str
    count: int
    base: int
    need: int = 0
    extra: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One update of one subject.

    Attributes:
        stale: Fields of windows that seem to be all over: they are removed if they are.
    """

    subject: str
    windows: tuple[WindowChange, ...] = ()
    slots: tuple[SlotsChange, ...] = ()
    stale: tuple[tuple[str, Per], ...] = ()

    def asking(self) -> Change:
        """The same without what must not be told twice."""
        windows = tuple(replace(each, charge=0, returns=()) for each in self.windows)
        return replace(self, windows=windows)


def pipeline(change: Change, *, process: str, share: int, slot_life_ms: int) -> list[Stage]:
    """The stages of an update.

    Args:
        process: Whose slots are changed.
        share: What is left is divided by it before anybody gets something extra.
        slot_life_ms: How long slots are held that nobody renews.
    """
    windows, slots = change.windows, change.slots
    pers: set[Per] = {*(each.per for each in windows), *(per for _, per in change.stale)}
    stages: list[Stage] = [
        {"$unset": "r"},
        {"$set": {"r.now": {"$toLong": "$$NOW"}}},
        {"$set": {"r.ok": True, **{f"r.k.{per}": _current(per) for per in pers}, **_live_slots(slots)}},
        {"$set": _returned(windows)},
        {"$set": _used(windows) | _held_by_others(slots, process)},
        {"$set": {"r.ok": {"$and": [*map(_fits, windows), *map(_slots_fit, slots), True]}}},
        {"$set": _granted(windows, share) | _slots_granted(slots, share)},
        {"$set": _taken(windows) | _slots_taken(slots, process, slot_life_ms) | _expires(pers)},
        {"$set": {f"w.{field}": _unless_over(field, per) for field, per in change.stale}},
    ]
    return [stage for stage in stages if stage.get("$set", True)]


def _current(per: Per) -> Expression:
    if per == "month":
        return {"$add": [{"$multiply": [{"$year": "$$NOW"}, 12]}, {"$month": "$$NOW"}]}
    return {"$toLong": {"$floor": {"$divide": ["$r.now", width_ms(per)]}}}


def _oldest(per: Per) -> Expression:
    return "$r.k.month" if per == "month" else {"$subtract": [f"$r.k.{per}", SLICES]}


def _live(field: str, per: Per) -> Expression:
    none: list[Expression] = []
    return {
        "$filter": {"input": {"$ifNull": [f"$w.{field}.s", none]}, "as": "x", "cond": {"$gte": ["$$x.k", _oldest(per)]}}
    }


def _sum(array: Expression, of: str) -> Expression:
    return {"$sum": {"$map": {"input": array, "as": "x", "in": f"$$x.{of}"}}}


def _with(slices: Expression, k: Expression, amount: Expression) -> Expression:
    """What is taken, and so much more in slice ``k``."""
    same = {"$filter": {"input": slices, "as": "x", "cond": {"$eq": ["$$x.k", k]}}}
    others = {"$filter": {"input": slices, "as": "x", "cond": {"$ne": ["$$x.k", k]}}}
    return {"$concatArrays": [others, [{"k": k, "n": {"$add": [_sum(same, "n"), amount]}}]]}


def _returned(windows: Sequence[WindowChange]) -> Stage:
    """What counts of each window, with what comes back or is charged."""
    stage: Stage = {}
    for each in windows:
        slices: Expression = _live(each.field, each.per)
        if each.returns:
            cases = [{"case": {"$eq": ["$$y.k", k]}, "then": delta} for k, delta in each.returns]
            changed = {"$add": ["$$y.n", {"$switch": {"branches": cases, "default": 0}}]}
            kept = {"k": "$$y.k", "n": {"$max": [0, changed]}}
            slices = {"$map": {"input": slices, "as": "y", "in": kept}}
        if each.charge:
            slices = _with(slices, f"$r.k.{each.per}", each.charge)
        stage[f"w.{each.field}.s"] = slices
        if each.burst is not None:
            interval = interval_ms(each.per, each.count)
            live = [{"$cond": [{"$gte": [k, _oldest(each.per)]}, d * interval, 0]} for k, d in each.returns]
            returned = {"$add": [{"$ifNull": [f"$w.{each.field}.t", 0]}, *live]}
            stage[f"w.{each.field}.t"] = {"$add": [{"$max": [returned, "$r.now"]}, each.charge * interval]}
    return stage


def _used(windows: Sequence[WindowChange]) -> Stage:
    return {f"r.u.{each.field}": _sum(f"$w.{each.field}.s", "n") for each in windows}


def _fits(each: WindowChange) -> Expression:
    if not each.need:
        return True
    fits = {"$lte": [{"$add": [f"$r.u.{each.field}", each.need]}, each.count]}
    if each.burst is None:
        return fits
    interval = interval_ms(each.per, each.count)
    ahead = {"$subtract": [{"$add": [f"$w.{each.field}.t", each.need * interval]}, "$r.now"]}
    return {"$and": [fits, {"$lte": [ahead, each.burst * interval + SLACK_MS]}]}


def _granted(windows: Sequence[WindowChange], share: int) -> Stage:
    return {
        f"r.g.{each.field}": {"$cond": ["$r.ok", _with_extra(f"$r.u.{each.field}", each, share, each.waiting), 0]}
        for each in windows
        if each.need
    }


def _with_extra(used: Expression, each: WindowChange | SlotsChange, share: int, waiting: int = 0) -> Expression:
    if not each.extra and not waiting:
        return each.need
    left = {"$subtract": [each.count - each.need, used]}
    part = {"$toLong": {"$floor": {"$divide": [left, share]}}}
    more = {"$max": [0, {"$min": [each.extra, part]}, {"$min": [waiting, left]}]}
    return {"$add": [each.need, more]}


def _taken(windows: Sequence[WindowChange]) -> Stage:
    stage: Stage = {}
    for each in windows:
        if not each.need:
            continue
        field, granted = each.field, f"$r.g.{each.field}"
        taken = _with(f"$w.{field}.s", f"$r.k.{each.per}", granted)
        stage[f"w.{field}.s"] = {"$cond": ["$r.ok", taken, f"$w.{field}.s"]}
        if each.burst is not None:
            spread = {"$multiply": [granted, interval_ms(each.per, each.count)]}
            stage[f"w.{field}.t"] = {"$add": [f"$w.{field}.t", spread]}
    return stage


def _live_slots(slots: Sequence[SlotsChange]) -> Stage:
    if not slots:
        return {}
    none: list[Expression] = []
    return {
        "slots": {"$filter": {"input": {"$ifNull": ["$slots", none]}, "as": "x", "cond": {"$gte": ["$$x.e", "$r.now"]}}}
    }


def _held_by_others(slots: Sequence[SlotsChange], process: str) -> Stage:
    stage: Stage = {}
    for each in slots:
        named = {"$eq": ["$$x.c", {"$literal": each.name}]}
        others = {"$and": [named, {"$ne": ["$$x.p", process]}]}
        stage[f"r.o.{each.name}"] = _sum({"$filter": {"input": "$slots", "as": "x", "cond": others}}, "n")
    return stage


def _slots_fit(each: SlotsChange) -> Expression:
    if not each.need:
        return True
    return {"$lte": [{"$add": [f"$r.o.{each.name}", each.base + each.need]}, each.count]}


def _slots_granted(slots: Sequence[SlotsChange], share: int) -> Stage:
    stage: Stage = {}
    for each in slots:
        held: Expression = each.base
        if each.need:
            used = {"$add": [f"$r.o.{each.name}", each.base]}
            held = {"$cond": ["$r.ok", {"$add": [each.base, _with_extra(used, each, share)]}, each.base]}
        stage[f"r.h.{each.name}"] = held
    return stage


def _slots_taken(slots: Sequence[SlotsChange], process: str, life_ms: int) -> Stage:
    if not slots:
        return {}
    names = [{"$literal": each.name} for each in slots]
    mine = {"$and": [{"$eq": ["$$x.p", process]}, {"$in": ["$$x.c", names]}]}
    parts: list[Expression] = [{"$filter": {"input": "$slots", "as": "x", "cond": {"$not": [mine]}}}]
    for each, name in zip(slots, names, strict=True):
        held = f"$r.h.{each.name}"
        entry = {"c": name, "p": process, "n": held, "e": {"$add": ["$r.now", life_ms]}}
        parts.append({"$cond": [{"$gt": [held, 0]}, [entry], []]})
    return {"slots": {"$concatArrays": parts}}


def _expires(pers: set[Per]) -> Stage:
    keep = max((period_ms(per) for per in pers), default=0)
    # Of a month, the 28th day may be one of the middle.
    keep += KEEP_MS + (4 * 86_400_000 if "month" in pers else keep // SLICES)
    return {"expires": {"$max": ["$expires", {"$toDate": {"$add": ["$r.now", keep]}}]}}


def _unless_over(field: str, per: Per) -> Expression:
    over = {"$eq": [{"$size": _live(field, per)}, 0]}
    return {"$cond": [over, "$$REMOVE", f"$w.{field}"]}
