"""What a response is to be made of: what was said before, what is asked now, and what the engine is sent for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.conversation import Conversation
from app.domain.principal import Principal
from app.domain.stored_response import StoredResponse
from app.errors import AuthenticationFailed, InvalidRequest, NotFound
from app.schemas.request import ParsedRequest
from app.schemas.responses import ParsedResponse
from app.services import Services
from app.services.authenticator import SHOW
from app.services.catalog import CatalogEntry
from app.services.context import Talk, count, fit
from app.services.conversations import no_conversation
from app.services.history import INSTRUCTS, Message, Turn, readable_bytes, rendered
from app.services.responses.chain import before_response, before_turn, found
from app.services.responses.chat import chat_request, check_text_only, with_instructions


@dataclass(frozen=True, slots=True)
class Plan:
    """What a response is made of.

    Attributes:
        request: What the engine is asked.
        items: What went in, references resolved; without ids of our own.
        previous: The response that it continues.
        conversation: The conversation that it is to be a turn of.
    """

    request: ParsedRequest
    items: Sequence[Mapping[str, Any]]
    previous: StoredResponse | None
    conversation: Conversation | None


async def plan_of(services: Services, caller: Principal, entry: CatalogEntry, asked: ParsedResponse) -> Plan:
    """Read what is needed, and see that all of it fits.

    Raises:
        AuthenticationFailed: It needs something that is kept, and nobody knows the caller.
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: It does not fit, or makes no sense to the model.
        NotFound: What it continues, or refers to, is not there.
    """
    read = await _read(services, caller, entry, asked)
    request = chat_request(asked, await _fitted(services, entry, asked, read), extras=services.request_extras)
    return Plan(request, read.items, read.previous, read.conversation)


async def tokens_of(services: Services, caller: Principal, entry: CatalogEntry, asked: ParsedResponse) -> int:
    """How many tokens the input is, with all that goes before it.

    Raises:
        ApiError: See ``plan_of``.
    """
    read = await _read(services, caller, entry, asked)
    talk, leading = _talk(asked, read)
    chat_request(asked, [*leading, *(message for turn in talk.turns for message in turn)])
    return await count(services, entry, talk)


@dataclass(frozen=True, slots=True)
class _Read:
    """What is asked, and what was said before: ``turns`` are messages, the last ones what is asked."""

    items: Sequence[Mapping[str, Any]]
    turns: Sequence[Sequence[Message]]
    previous: StoredResponse | None
    conversation: Conversation | None


async def _read(services: Services, caller: Principal, entry: CatalogEntry, asked: ParsedResponse) -> _Read:
    previous, conversation = await _continued(services, caller, asked)
    items = await _resolved(services, caller, asked.items)
    check_text_only(items)
    room = readable_bytes(entry)
    before: list[Turn] = []
    if previous is not None:
        before = await before_response(services.stores, caller.subject, previous, room)
    elif conversation is not None:
        before = await before_turn(services.stores, conversation, room)
    _check_calls(before, items)
    return _Read(items, rendered([*before, items]), previous, conversation)


def check_known(caller: Principal) -> None:
    """Let those whom nobody knows keep nothing.

    Raises:
        AuthenticationFailed: Nobody knows this one.
    """
    if caller.kind == "anonymous":
        raise AuthenticationFailed(
            f"What is kept is kept for somebody whom we know. Send your API key as {SHOW}, or sign in.",
            code="missing_credentials",
        )


async def _continued(
    services: Services, caller: Principal, asked: ParsedResponse
) -> tuple[StoredResponse | None, Conversation | None]:
    owner, stores = caller.subject, services.stores
    if asked.previous is not None:
        check_known(caller)
        previous = await found(stores, owner, asked.previous)
        if not previous.is_over:
            raise InvalidRequest("The response that is to be continued is not over yet.", param="previous_response_id")
        return previous, None
    if asked.conversation is not None:
        check_known(caller)
        conversation = await stores.conversations.get(owner, asked.conversation)
        if conversation is None:
            raise no_conversation("conversation")
        return None, conversation
    return None, None


async def _resolved(
    services: Services, caller: Principal, items: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The input with the items that it refers to."""
    wanted = [item["id"] for item in items if item["type"] == "item_reference"]
    if not wanted:
        return list(items)
    check_known(caller)
    stored = await services.stores.items.by_ids(caller.subject, wanted)
    resolved: list[Mapping[str, Any]] = []
    for at, item in enumerate(items):
        if item["type"] != "item_reference":
            resolved.append(item)
        elif (referred := stored.get(item["id"])) is not None:
            resolved.append(referred.body)
        else:
            raise NotFound("You have no item with this id.", param=f"input[{at}].id", code="item_not_found")
    return resolved


def _check_calls(before: Sequence[Turn], items: Sequence[Mapping[str, Any]]) -> None:
    """Refuse results of calls that nobody made: templates do, and no model can make anything of them.

    Raises:
        InvalidRequest: There is one.
    """
    made = {body["call_id"] for turn in (*before, items) for body in turn if body.get("type") == "function_call"}
    for at, item in enumerate(items):
        if item["type"] == "function_call_output" and item["call_id"] not in made:
            raise InvalidRequest(
                f"`input[{at}]` is the result of a call that was not made. Send the call before it, or continue the "
                "response that made it.",
                param=f"input[{at}].call_id",
            )


async def _fitted(services: Services, entry: CatalogEntry, asked: ParsedResponse, read: _Read) -> list[Message]:
    """As much of the turns as there is room for, without the instructions."""
    talk, leading = _talk(asked, read)
    tokens = asked.fields.get("max_completion_tokens")
    try:
        fitted = await fit(services, entry, talk, output_tokens=tokens, truncation=asked.truncation)
    except InvalidRequest as error:
        # The caller sent no messages.
        param = "input" if error.param == "messages" else error.param
        raise InvalidRequest(error.message, param=param, code=error.code) from None
    return [*leading, *fitted.messages[len(talk.system) :]]


def _talk(asked: ParsedResponse, read: _Read) -> tuple[Talk, list[Message]]:
    """What there is to fit, and the instructions that it begins with besides those of this request."""
    first = read.turns[0]
    at = next((at for at, message in enumerate(first) if message["role"] not in INSTRUCTS), len(first))
    leading = list(first[:at])
    told = with_instructions(asked.instructions, leading)
    return Talk(told, [first[at:], *read.turns[1:]], asked.fields.get("tools", ())), leading
