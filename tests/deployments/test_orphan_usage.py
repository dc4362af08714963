"""What replicas report of requests whose gateway is gone becomes events."""

from __future__ import annotations

import pytest

from app.domain.usage import Price, Usage, UsageDraft, UsageEvent
from app.storage.database import Database
from app.storage.stores import Stores
from deployments.orphan_usage import OrphanUsage, event_of
from deployments.reports import Orphan, Remains

DRAFT = UsageDraft(
    request_id="r1",
    owner="user_1",
    kind="user",
    key_id="key_1",
    project_id=None,
    model="m",
    route="/v1/chat/completions",
    stream=True,
    started_at_ms=1_700_000_000_000,
    price=Price(2, 3, 1),
)
ORPHAN = Orphan(DRAFT.encode(), Usage(10, 4, 6), 1_700_000_002_500)


def test_the_event_has_what_the_draft_knew_and_what_the_engine_counted():
    event = event_of(ORPHAN)
    assert (event.request_id, event.owner, event.key_id, event.stream) == ("r1", "user_1", "key_1", True)
    assert (event.input_tokens, event.output_tokens, event.cached_tokens) == (10, 4, 6)
    assert (event.status, event.http_status, event.ttft_ms, event.duration_ms) == ("client_left", 0, None, 2500.0)
    assert event.cost_nano == 4 * 2 + 6 * 1 + 4 * 3


async def test_one_that_cannot_be_read_keeps_no_other_from_the_record(stores: Stores, caplog: pytest.LogCaptureFixture):
    events: list[UsageEvent] = []
    await OrphanUsage(events.append, stores.usage_remains).take([Orphan(b"\xc1", Usage(), 1), ORPHAN])
    assert events == [event_of(ORPHAN)]
    assert "cannot be read" in caplog.text


def test_what_ended_before_it_began_by_another_clock_took_no_time():
    assert event_of(Orphan(DRAFT.encode(), Usage(), DRAFT.started_at_ms - 5000)).duration_ms == 0.0


async def test_what_stood_on_a_slate_is_kept_and_is_no_event(stores: Stores, caplog: pytest.LogCaptureFixture):
    events: list[UsageEvent] = []
    usage = OrphanUsage(events.append, stores.usage_remains)
    remains = [Remains(b"\xc1", Usage(1)), Remains(DRAFT.encode(), Usage(7, 2)), Remains(DRAFT.encode(), Usage(7, 1))]
    for _ in range(2):
        assert await usage.keep("slate", remains)
    assert await stores.usage_remains.of(["r1", "r2"]) == {"r1": Usage(14, 3)}
    assert events == []
    assert "cannot be read" in caplog.text


async def test_a_slate_stays_where_it_is_while_the_database_is_away():
    database = Database("mongodb://127.0.0.1:9", "test", timeout_s=0.1, pool_size=1)
    usage = OrphanUsage(lambda _: None, Stores.of(database).usage_remains)
    assert not await usage.keep("slate", [Remains(DRAFT.encode(), Usage(7, 2))])
    database.close()
