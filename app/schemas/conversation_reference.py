"""How a request names the conversation that it goes on with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from app.schemas.common import Strict, kind_of

Id = Annotated[str, Field(max_length=256)]


class ConversationReference(Strict):
    """A conversation, by its id."""

    id: Id


ConversationField = Annotated[
    Annotated[Id, Tag("~string")] | Annotated[ConversationReference, Tag("~object")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message="an id or an object with an `id`"),
]
