"""What a run's model reads: its instructions, and as much of the thread as fits."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.item import Item
from app.domain.run import Run
from app.domain.thread import conversation_id, is_message
from app.errors import InvalidRequest
from app.services import Services
from app.services.catalog import CatalogEntry
from app.services.context import Message, Talk, fit
from app.services.history import read_back, readable_bytes, rendered, turns_of
from app.services.threads.orders import system_of


class PromptTooLong(Exception):
    """Even without what may be left out it has more tokens than the run allows."""


async def prompt_of(services: Services, entry: CatalogEntry, run: Run) -> list[Message]:
    """The messages for the round that a run is in.

    Raises:
        DatabaseUnavailable: The database did not answer.
        InvalidRequest: Not even the last turn fits into the model's context.
        PromptTooLong: Not even the last turn fits into what the run allows.
    """
    order = run.order
    items, _ = await read_back(
        services.stores.items,
        run.owner,
        conversation_id(run.thread),
        turns=run.turn + 1,
        most_bytes=readable_bytes(entry),
    )
    if (last := order.truncation.get("last_messages")) is not None:
        items = _last_messages(items, last)
    talk = Talk(system_of(order), _exchanges(items), [dict(tool) for tool in order.tools])
    return await _fitted(services, entry, run, talk)


async def _fitted(services: Services, entry: CatalogEntry, run: Run, talk: Talk) -> list[Message]:
    order = run.order
    left = None if order.max_completion_tokens is None else max(1, order.max_completion_tokens - run.tokens.completion)
    try:
        fitted = await fit(services, entry, talk, output_tokens=left, most=order.max_prompt_tokens)
    except InvalidRequest:
        if order.max_prompt_tokens is not None:
            raise PromptTooLong from None
        raise
    return fitted.messages


def _last_messages(items: Sequence[Item], wanted: int) -> list[Item]:
    """From the last so many messages on."""
    places = [index for index, item in enumerate(items) if is_message(item)]
    return list(items[places[-wanted] if len(places) > wanted else 0 :])


def _exchanges(items: Sequence[Item]) -> list[list[Message]]:
    """The messages, what was asked together with what was answered: either is left out only with the other."""
    exchanges: list[list[Message]] = []
    for turn in rendered(turns_of(items)):
        begins = bool(turn) and turn[0]["role"] == "user"
        if not exchanges or (begins and any(message["role"] != "user" for message in exchanges[-1])):
            exchanges.append([])
        exchanges[-1] += turn
    return exchanges
