"""People's assistants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.assistant import ANY_MODEL, Assistant
from app.domain.ids import is_id, new_id
from app.domain.page import Page, PageRequest
from app.errors import NotFound
from app.schemas.assistants import AssistantFields, ChangeAssistantRequest, CreateAssistantRequest
from app.schemas.tools import Tool
from app.storage.assistants import Assistants
from app.storage.users import now_ms

_EMPTY: Mapping[str, Any] = {"metadata": {}, "model": ANY_MODEL}
"""What null means, where it is not that there is nothing."""


class AssistantService:
    """Makes and keeps assistants; everything of another owner's is not there."""

    def __init__(self, assistants: Assistants) -> None:
        self._assistants = assistants

    async def create(self, owner: str, wanted: CreateAssistantRequest) -> Assistant:
        """Make one.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        assistant = Assistant(new_id("asst"), owner, now_ms(), **_given(wanted))
        await self._assistants.insert(assistant)
        return assistant

    async def list(self, owner: str, page: PageRequest) -> Page[Assistant]:
        """Somebody's.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an assistant that is not in the list.
        """
        return await self._assistants.list(owner, page)

    async def get(self, owner: str, id_: str) -> Assistant:
        """One of somebody's.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        found = await self._assistants.get(owner, id_) if is_id(id_, "asst") else None
        return _there(found)

    async def change(self, owner: str, id_: str, wanted: ChangeAssistantRequest) -> Assistant:
        """Set what was given; null takes a value away.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        changed = await self._assistants.change(owner, id_, _given(wanted)) if is_id(id_, "asst") else None
        return _there(changed)

    async def delete(self, owner: str, id_: str) -> None:
        """Forget one.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They have none such.
        """
        if not (is_id(id_, "asst") and await self._assistants.delete(owner, id_)):
            _there(None)


def shown_tool(tool: Tool) -> dict[str, Any]:
    """A function as it is shown: without what is null."""
    function = tool.function
    named = {"name": function.name, "description": function.description, "parameters": function.parameters}
    shown = {name: value for name, value in named.items() if value is not None}
    return {"type": "function", "function": shown if function.strict is None else {**shown, "strict": function.strict}}


def shown_format(format_: Any) -> Any:
    """A response format as it is shown: ``auto`` where none is given."""
    if format_ is None or isinstance(format_, str):
        return format_ or "auto"
    return format_.model_dump(exclude_none=True)


def _there(assistant: Assistant | None) -> Assistant:
    if assistant is None:
        raise NotFound("No assistant of yours has this id.", code="assistant_not_found")
    return assistant


def _given(wanted: AssistantFields) -> dict[str, Any]:
    """The fields that the caller named, as ``Assistant`` has them."""
    return {name: _as_kept(name, getattr(wanted, name)) for name in wanted.model_fields_set - {"file_ids"}}


def _as_kept(name: str, value: Any) -> Any:
    if name == "tools":
        return [shown_tool(tool) for tool in value or ()]
    if name == "tool_resources":
        return value and value.model_dump(exclude_none=True)
    if name == "response_format":
        return shown_format(value)
    return _EMPTY.get(name) if value is None else value
