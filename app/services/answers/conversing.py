"""One turn of a conversation: what was said before it, the question, and what its answer's caller is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.domain.conversation import Conversation, new_conversation
from app.domain.item import Item, position, turn_of
from app.domain.page import PageRequest
from app.errors import InvalidRequest
from app.schemas.items import check_sizes
from app.schemas.keep import ToKeep
from app.schemas.request import ParsedRequest
from app.services import Services
from app.services.answers.questions import question_items
from app.services.catalog import CatalogEntry
from app.services.context import Talk, fit
from app.services.conversations import no_conversation, title_from
from app.services.history import INSTRUCTS, read_back, readable_bytes, rendered, turns_of
from app.services.idempotency import Attempt
from app.services.inference import CHAT, asked_tokens
from app.storage.users import now_ms

Message = dict[str, Any]

MOST_ITEMS: Final = 2048
"""Items of a history that are looked at: no request can have more messages either."""


@dataclass(slots=True)
class Turn:
    """A turn that is about to be taken.

    Attributes:
        conversation: As it was found, or as it is going to begin.
        is_new: Whether it begins with this turn.
        model: The name that the model was asked for by.
        system: The messages that instruct the model, for this turn alone.
        asked: The other messages of the request.
        number: Of the turn, if it has one already.
        stored: Whether the question is stored already, by an earlier try.
        dropped: Items of the history that the model does not get to read, at least.
        items: The question, once it is stored.
    """

    conversation: Conversation
    is_new: bool
    model: str
    system: Sequence[Message]
    asked: Sequence[Message]
    tail: str
    number: int | None = None
    stored: bool = False
    dropped: int = 0
    items: Sequence[Item] = ()

    def metadata(self) -> dict[str, str]:
        """What the answer's caller is told."""
        conversation = self.conversation
        told = {
            "conversation_id": conversation.id,
            "conversation_title": conversation.title or "",
            "conversation_created": "true" if self.is_new else "false",
            "ask_item_id": self.items[-1].id,
            "completion_item_id": f"msg_{self.tail}",
        }
        return told | {"dropped_items": str(self.dropped)} if self.dropped else told


async def opened(services: Services, owner: str, keep: ToKeep, parsed: ParsedRequest, attempt: Attempt) -> Turn:
    """The turn that a request wants to take; nothing of it is stored yet.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: It asks nothing, or more at once than can be stored.
        NotFound: They have no such conversation.
    """
    messages: list[Message] = parsed.payload["messages"]
    heads = next((at for at, message in enumerate(messages) if message["role"] not in INSTRUCTS), len(messages))
    if heads == len(messages):
        raise InvalidRequest("A conversation goes on with a message that is not the system's.", param="messages")
    check_sizes(messages, "messages")
    stores = services.stores
    id_ = keep.conversation or f"conv_{attempt.tail}"
    found = None
    if keep.conversation is not None or attempt.again:
        found = await stores.conversations.get(owner, id_)
    if found is None and keep.conversation is not None:
        raise no_conversation("conversation")
    conversation = found or new_conversation(owner, now_ms(), id_, model=parsed.model)
    turn = Turn(conversation, found is None, parsed.model, messages[:heads], messages[heads:], attempt.tail)
    if attempt.again and found is not None:
        await _find_earlier_try(services, turn)
    return turn


async def _find_earlier_try(services: Services, turn: Turn) -> None:
    conversation = turn.conversation
    first = question_items(turn.asked, conversation.id, 0, turn.tail, 0)[0]
    stored = await services.stores.items.get(conversation.owner, conversation.id, first.id)
    if stored is not None:
        turn.number, turn.stored = turn_of(stored.position), True


async def messages_for(
    services: Services, turn: Turn, keep: ToKeep, entry: CatalogEntry, payload: Mapping[str, Any]
) -> list[Message]:
    """What the engine gets: the system's messages, of what was said before as much as fits, and the question.

    Args:
        payload: The request as the engine would get it without a history.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: It does not fit.
        ServiceUnavailable: The model does not answer.
    """
    history, is_whole = await _history(services, turn, entry)
    said = turns_of(history)
    answers = [message["tool_call_id"] for message in turn.asked if message["role"] == "tool"]
    turns = rendered(said, answers)
    system = [message for each in turns for message in each if message["role"] in INSTRUCTS]
    talked = [[message for message in each if message["role"] not in INSTRUCTS] for each in turns]
    talk = Talk(_one_system([*turn.system, *system]), [*talked, turn.asked], payload.get("tools") or ())
    tokens = asked_tokens(CHAT, entry.spec.limits, payload)
    fitted = await fit(services, entry, talk, output_tokens=tokens, truncation=keep.truncation)
    if not is_whole and keep.truncation == "disabled":
        raise InvalidRequest(
            f"This conversation has more than {MOST_ITEMS} items, or more text than the model's context. Shorten it.",
            param="conversation",
            code="context_length_exceeded",
        )
    turn.dropped = sum(map(len, said[: fitted.dropped]))
    return fitted.messages


async def _history(services: Services, turn: Turn, entry: CatalogEntry) -> tuple[list[Item], bool]:
    """The end of what was said before, as far as a model could read it, and whether that is all of it."""
    conversation, items = turn.conversation, services.stores.items
    if turn.is_new:
        return [], True
    below = None if turn.number is None else position(turn.number, 0)
    found, is_whole = await read_back(
        items,
        conversation.owner,
        conversation.id,
        turns=conversation.turns,
        below=below,
        most_bytes=readable_bytes(entry),
        most_items=MOST_ITEMS,
    )
    if is_whole:
        return found, True
    beginning = PageRequest(limit=10, order="asc")
    first = await items.list(conversation.owner, conversation.id, beginning, conversation.turns)
    instructions = [item for item in first.items if item.body.get("role") in INSTRUCTS]
    known = {item.id for item in found}
    return [*(item for item in instructions if item.id not in known), *found], False


def _one_system(messages: Sequence[Message]) -> Sequence[Message]:
    """Templates take instructions at the beginning, and many take them once."""
    texts = [text for message in messages if (text := _text(message["content"]))]
    return [{"role": "system", "content": "\n\n".join(texts)}] if len(texts) > 1 else messages


def _text(content: str | Sequence[Mapping[str, Any]]) -> str:
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


async def ask(services: Services, turn: Turn, now: int) -> None:
    """Store the question, and the conversation if it begins with it.

    Args:
        now: In epoch milliseconds.

    Raises:
        Conflict: It would go on in a conversation that was deleted.
        DatabaseUnavailable: The database did not answer; some of it may be stored.
        NotFound: The conversation was deleted meanwhile.
    """
    stores, owner = services.stores, turn.conversation.owner
    if turn.is_new:
        turn.conversation = await stores.conversations.insert(turn.conversation)
    id_ = turn.conversation.id
    if turn.number is None:
        turn.number = await stores.conversations.begin_turn(owner, id_, model=turn.model)
        if turn.number is None:
            raise no_conversation("conversation")
    turn.items = question_items(turn.asked, id_, turn.number, turn.tail, now)
    await stores.items.put(owner, turn.items)
    if turn.conversation.title is None and (title := title_from(item.body for item in turn.items)) is not None:
        await stores.conversations.title_if_none(owner, id_, title)
        turn.conversation = replace(turn.conversation, title=title)


async def take_back(services: Services, turn: Turn) -> None:
    """Undo what ``ask`` did: there is no answer, and whoever asks again asks anew.

    Raises:
        DatabaseUnavailable: The database did not answer; some of it may be left.
    """
    stores, owner, id_ = services.stores, turn.conversation.owner, turn.conversation.id
    if turn.stored:
        return
    if turn.is_new:
        await stores.conversations.delete(owner, id_)
        return
    for item in turn.items:
        await stores.items.delete(owner, id_, item.id)
