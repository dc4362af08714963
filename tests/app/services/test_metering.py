"""One event a request, of what all replicas that had it took, whoever of them is left to say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.domain.page import PageRequest
from app.domain.usage import Usage, UsageStatus
from app.services import metering
from app.services.backend import forget_nothing
from app.services.metering import MeteredRequest
from app.services.prompt_estimates import PromptEstimates
from app.services.usage.ledger import UsageLedger
from app.storage.stores import Stores
from tests.support.usage import draft

EXPECTED = Usage(30, 400)
TOOK = Usage(12, 7, 3)


@pytest_asyncio.fixture
async def ledger(stores: Stores, tmp_path: Path) -> AsyncIterator[UsageLedger]:
    opened = UsageLedger(stores.usage_events, tmp_path, every_s=60)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def request_(ledger: UsageLedger) -> MeteredRequest:
    return MeteredRequest(draft(), (), ledger, PromptEstimates(), size=100, expected=EXPECTED)


async def told(ledger: UsageLedger, stores: Stores) -> tuple[UsageStatus, Usage]:
    """Status and tokens of the one event there is."""
    await ledger.close()
    (event,) = (await stores.usage_events.recent("user_a", PageRequest())).items
    return event.status, Usage(event.input_tokens, event.output_tokens, event.cached_tokens)


async def test_an_answer_took_what_the_replica_says(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.began()
    request_.answered(200)
    request_.ended(TOOK, forget_nothing)
    request_.over("completed", 200)
    assert await told(ledger, stores) == ("completed", TOOK)


async def test_who_leaves_pays_what_the_replica_says_afterwards(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.began()
    request_.over("client_left", 0)
    assert ledger.pending == 0, "the replica has yet to say"
    request_.ended(TOOK, forget_nothing)
    assert await told(ledger, stores) == ("client_left", TOOK)


async def test_what_came_of_a_lost_replica_is_counted_also_for_who_had_left(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.began()
    request_.over("client_left", 0)
    request_.lost(5)
    assert await told(ledger, stores) == ("client_left", Usage(EXPECTED.input_tokens, 5))


async def test_of_an_engine_that_does_not_count_along_events_are_counted(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.began()
    request_.answered(200)
    request_.events = 4
    request_.lost(0)
    request_.over("failed", 200)
    assert await told(ledger, stores) == ("failed", Usage(EXPECTED.input_tokens, 3))


async def test_a_replica_that_is_lost_before_it_answers_costs_nothing(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.began()
    request_.lost(0)
    request_.over("failed", 500)
    assert await told(ledger, stores) == ("failed", Usage())


async def test_two_replicas_that_had_a_request_are_paid_together(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.began()
    request_.ended(TOOK, forget_nothing)
    request_.began()
    request_.answered(200)
    request_.lost(4)
    request_.over("failed", 200)
    assert await told(ledger, stores) == ("failed", TOOK + Usage(output_tokens=4))


async def test_a_request_that_no_replica_had_leaves_no_event(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores
) -> None:
    request_.over("failed", 503)
    await ledger.close()
    assert (await stores.usage_events.recent("user_a", PageRequest())).items == []


async def test_a_replica_that_says_by_itself_is_not_forestalled(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known here counts only if nothing comes from there."""
    monkeypatch.setattr(metering, "LATE_S", 0.05)
    request_.began()
    request_.answered(200)
    request_.left(3)
    request_.over("client_left", 200)
    assert ledger.pending == 0
    while not ledger.pending:
        await asyncio.sleep(0.005)
    assert await told(ledger, stores) == ("client_left", Usage(EXPECTED.input_tokens, 3))


@pytest.mark.parametrize(("slate", "counts"), [(Usage(12, 7), True), (Usage(12, 2), False)])
async def test_a_replica_that_cannot_say_any_more_has_it_on_its_slate(
    request_: MeteredRequest,
    ledger: UsageLedger,
    stores: Stores,
    monkeypatch: pytest.MonkeyPatch,
    slate: Usage,
    *,
    counts: bool,
) -> None:
    """Of what stands there and what came here, it is the one that says more."""
    monkeypatch.setattr(metering, "LATE_S", 0.05)
    await stores.usage_events.remains.insert("slate", {draft().request_id: slate})
    request_.began()
    request_.answered(200)
    request_.left(3)
    request_.over("failed", 200)
    while not ledger.pending:
        await asyncio.sleep(0.005)
    assert await told(ledger, stores) == ("failed", slate if counts else Usage(EXPECTED.input_tokens, 3))


async def test_a_replica_that_never_says_is_not_waited_for(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "LATE_S", 0.01)
    request_.began()
    request_.over("client_left", 0)
    while not ledger.pending:
        await asyncio.sleep(0.005)
    request_.ended(TOOK, forget_nothing)
    assert await told(ledger, stores) == ("client_left", Usage()), "the first event counts"


async def test_what_was_seen_of_a_replica_that_never_says_is_counted(
    request_: MeteredRequest, ledger: UsageLedger, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "LATE_S", 0.01)
    request_.began()
    request_.answered(200)
    request_.events = 4
    request_.over("client_left", 200)
    while not ledger.pending:
        await asyncio.sleep(0.005)
    assert await told(ledger, stores) == ("client_left", Usage(EXPECTED.input_tokens, 3))
