"""A part of a long list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part.

    Attributes:
        limit: How many at the most.
        after: The id that it begins behind, in this order.
        before: The id that it ends before.
        order: By time of creation.
    """

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    before: str | None = None
    order: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The part, and whether there is more behind it (or before it, when it was asked for by ``before``)."""

    items: Sequence[T]
    has_more: bool

    def to_list(self, show: Callable[[T], dict[str, Any]], *, no_id: str | None = None) -> dict[str, Any]:
        """OpenAI's list object.

        Args:
            show: Makes what the API shows of an item.
            no_id: What stands for the first and the last id of an empty list; some of OpenAI's schemas know no null.
        """
        data = [show(item) for item in self.items]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else no_id,
            "last_id": data[-1]["id"] if data else no_id,
            "has_more": self.has_more,
        }
