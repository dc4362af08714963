"""Lists by time of creation, a page at a time: each page is one range of an index, however long the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pymongo import ASCENDING, DESCENDING

from app.domain.page import Page, PageRequest
from app.errors import InvalidRequest
from app.storage.database import Collection, Document

T = TypeVar("T")


async def find_page(
    collection: Collection,
    where: Mapping[str, Any],
    page: PageRequest,
    build: Callable[[Document], T],
    time: str = "created_at_ms",
) -> Page[T]:
    """The documents of ``collection`` that match, inside of a database operation.

    Args:
        time: The field that they are in the order of; ties are in the order of their ids.

    Raises:
        InvalidRequest: ``after`` or ``before`` is nothing that this list has.
    """
    bounds: list[Mapping[str, Any]] = [dict(where)]
    backwards = page.before is not None and page.after is None
    ascending = (page.order == "asc") != backwards
    for name, is_after in (("after", True), ("before", False)):
        anchor_id = page.after if is_after else page.before
        if anchor_id is None:
            continue
        anchor = await collection.find_one({"$and": [dict(where), {"_id": {"$eq": anchor_id}}]}, {time: 1})
        if anchor is None:
            raise InvalidRequest(f"`{name}` names nothing in this list.", param=name)
        bounds.append(_beyond(anchor, time, "$gt" if (page.order == "asc") == is_after else "$lt"))
    direction = ASCENDING if ascending else DESCENDING
    cursor = collection.find({"$and": bounds}).sort([(time, direction), ("_id", direction)])
    found = await cursor.limit(page.limit + 1).to_list(page.limit + 1)
    items = [build(document) for document in found[: page.limit]]
    return Page(items[::-1] if backwards else items, len(found) > page.limit)


def _beyond(anchor: Document, time: str, comparison: str) -> Mapping[str, Any]:
    return {
        "$or": [
            {time: {comparison: anchor[time]}},
            {time: anchor[time], "_id": {comparison: anchor["_id"]}},
        ]
    }
