"""Pages of lists that are in the order of dense whole numbers, read in windows of numbers that grow as they come back
short: each query matches few documents by itself, however long the list is.

For the embedded database a query does so only if it has nothing but an index's fields, and equalities written plainly:
beside a ``{"$eq": ...}`` or another condition it reads every document that the equalities match. Of several indexes it
takes one for the field that a query names first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.domain.page import Page, PageRequest
from app.errors import InvalidRequest

T = TypeVar("T")

Place = tuple[int, str]
"""What a list is in the order of: a number, and the id for what has the same one."""

FASTER = 4
"""How many times wider a window is than the one before it."""

WIDEST = 1024
"""Numbers at the most in one window: behind a long gap it may meet a place where all of them are taken."""


@dataclass(frozen=True, slots=True)
class Windowed(Generic[T]):
    """A list that can be read by its numbers.

    Attributes:
        fetch: What has numbers from the first on and below the second, in any order.
        place: Where something stands.
        find: Where the thing of an id stands; None if it is not in the list.
        end: The number that all are below.
        start: The number that none is below.
        width: How many numbers are read at first, for each thing that is wanted.
        bits: How many bits of a place's number are below those of the windows.
        widest: Numbers at the most in one window.
        faster: How many times wider a window is than the one before it.
    """

    fetch: Callable[[int, int], Awaitable[Sequence[T]]]
    place: Callable[[T], Place]
    find: Callable[[str], Awaitable[Place | None]]
    end: int
    start: int = 0
    width: float = 1.0
    bits: int = 0
    widest: int = WIDEST
    faster: int = FASTER

    async def page(self, page: PageRequest) -> Page[T]:
        """A part of the list.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: ``after`` or ``before`` is nothing that this list has.
        """
        after, before = await self._anchor("after", page.after), await self._anchor("before", page.before)
        low, high = (after, before) if page.order == "asc" else (before, after)
        backwards = before is not None and after is None
        found = await self.read(page.limit + 1, ascending=(page.order == "asc") != backwards, low=low, high=high)
        items = found[: page.limit]
        return Page(items[::-1] if backwards else items, len(found) > page.limit)

    async def read(
        self, wanted: int, *, ascending: bool, low: Place | None = None, high: Place | None = None
    ) -> list[T]:
        """Up to as many things as are wanted, between two places that do not count themselves.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        start = self.start if low is None else max(self.start, low[0] >> self.bits)
        end = self.end if high is None else min(self.end, (high[0] >> self.bits) + 1)
        width = max(1, round(wanted * self.width))
        found: list[T] = []
        while start < end and len(found) < wanted:
            width = min(width, self.widest, end - start)
            window = (start, start + width) if ascending else (end - width, end)
            part = [thing for thing in await self.fetch(*window) if _between(low, self.place(thing), high)]
            found += sorted(part, key=self.place, reverse=not ascending)
            start, end = (window[1], end) if ascending else (start, window[0])
            width *= self.faster
        return found[:wanted]

    async def _anchor(self, name: str, id_: str | None) -> Place | None:
        if id_ is None:
            return None
        place = await self.find(id_)
        if place is None:
            raise InvalidRequest(f"`{name}` names nothing in this list.", param=name)
        return place


async def page_of(items: Sequence[T], page: PageRequest, id_of: Callable[[T], str]) -> Page[T]:
    """A part of a list that is short, and all there; it is in ascending order.

    Raises:
        InvalidRequest: ``after`` or ``before`` is nothing that this list has.
    """
    numbers = {id_of(item): number for number, item in enumerate(items)}

    async def fetch(low: int, high: int) -> Sequence[T]:
        return items[low:high]

    async def find(id_: str) -> Place | None:
        return (numbers[id_], id_) if id_ in numbers else None

    def place(item: T) -> Place:
        return numbers[id_of(item)], id_of(item)

    return await Windowed(fetch, place, find, len(items)).page(page)


def _between(low: Place | None, place: Place, high: Place | None) -> bool:
    return (low is None or low < place) and (high is None or place < high)
