"""Bodies of conversations and their items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from app.schemas.body import parse
from app.schemas.common import ModelName, Strict, example
from app.schemas.identity import printable
from app.schemas.items import AnyItem, ItemReference, shown_items
from app.schemas.metadata import StoredMetadata
from app.schemas.problem import wrong

MAX_ADDED = 20
"""Items at the most that are added at once."""

MAX_TITLE = 256


def _no_references(items: list[AnyItem]) -> list[AnyItem]:
    for index, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise wrong("refers to an item in place of being one: send the item itself", field=index, unsupported=True)
    return items


Title = Annotated[str, Field(max_length=MAX_TITLE), AfterValidator(printable)]
AddedItems = Annotated[list[AnyItem], Field(max_length=MAX_ADDED, fail_fast=True), AfterValidator(_no_references)]


class CreateConversationRequest(Strict):
    """A new conversation."""

    model_config = example({"title": "My Conversation", "model": "smollm2-135m-instruct"})

    title: Title | None = Field(default=None, description="Left out: made from what is said first.")
    model: ModelName | None = Field(default=None, description="The model that it is meant for; nothing depends on it.")
    metadata: StoredMetadata | None = None
    items: AddedItems | None = Field(default=None, description=f"What it begins with, {MAX_ADDED} items at the most.")


class ChangeConversationRequest(Strict):
    """What is to change of a conversation; null takes it away."""

    model_config = example({"title": "Another name", "metadata": {"topic": "demo"}})

    title: Title | None = None
    model: ModelName | None = None
    metadata: StoredMetadata | None = Field(default=None, description="In place of all that was there.")


class AddItemsRequest(Strict):
    """Items to add to the end of a conversation."""

    model_config = example({"items": [{"type": "message", "role": "user", "content": "Hello!"}]})

    items: Annotated[AddedItems, Field(min_length=1)]


def parse_change(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body as fields of a conversation that are to change.

    Raises:
        InvalidRequest: It is none; names the field.
    """
    wanted = parse(ChangeConversationRequest, body)
    return {name: getattr(wanted, name) for name in wanted.model_fields_set}


def parse_added(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """A body as items to add, in the shape that they are shown in.

    Raises:
        InvalidRequest: It is none; names the field.
    """
    return shown_items(parse(AddItemsRequest, body).items)
