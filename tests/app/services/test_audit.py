from __future__ import annotations

import pytest

from app.domain.audit_event import Actor
from app.domain.origin import Origin
from app.domain.page import PageRequest
from app.errors import DatabaseUnavailable
from app.services import audit as module
from app.services.audit import Audit
from app.storage.audit_log import AuditLog
from app.storage.database import Database
from app.storage.stores import Stores
from tests.support.clock import Clock
from tests.support.ports import free_port

ORIGIN = Origin("10.0.0.1", "curl", "req_1")
ADMIN = Actor("user_admin", "key_1", ORIGIN)


async def test_an_event_says_who_did_what_to_whom_when_and_from_where(stores: Stores):
    await Audit(stores.audit_log).record("user.updated", ADMIN, "user_1", role="admin")
    (event,) = (await stores.audit_log.list(PageRequest())).items
    shown = event.to_dict()
    assert shown.pop("effective_at") > 1_700_000_000
    assert shown.pop("id").startswith("audit_")
    assert shown == {
        "object": "audit_log.event",
        "type": "user.updated",
        "outcome": "succeeded",
        "actor": {"id": "user_admin", "credential": "key_1"},
        "target": "user_1",
        "origin": {"address": "10.0.0.1", "user_agent": "curl", "request_id": "req_1"},
        "detail": {"role": "admin"},
    }


def unreachable() -> Database:
    return Database(f"mongodb://127.0.0.1:{free_port()}/", "x", timeout_s=0.2, pool_size=1)


async def test_an_act_that_cannot_be_written_down_does_not_happen():
    database = unreachable()
    with pytest.raises(DatabaseUnavailable):
        await Audit(AuditLog(database)).record("user.deleted", ADMIN, "user_1")
    database.close()


async def test_a_refusal_does_not_wait_for_the_database_nor_fail_with_it():
    database = unreachable()
    audit = Audit(AuditLog(database))
    audit.refuse("access.refused", ADMIN, "/v1/x", reason="no")
    await audit.close()
    database.close()


async def test_a_flood_of_refusals_is_counted_and_not_stored(stores: Stores, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "REFUSALS_PER_MINUTE", 3)
    clock = Clock()
    audit = Audit(stores.audit_log, clock)
    for _ in range(10):
        audit.refuse("access.refused", ADMIN, "/v1/x", reason="no")
    clock.now += 60
    audit.refuse("access.refused", ADMIN, "/v1/x", reason="no")
    await audit.close()
    events = (await stores.audit_log.list(PageRequest())).items
    assert len(events) == 4
    assert [event.detail["suppressed_before"] for event in events if "suppressed_before" in event.detail] == [7]


async def test_what_waits_to_be_stored_is_bounded(stores: Stores, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    audit = Audit(stores.audit_log)
    for _ in range(10):
        audit.refuse("access.refused", ADMIN)
    await audit.close()
    assert len((await stores.audit_log.list(PageRequest())).items) == 2
