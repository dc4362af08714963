"""A chat completion whose answer is kept: in a conversation, as a stored chat completion, or both."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.domain.principal import Principal
from app.domain.stored_chat import StoredChat
from app.errors import DatabaseUnavailable
from app.schemas.keep import ToKeep
from app.schemas.request import ParsedRequest
from app.services import Services
from app.services.answers.conversing import Turn, ask, messages_for, opened, take_back
from app.services.answers.keeping import Keeping
from app.services.answers.kept import KeptRelay, keeping_fetch
from app.services.answers.record import Record
from app.services.idempotency import Attempt
from app.services.inference import CHAT, able, check_output_cap, prepare, relayed
from app.storage.users import now_ms

logger = logging.getLogger("manta")


@dataclass(frozen=True, slots=True)
class Asked:
    """A chat completion, and where its answer is to be kept."""

    caller: Principal
    parsed: ParsedRequest
    keep: ToKeep
    state: dict[str, Any]
    attempt: Attempt


async def answer_kept(services: Services, asked: Asked) -> KeptRelay:
    """The response that answers, and keeps the answer.

    Raises:
        ApiError: See ``prepare``; nothing was sent to the engine.
        DatabaseUnavailable: What is to be kept cannot be.
        NotFound: They have no such conversation.
    """
    services.answers.journal.check_room()
    caller, parsed, keep = asked.caller, asked.parsed, asked.keep
    turn = None
    if keep.converses:
        entry = able(services, caller, CHAT, parsed.model, asked.state)
        check_output_cap(entry, parsed.payload)
        turn = await opened(services, caller.subject, keep, parsed, asked.attempt)
        messages = await messages_for(services, turn, keep, entry, parsed.payload)
        parsed = replace(parsed, payload={**parsed.payload, "messages": messages})
    prepared = await prepare(services, caller, CHAT, parsed, asked.state, answer_id=asked.attempt.tail)
    try:
        record = await _begin(services, asked, turn)
    except BaseException as error:
        prepared.abandon(error)
        raise

    async def undo() -> None:
        await _undo(services, asked, turn, record)

    fetch = keeping_fetch(prepared.fetch, record, undo)
    return KeptRelay(relayed(services, prepared, fetch=fetch), record)


async def _begin(services: Services, asked: Asked, turn: Turn | None) -> Record:
    """Store what is known before the engine begins, and begin the record."""
    attempt, keep = asked.attempt, asked.keep
    now = now_ms()
    keeping = Keeping(
        owner=asked.caller.subject,
        guest=asked.caller.role == "guest",
        created_at_ms=now,
        model=asked.parsed.model,
        tail=attempt.tail,
        stream=asked.parsed.stream,
        attempt=attempt.id,
        process=services.liveness.id,
        metadata=dict(keep.metadata),
        completion_id=_completion_id(attempt) if keep.store else None,
    )
    if turn is not None:
        await ask(services, turn, now)
        keeping = msgspec.structs.replace(
            keeping,
            conversation=turn.conversation.id,
            turn=turn.number or 0,
            untitled=turn.conversation.title is None,
            metadata={**keep.metadata, **turn.metadata()},
        )
    record = services.answers.journal.open(keeping)
    if keep.store:
        # Nobody sees it until it has an answer: that it is there, and whether it gets one, is for the record to say.
        try:
            await services.stores.stored_chats.begin(_stored(asked, now), again=attempt.again)
        except BaseException:
            record.leave()
            if turn is not None:
                with contextlib.suppress(DatabaseUnavailable):
                    await take_back(services, turn)
            raise
    return record


async def _undo(services: Services, asked: Asked, turn: Turn | None, record: Record) -> None:
    """The engine gave no answer: nothing of the attempt remains."""
    attempt, keeping = asked.attempt, record.keeping
    try:
        if keeping.completion_id is not None:
            await services.stores.stored_chats.forget(keeping.owner, keeping.completion_id, keeping.created_at_ms)
        if turn is not None:
            await take_back(services, turn)
    except BaseException as error:
        # Later, and whether or not the caller left meanwhile: whoever asks again would be told to wait for ever.
        record.leave()
        if not isinstance(error, DatabaseUnavailable):
            raise
        logger.warning("A question that was not answered stays where it was asked")
    else:
        await (services.idempotency.failed if attempt.again else services.idempotency.forget)(attempt)


def _completion_id(attempt: Attempt) -> str:
    """What engines call an answer, if they are told what to make its id of."""
    return f"chatcmpl-{attempt.tail}"


def _stored(asked: Asked, now: int) -> StoredChat:
    return StoredChat(
        id=_completion_id(asked.attempt),
        owner=asked.caller.subject,
        model=asked.parsed.model,
        created_at_ms=now,
        metadata=asked.keep.metadata,
        messages=asked.parsed.payload["messages"],
        body={},
    )
