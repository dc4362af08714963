"""Items: the messages, calls, results and thoughts that the Responses and Conversations APIs take and show.

What is accepted is normalised to the one shape that is shown later on, so that what is stored is what is answered.
Everything that those APIs answer is accepted as it was sent, SDKs' own fields and nulls included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Discriminator, Field, Tag

from app.errors import InvalidJson, InvalidRequest
from app.schemas.common import MAX_MESSAGES, Strict
from app.schemas.item_content import (
    MAX_PARTS,
    Body,
    InputContent,
    OutputContent,
    ReasoningPart,
    Reference,
    SummaryPart,
)
from app.schemas.json_body import MAX_DEPTH, TooComplex, is_object, parse_json
from app.schemas.problem import TAG, wrong

MAX_ITEMS = MAX_MESSAGES
MAX_ITEM_BYTES = 10 * 1024 * 1024
"""Of one as JSON: as long as OpenAI lets a text be, and less than the database takes at once."""

_KINDS = "type: 'message', 'function_call', 'function_call_output', 'reasoning' or 'item_reference'"

Status = Literal["in_progress", "completed", "incomplete"]
Phase = Literal["commentary", "final_answer"]


def _readable(arguments: str) -> str:
    try:
        parse_json(arguments, long_integers=True)
    except TooComplex:
        raise wrong(f"is too complex: at most {MAX_DEPTH} arrays and objects may stand inside each other") from None
    except InvalidJson:
        pass
    return arguments


class _Item(Strict):
    """What every item may have: its id, which answers carry, and how far it came.

    An id that is given is kept in what is shown, for those to whom it matters; who stores an item gives it another.
    """

    id: Reference | None = None
    status: Status | None = None

    def shown(self) -> Body:
        """As the API shows it; its id only if it was given."""
        raise NotImplementedError

    def _head(self, kind: str) -> Body:
        named = {"type": kind} if self.id is None else {"type": kind, "id": self.id}
        return named | {"status": self.status or "completed"}


class InputMessage(_Item):
    """What a person, or whoever instructs the model, says."""

    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer"]
    content: InputContent
    phase: Phase | None = Field(default=None, description="Accepted and ignored: it is for answers.")

    def shown(self) -> Body:
        """See ``_Item``."""
        text = [{"type": "input_text", "text": self.content}] if isinstance(self.content, str) else None
        parts = text or [part.shown() for part in self.content if not isinstance(part, str)]
        return self._head("message") | {"role": self.role, "content": parts}


class OutputMessage(_Item):
    """What the model said."""

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: OutputContent
    phase: Phase | None = None

    def shown(self) -> Body:
        """See ``_Item``."""
        if isinstance(self.content, str):
            parts: list[Body] = [{"type": "output_text", "text": self.content, "annotations": [], "logprobs": []}]
        else:
            parts = [part.shown() for part in self.content]
        message = self._head("message") | {"role": "assistant", "content": parts}
        return message if self.phase is None else message | {"phase": self.phase}


class FunctionCallItem(_Item):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: Reference
    name: Reference
    arguments: Annotated[str, AfterValidator(_readable)] = Field(description="JSON, as the model wrote it.")
    namespace: str | None = Field(default=None, description="Accepted and ignored.")
    caller: Body | None = Field(default=None, description="Accepted and ignored.")
    created_by: str | None = Field(default=None, description="Accepted and ignored.")
    parsed_arguments: Any = Field(default=None, description="Accepted and ignored: what an SDK made of the arguments.")

    def shown(self) -> Body:
        """See ``_Item``."""
        call = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        return self._head("function_call") | call


class FunctionCallOutputItem(_Item):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: Reference
    output: InputContent
    name: str | None = Field(default=None, description="Accepted and ignored.")
    namespace: str | None = Field(default=None, description="Accepted and ignored.")
    caller: Body | None = Field(default=None, description="Accepted and ignored.")
    created_by: str | None = Field(default=None, description="Accepted and ignored.")

    def shown(self) -> Body:
        """See ``_Item``."""
        output = self.output if isinstance(self.output, str) else [part.shown() for part in self.output]
        return self._head("function_call_output") | {"call_id": self.call_id, "output": output}


class ReasoningItem(_Item):
    """What the model thought."""

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryPart], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    content: Annotated[list[ReasoningPart], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    encrypted_content: str | None = None

    def shown(self) -> Body:
        """See ``_Item``."""
        item = self._head("reasoning") | {"summary": [part.model_dump() for part in self.summary or ()]}
        if self.content is not None:
            item["content"] = [part.model_dump() for part in self.content]
        return item if self.encrypted_content is None else item | {"encrypted_content": self.encrypted_content}


class ItemReference(Strict):
    """An item that is stored, by its id."""

    type: Literal["item_reference"] | None = None
    id: Reference

    def shown(self) -> Body:
        """As it is told to those who look for the item."""
        return {"type": "item_reference", "id": self.id}


def _kind(value: Any) -> str | None:
    if not is_object(value):
        return None
    kind = value.get("type")
    if kind is None:
        kind = "message" if "role" in value else "item_reference" if "id" in value else None
    if kind == "message":
        kind = "assistant" if value.get("role") == "assistant" else "message"
    return TAG + kind if isinstance(kind, str) else None


AnyItem = Annotated[
    Annotated[InputMessage, Tag("~message")]
    | Annotated[OutputMessage, Tag("~assistant")]
    | Annotated[FunctionCallItem, Tag("~function_call")]
    | Annotated[FunctionCallOutputItem, Tag("~function_call_output")]
    | Annotated[ReasoningItem, Tag("~reasoning")]
    | Annotated[ItemReference, Tag("~item_reference")],
    Discriminator(_kind, custom_error_type="unsupported_choice", custom_error_message=_KINDS),
]
Items = Annotated[list[AnyItem], Field(max_length=MAX_ITEMS, fail_fast=True)]


def shown_items(items: Sequence[AnyItem], param: str = "items") -> list[Body]:
    """The checked items in the shape that the API shows.

    Raises:
        InvalidRequest: See ``check_sizes``.
    """
    bodies = [item.shown() for item in items]
    check_sizes(bodies, param)
    return bodies


def check_sizes(bodies: Sequence[Mapping[str, Any]], param: str) -> None:
    """Refuse what could not be stored as an item, before anything is.

    Args:
        param: The list that they came in.

    Raises:
        InvalidRequest: One is too long; ``param`` says which.
    """
    for index, body in enumerate(bodies):
        size = len(msgspec.json.encode(body))
        if size > MAX_ITEM_BYTES:
            place = f"{param}[{index}]"
            raise InvalidRequest(
                f"`{place}` has {size} bytes, and may have at most {MAX_ITEM_BYTES}. Send it in parts.", param=place
            )
