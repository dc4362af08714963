"""What is stored of a response before its model begins: itself, and what went in."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from app.domain.conversation import first_title
from app.domain.ids import ITEM_PREFIXES, sibling
from app.domain.item import Item, position, text_of
from app.domain.principal import Principal
from app.domain.response import new_response
from app.domain.stored_response import StoredResponse
from app.errors import PayloadTooLarge
from app.schemas.responses import ParsedResponse
from app.services import Services
from app.services.answers.keeping import Keeping
from app.services.conversations import no_conversation
from app.services.idempotency import Attempt
from app.services.responses.background import Task
from app.services.responses.plan import Plan, check_known
from app.storage.stores import Stores

MOST_BYTES = 12 * 1024 * 1024
"""Of what is to be done in the background, below what the database takes."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A response that begins.

    Attributes:
        response: As it is stored, if it is.
        is_stored: Whether it is.
        keeping: What becomes of its answer; None if nothing is kept.
        inputs: What went in.
    """

    response: StoredResponse
    is_stored: bool
    keeping: Keeping | None
    inputs: tuple[Item, ...]


def is_stored(caller: Principal, asked: ParsedResponse) -> bool:
    """Whether a response is to be stored.

    Raises:
        AuthenticationFailed: Something is to be kept, and nobody knows the caller.
    """
    if asked.store or asked.background or asked.conversation is not None:
        check_known(caller)
    return asked.store is not False and caller.kind != "anonymous"


async def begin(  # noqa: PLR0913, PLR0917 - called in one place
    services: Services,
    caller: Principal,
    asked: ParsedResponse,
    plan: Plan,
    attempt: Attempt,
    earlier: StoredResponse | None,
) -> Beginning:
    """Store what is to be stored of a response that begins.

    Args:
        services: This process's.
        caller: Whose it is.
        asked: What they asked for.
        plan: What it is made of.
        attempt: What its ids are made of.
        earlier: What came of an attempt before, which broke off.

    Raises:
        DatabaseUnavailable: The database did not answer: some of it may be stored.
        NotFound: The conversation is gone.
        PayloadTooLarge: It is more than can be stored.
    """
    stores, owner = services.stores, caller.subject
    runner = await services.liveness.me() if is_stored(caller, asked) or plan.conversation else ""
    turn = await _turn(services, plan, earlier, asked.model)
    beginning = _beginning(caller, asked, plan, attempt, turn, runner)
    if earlier is not None:
        # Nobody was told of it.
        await stores.items.delete_answer(owner, earlier.id)
        await stores.responses.delete(owner, earlier.id)
    try:
        await _store(stores, beginning, plan)
    except BaseException:
        # It may be stored, and nobody will ever work on it.
        await services.responses.undo(beginning.response, beginning.inputs)
        raise
    return beginning


async def _store(stores: Stores, beginning: Beginning, plan: Plan) -> None:
    owner = beginning.response.owner
    if beginning.is_stored:
        await stores.responses.insert(beginning.response)
    if beginning.keeping is not None:
        await stores.items.put(owner, beginning.inputs)
    if plan.conversation is not None and plan.conversation.title is None:
        title = first_title(text_of(item.body) for item in beginning.inputs)
        if title is not None:
            await stores.conversations.title_if_none(owner, plan.conversation.id, title)


def _beginning(  # noqa: PLR0913, PLR0917 - as above
    caller: Principal, asked: ParsedResponse, plan: Plan, attempt: Attempt, turn: int, runner: str
) -> Beginning:
    stored, tail = is_stored(caller, asked), attempt.tail
    id_, now_ms = f"resp_{tail}", time.time_ns() // 1_000_000
    conversation = plan.conversation.id if plan.conversation else None
    keeping = Keeping(
        owner=caller.subject,
        guest=caller.role == "guest",
        created_at_ms=now_ms,
        model=asked.model,
        tail=tail,
        conversation=conversation,
        turn=turn,
        untitled=plan.conversation is not None and plan.conversation.title is None,
        response=id_ if stored else None,
        process=runner,
    )
    status = "queued" if asked.background else "in_progress"
    response = StoredResponse(
        id=id_,
        owner=caller.subject,
        status=status,
        created_at_ms=now_ms,
        body=new_response(id_, now_ms // 1000, {**asked.shown, "store": stored}, status),
        previous=plan.previous and plan.previous.id,
        ancestors=plan.previous.line if plan.previous else (),
        conversation=conversation,
        turn=turn,
        background=asked.background,
        streams=asked.background and asked.stream,
        runner=runner,
        task=_task(keeping, plan, caller) if asked.background else None,
    )
    inputs = [_input(id_ if stored else None, keeping, at, body) for at, body in enumerate(plan.items)]
    return Beginning(response, stored, keeping if stored or conversation else None, tuple(inputs))


async def _turn(services: Services, plan: Plan, earlier: StoredResponse | None, model: str) -> int:
    conversation = plan.conversation
    if conversation is None:
        return 0
    if earlier is not None and earlier.conversation == conversation.id:
        return earlier.turn
    turn = await services.stores.conversations.begin_turn(conversation.owner, conversation.id, model=model)
    if turn is None:
        raise no_conversation("conversation")
    return turn


def _task(keeping: Keeping, plan: Plan, caller: Principal) -> dict[str, Any]:
    task = Task(keeping, plan.request.payload, caller.key_id).to_dict()
    if len(msgspec.json.encode(task)) > MOST_BYTES:
        raise PayloadTooLarge("This is too long to be worked on in the background. Send less, or wait for the answer.")
    return task


def _input(response: str | None, keeping: Keeping, at: int, body: Any) -> Item:
    # The same in every attempt; of another kind than the answer's, whose ids end with the tail itself.
    id_ = f"{ITEM_PREFIXES[body['type']]}_{sibling(keeping.tail, at)}"
    return Item(
        id=id_,
        body={**body, "id": id_},
        position=position(keeping.turn, at),
        created_at_ms=keeping.created_at_ms,
        conversation=keeping.conversation,
        response=response,
    )
