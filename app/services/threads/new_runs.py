"""Where runs begin, and where they go on once their calls are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.domain.conversation import Conversation, title_of
from app.domain.ids import is_id, new_tail
from app.domain.item import ANSWER, Item, position
from app.domain.principal import Principal
from app.domain.run import Run, RunOrder
from app.domain.thread import conversation_id, thread_id
from app.errors import InvalidRequest, NotFound
from app.schemas import chat
from app.schemas.runs import RunFields, SubmitToolOutputsRequest
from app.schemas.threads import CreateMessageRequest
from app.services import Services
from app.services.inference import CHAT, able, check_output_cap
from app.services.threads.channel import Channel
from app.services.threads.events import DONE, run_event, step_event
from app.services.threads.message_items import check_messages, item_of, said
from app.services.threads.orders import chat_of, order_of
from app.storage.users import now_ms


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that may be made."""

    assistant: str
    order: RunOrder
    metadata: dict[str, str]

    def run(self, caller: Principal, thread: str, id_: str, turn: int, *, ttl_s: float) -> Run:
        """The run, as it begins in a thread's turn."""
        now = now_ms()
        return Run(
            id=id_,
            owner=caller.subject,
            thread=thread,
            assistant=self.assistant,
            created_at_ms=now,
            expires_at_ms=now + int(ttl_s * 1000),
            order=self.order,
            key_id=caller.key_id,
            metadata=self.metadata,
            turn=turn,
            tail=new_tail(),
            round_at_ms=now,
        )


async def plan(services: Services, caller: Principal, wanted: RunFields, state: dict[str, Any]) -> Plan:
    """Check all that can be checked of a run before anything is stored.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: It could never be answered.
        ModelNotFound: No model has this name.
        NotFound: The caller has no such assistant.
        PermissionDenied: The caller's key is for other models.
    """
    if not is_id(wanted.assistant_id, "asst"):
        raise InvalidRequest("`assistant_id` must be the id of an assistant: `asst_...`.", param="assistant_id")
    assistant = await services.threads.assistants.get(caller.subject, wanted.assistant_id)
    order = order_of(assistant, wanted)
    entry = able(services, caller, CHAT, order.model, state)
    # The same checks that a chat goes through.
    parsed = chat.parse(chat_of(order, [{"role": "user", "content": "."}]))
    check_output_cap(entry, parsed.payload)
    return Plan(assistant.id, order, wanted.metadata or {})


async def begin(  # noqa: PLR0913, PLR0917 - all that a run needs
    services: Services,
    caller: Principal,
    conversation: Conversation,
    wanted: Plan,
    tail: str,
    messages: Sequence[CreateMessageRequest] = (),
    channel: Channel | None = None,
) -> Run:
    """Store a run and begin to work at it; a second time under the same tail it changes nothing.

    Args:
        services: This process's.
        caller: Whose thread it is.
        conversation: The thread.
        wanted: The run.
        tail: What its id ends with, and begin those of the messages.
        messages: What is added to the thread before.
        channel: Where what happens is to be told.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: A run of the thread is not over, or a message cannot be.
        NotFound: The thread was deleted meanwhile.
        ServiceUnavailable: There is too much to do already.
    """
    check_messages(messages, "additional_messages")
    threads, stores = services.threads, services.stores
    thread = thread_id(conversation.id)
    id_ = f"run_{tail}"
    if (stored := await stores.runs.get(caller.subject, thread, id_)) is not None:
        return _as_it_stands(stored, channel)
    if (active := await threads.runs.active(conversation)) is not None:
        raise _busy(thread, active.id)
    await threads.jobs.check_room(caller.subject)
    me = await services.liveness.me()
    added = await _append(services, conversation, messages, tail, wanted.order.model)
    run = wanted.run(caller, thread, id_, added.turn, ttl_s=services.settings.run_ttl_s)
    run = replace(run, streamed=channel is not None)
    if channel is not None:
        channel.send(run_event(run, "created") + run_event(run))
    if not await stores.runs.insert(run, me):
        for item in added.items:
            await stores.items.delete(conversation.owner, conversation.id, item.id)
        raise _busy(thread, "that began at the same moment")
    threads.jobs.begin(run.id, channel)
    return run


@dataclass(frozen=True, slots=True)
class _Added:
    """What was added to a thread before a run, and the run's turn, which comes after it."""

    items: Sequence[Item]
    turn: int


async def _append(
    services: Services, conversation: Conversation, messages: Sequence[CreateMessageRequest], tail: str, model: str
) -> _Added:
    """Add the messages: before the run, which others may work at from the moment that it is stored."""
    stores, owner = services.stores, conversation.owner
    turn = await stores.conversations.begin_turn(owner, conversation.id, len(messages) + 1, model=model)
    if turn is None:
        raise NotFound("No thread of yours has this id.", code="thread_not_found")
    now = now_ms()
    items = [
        item_of(each, conversation.id, position(turn + at, 0), now, f"msg_{tail}{at:02x}")
        for at, each in enumerate(messages)
    ]
    await stores.items.put(owner, items)
    if turn == 0 and messages and (title := title_of(said(messages[0]))) is not None:
        await stores.conversations.title_if_none(owner, conversation.id, title)
    return _Added(items, turn + len(messages))


async def go_on(  # noqa: PLR0913, PLR0917 - as above
    services: Services,
    caller: Principal,
    run: Run,
    wanted: SubmitToolOutputsRequest,
    tail: str,
    channel: Channel | None = None,
) -> Run:
    """Give a run what its calls came to, and go on working at it; a second time under the same tail it changes nothing.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: It waits for nothing, or for something else.
        ServiceUnavailable: There is too much to do already.
    """
    if run.tail == tail:
        return _as_it_stands(run, channel)
    outputs = _outputs(run, wanted)
    threads, stores = services.threads, services.stores
    await threads.jobs.check_room(caller.subject)
    me = await services.liveness.me()
    now = now_ms()
    items = [
        _output_item(run, index, f"fco_{tail}{index:02x}", {"call_id": call["id"], "output": outputs[call["id"]]})
        for index, call in enumerate(run.calls)
    ]
    # As above.
    await stores.items.put(run.owner, items)
    after = replace(
        run,
        status="queued",
        calls=(),
        told=run.told + len(items),
        tail=tail,
        round_at_ms=now,
        streamed=channel is not None,
        key_id=caller.key_id,
    )
    if not await stores.runs.change(after, was=("requires_action",), runner=me):
        # Somebody else answered the same calls, and what they said is what counts.
        for item in items:
            await stores.items.delete(run.owner, conversation_id(run.thread), item.id)
        raise InvalidRequest(f"The run {run.id} waits for no tool outputs any more.")
    step = await threads.runs.answered(run, outputs)
    if channel is not None:
        channel.send((step_event(step) if step is not None else b"") + run_event(after))
    threads.jobs.begin(run.id, channel)
    return after


def _as_it_stands(run: Run, channel: Channel | None) -> Run:
    """A run that was begun, or gone on with, before: there is no more to tell of it than that."""
    if channel is not None:
        channel.send(run_event(run) + DONE)
        channel.close()
    return run


def _outputs(run: Run, wanted: SubmitToolOutputsRequest) -> dict[str, str]:
    if run.status != "requires_action":
        raise InvalidRequest(f"The run {run.id} is {run.status}, and takes no tool outputs.")
    calls = {str(call["id"]) for call in run.calls}
    outputs: dict[str, str] = {}
    for index, output in enumerate(wanted.tool_outputs):
        param = f"tool_outputs[{index}].tool_call_id"
        if output.tool_call_id not in calls:
            raise InvalidRequest(f"`{param}` is none of the calls that the run waits for.", param=param)
        if output.tool_call_id in outputs:
            raise InvalidRequest(f"`{param}` is there twice.", param=param)
        outputs[output.tool_call_id] = output.output
    if len(outputs) < len(calls):
        left = ", ".join(sorted(calls - outputs.keys()))[:512]
        raise InvalidRequest(f"`tool_outputs` must have all that the run waits for: {left}.", param="tool_outputs")
    return outputs


def _output_item(run: Run, index: int, id_: str, told: Mapping[str, Any]) -> Item:
    body = {"type": "function_call_output", "id": id_, **told, "status": "completed"}
    place = position(run.turn, ANSWER + run.told + index)
    return Item(id_, body, place, now_ms(), conversation_id(run.thread))


def _busy(thread: str, run: str) -> InvalidRequest:
    return InvalidRequest(f"{thread} has a run already that is not over: {run}. Wait for it, or cancel it.")
