from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pymongo.errors import DuplicateKeyError

from app.domain.key_record import KeyRecord
from app.domain.page import PageRequest
from app.domain.user import User
from app.errors import InvalidRequest
from app.storage.database import Database
from app.storage.stores import Stores

OWNER = User("user_1", "admin", "One", 1)


def record(number: int = 1, owner: str = "user_1") -> KeyRecord:
    return KeyRecord(f"key_{number}", owner, f"Key {number}", "sk-...", ("read",), created_at_ms=1000 * number)


async def test_what_was_not_stored_is_not_found(stores: Stores):
    assert await stores.keys.find("d") is None


async def test_a_key_is_found_with_its_owner(stores: Stores):
    await stores.users.insert(OWNER)
    stored = replace(record(), models=("a", "b/c"), limits={"requests_per_minute": 5}, expires_at_ms=10**13)
    await stores.keys.insert(stored, "d")
    found = await stores.keys.find("d")
    assert found is not None
    assert (found.key, found.owner) == (stored, OWNER)


async def test_a_key_without_an_owner_opens_nothing(stores: Stores):
    await stores.keys.insert(record(), "d")
    assert await stores.keys.find("d") is None


async def test_making_sure_of_a_key_stores_it_once(database: Database, stores: Stores):
    await asyncio.gather(*(stores.keys.ensure(record(), "d") for _ in range(8)))
    await stores.keys.ensure(record(), "another digest")
    assert await database.collection("api_keys").count_documents({}) == 1
    assert await database.collection("api_keys").count_documents({"digest": "d"}) == 1


async def test_no_two_keys_have_the_same_digest(database: Database, stores: Stores):
    await stores.keys.insert(record(), "d")
    with pytest.raises(DuplicateKeyError):
        await database.collection("api_keys").insert_one({"_id": "key_other", "digest": "d"})


async def test_preparing_again_does_no_harm(database: Database, stores: Stores):
    await stores.prepare()
    names = {index["name"] async for index in database.collection("api_keys").list_indexes()}
    assert {"digest", "owner", "project", "created"} <= names


async def test_anothers_key_is_not_there(stores: Stores):
    await stores.keys.insert(record(), "d")
    assert await stores.keys.get("key_1", owner="user_1") == record()
    assert await stores.keys.get("key_1", owner="user_2") is None
    assert await stores.keys.change("key_1", {"name": "x"}, owner="user_2") is None
    assert await stores.keys.revoke("key_1", owner="user_2") is None
    assert await stores.keys.revoke_all(owner="user_2") == 0
    assert await stores.keys.get("key_1") == record()


async def test_a_revoked_key_is_kept_and_shown_to_nobody(database: Database, stores: Stores):
    await stores.keys.insert(record(), "d")
    assert await stores.keys.revoke("key_1", owner="user_1") is not None
    assert await stores.keys.get("key_1") is None
    assert await stores.keys.revoke("key_1") is None
    assert list((await stores.keys.list(PageRequest())).items) == []
    assert await stores.keys.count("user_1") == 0
    assert await database.collection("api_keys").count_documents({"status": "revoked"}) == 1


async def test_use_is_noted_once_a_minute(stores: Stores, monkeypatch: pytest.MonkeyPatch):
    await stores.keys.insert(record(), "d")
    seen: list[int | None] = []
    for seconds in (100, 130, 161):
        monkeypatch.setattr("app.storage.api_keys.now_ms", lambda seconds=seconds: seconds * 1000)
        await stores.keys.touch("key_1")
        found = await stores.keys.get("key_1")
        assert found is not None
        seen.append(found.last_used_at_ms)
    assert seen == [100_000, 100_000, 161_000]


async def page(stores: Stores, **wanted: object) -> tuple[list[str], bool]:
    found = await stores.keys.list(PageRequest(**wanted), owner="user_1")  # type: ignore[arg-type]
    return [key.id for key in found.items], found.has_more


async def test_lists_go_a_page_at_a_time_in_both_directions(stores: Stores):
    for number in range(1, 6):
        await stores.keys.insert(record(number), f"d{number}")
    await stores.keys.insert(record(9, owner="user_2"), "d9")
    assert await page(stores, limit=2) == (["key_5", "key_4"], True)
    assert await page(stores, limit=2, after="key_4") == (["key_3", "key_2"], True)
    assert await page(stores, limit=2, after="key_2") == (["key_1"], False)
    assert await page(stores, limit=2, before="key_2") == (["key_4", "key_3"], True)
    assert await page(stores, limit=2, order="asc") == (["key_1", "key_2"], True)
    assert await page(stores, limit=5, order="asc", after="key_4") == (["key_5"], False)
    assert await page(stores, limit=5, after="key_5", before="key_2") == (["key_4", "key_3"], False)


async def test_keys_of_the_same_moment_are_listed_each_once(stores: Stores):
    for number in range(1, 6):
        await stores.keys.insert(replace(record(number), created_at_ms=7), f"d{number}")
    listed: list[str] = []
    after = None
    while True:
        ids, more = await page(stores, limit=2, after=after)
        listed += ids
        after = ids[-1]
        if not more:
            break
    assert sorted(listed) == [f"key_{number}" for number in range(1, 6)]


@pytest.mark.parametrize("name", ["after", "before"])
async def test_a_page_that_hangs_on_anothers_key_is_refused(stores: Stores, name: str):
    await stores.keys.insert(record(9, owner="user_2"), "d9")
    with pytest.raises(InvalidRequest) as refusal:
        await page(stores, **{name: "key_9"})
    assert refusal.value.param == name


@pytest.mark.parametrize(
    ("active", "expires_at_ms", "valid"),
    [(True, None, True), (True, 1001, True), (True, 1000, False), (True, 999, False), (False, None, False)],
)
def test_a_key_is_valid_while_it_is_active_and_not_expired(active: bool, expires_at_ms: int | None, valid: bool):
    assert replace(record(), active=active, expires_at_ms=expires_at_ms).valid(1000) is valid
