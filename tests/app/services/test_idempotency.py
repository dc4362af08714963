from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.errors import Conflict, DatabaseUnavailable, InvalidRequest
from app.services.idempotency import Attempt, Idempotency, Replay
from app.services.liveness import Liveness
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys
from app.storage.stores import Stores

OWNER = "user_one"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def process(stores: Stores) -> Idempotency:
    return Idempotency(stores.idempotency, Liveness(stores.processes))


async def refused(idempotency: Idempotency, key: str, asked: Any = ASKED) -> Conflict:
    with pytest.raises(Conflict) as caught:
        await idempotency.begin(OWNER, key, asked)
    return caught.value


async def test_without_a_key_every_request_is_the_first(stores: Stores):
    idempotency = process(stores)
    one, other = [await idempotency.begin(OWNER, None, ASKED) for _ in range(2)]
    assert one.tail != other.tail
    assert not one.again
    # It changes nothing.
    await idempotency.done(one, b"{}")


async def test_what_was_answered_is_answered_again(stores: Stores):
    idempotency = process(stores)
    attempt = await idempotency.begin(OWNER, "k", ASKED)
    await idempotency.done(attempt, b'{"a":1}')
    again = await process(stores).begin(OWNER, "k", ASKED)
    assert again == Attempt(attempt.tail, attempt.id, again=True, replay=Replay(b'{"a":1}', "application/json"))


async def test_one_that_is_under_way_is_told_so_here_and_elsewhere(stores: Stores):
    idempotency = process(stores)
    await idempotency.begin(OWNER, "k", ASKED)
    for each in (idempotency, process(stores)):
        error = await refused(each, "k")
        assert error.code == "idempotency_in_progress"
        assert error.headers == {"Retry-After": "1"}


async def test_a_key_is_for_one_request(stores: Stores):
    idempotency = process(stores)
    await idempotency.done(await idempotency.begin(OWNER, "k", ASKED), b"{}")
    error = await refused(idempotency, "k", {**ASKED, "model": "other"})
    assert error.code == "idempotency_key_reused"
    assert error.headers == {"x-should-retry": "false"}


async def test_a_key_is_its_owners(stores: Stores):
    idempotency = process(stores)
    mine = await idempotency.begin(OWNER, "k", ASKED)
    theirs = await idempotency.begin("user_two", "k", ASKED)
    assert mine.tail != theirs.tail
    assert not theirs.again


async def test_the_order_of_a_bodys_fields_makes_no_other_request(stores: Stores):
    idempotency = process(stores)
    await idempotency.done(await idempotency.begin(OWNER, "k", {"a": 1, "b": 2}), b"{}")
    assert (await idempotency.begin(OWNER, "k", {"b": 2, "a": 1})).replay is not None


async def test_what_failed_begins_anew_with_the_same_ids_once(stores: Stores):
    idempotency = process(stores)
    first = await idempotency.begin(OWNER, "k", ASKED)
    await idempotency.failed(first)
    begun = await asyncio.gather(*(idempotency.begin(OWNER, "k", ASKED) for _ in range(5)), return_exceptions=True)
    again = [each for each in begun if isinstance(each, Attempt)]
    assert again == [Attempt(first.tail, first.id, again=True)]


async def test_what_came_to_nothing_is_forgotten(stores: Stores):
    idempotency = process(stores)
    first = await idempotency.begin(OWNER, "k", ASKED)
    await idempotency.forget(first)
    second = await idempotency.begin(OWNER, "k", {"another": "body"})
    assert not second.again
    assert second.tail != first.tail


async def test_what_a_dead_process_was_at_begins_anew(stores: Stores):
    liveness = Liveness(stores.processes)
    dead = Idempotency(stores.idempotency, liveness)
    first = await dead.begin(OWNER, "k", ASKED)
    await stores.processes.leave(liveness.id)
    begun = await asyncio.gather(*(process(stores).begin(OWNER, "k", ASKED) for _ in range(5)), return_exceptions=True)
    assert [each for each in begun if isinstance(each, Attempt)] == [Attempt(first.tail, first.id, again=True)]
    # What it says afterwards counts for nothing.
    await dead.failed(first)
    assert (await refused(process(stores), "k")).code == "idempotency_in_progress"


async def test_what_a_dead_process_left_is_not_mistaken_for_what_another_is_at(stores: Stores):
    liveness = Liveness(stores.processes)
    dead, living = Idempotency(stores.idempotency, liveness), process(stores)
    first = await dead.begin(OWNER, "k", ASKED)
    await stores.processes.leave(liveness.id)
    assert (await living.begin(OWNER, "k", ASKED)).again
    # Its journal is adopted, and says how it ended.
    assert first.id is not None
    await living.keep_failure(first.id, liveness.id)
    assert (await refused(living, "k")).code == "idempotency_in_progress"
    # And it was not dead after all.
    await dead.forget(first)
    assert (await refused(process(stores), "k")).code == "idempotency_in_progress"


async def test_a_failure_that_could_not_be_written_down_is_known_where_it_happened(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
):
    idempotency = process(stores)
    first = await idempotency.begin(OWNER, "k", ASKED)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(IdempotencyKeys, "failed", away)
        await idempotency.failed(first)
    assert (await idempotency.begin(OWNER, "k", ASKED)).again


async def test_after_a_day_a_key_is_a_new_one(stores: Stores, database: Database):
    idempotency = process(stores)
    first = await idempotency.begin(OWNER, "k", ASKED)
    await idempotency.done(first, b"{}")
    yesterday = datetime.now(UTC) - timedelta(hours=25)
    await database.collection("idempotency").update_one({"_id": first.id}, {"$set": {"created_at": yesterday}})
    assert (await idempotency.begin(OWNER, "k", ASKED)).tail != first.tail


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_bounds(stores: Stores, key: str):
    with pytest.raises(InvalidRequest, match="1 to 255"):
        await process(stores).begin(OWNER, key, ASKED)


@pytest.mark.parametrize("key", ["k" * 255, "$set", "a.b", "\N{ROCKET}"])
async def test_any_characters_make_a_key(stores: Stores, key: str):
    idempotency = process(stores)
    attempt = await idempotency.begin(OWNER, key, ASKED)
    await idempotency.done(attempt, b"1")
    assert (await idempotency.begin(OWNER, key, ASKED)).replay is not None
