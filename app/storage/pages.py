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
    collection: Collection, where: Mapping[str, Any], page: PageRequest, build: Callable[[Document], T]
) -> Page[T]:
    """The documents of ``collection`` that match, inside of a database operation.

    Documents have ``created_at_ms``; ties are in the order of their ids.

    Raises:
        InvalidRequest: ``after`` or ``before`` is nothing that this list has.
    """
    bounds: list[Mapping[str, Any]] = [dict(where)]
    backwards = page.before is not None and page.after is None
    ascending = (page.order == "asc") != backwards
    for name, is_after in (("after", True), ("before", False)):
        anchor_id = page.after if is_after else page.before
        if anchor_id is not None:
            bounds.append(await _beyond(collection, where, anchor_id, name, later=(page.order == "asc") == is_after))
    direction = ASCENDING if ascending else DESCENDING
    cursor = collection.find({"$and": bounds}).sort([("created_at_ms", direction), ("_id", direction)])
    found = await cursor.limit(page.limit + 1).to_list(page.limit + 1)
    items = [build(document) for document in found[: page.limit]]
    return Page(items[::-1] if backwards else items, len(found) > page.limit)


async def _beyond(
    collection: Collection, where: Mapping[str, Any], anchor_id: str, name: str, *, later: bool
) -> Mapping[str, Any]:
    anchor = await collection.find_one({"$and": [dict(where), {"_id": {"$eq": anchor_id}}]}, {"created_at_ms": 1})
    if anchor is None:
        raise InvalidRequest(f"`{name}` names nothing in this list.", param=name)
    comparison = "$gt" if later else "$lt"
    created = anchor["created_at_ms"]
    return {
        "$or": [
            {"created_at_ms": {comparison: created}},
            {"created_at_ms": created, "_id": {comparison: anchor["_id"]}},
        ]
    }
