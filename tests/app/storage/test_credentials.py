from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import DuplicateKeyError

from app.domain.api_key import ApiKey
from app.domain.principal import Scope
from app.storage.credentials import Credentials, StoredKey
from app.storage.database import Database


async def store(credentials: Credentials, key: ApiKey, digest: str = "d", owner: str = "user_1") -> None:
    scopes: list[Scope] = ["read"]
    await credentials.ensure_key(key, digest, owner=owner, name="k", scopes=scopes)


async def test_what_was_not_stored_is_not_found(credentials: Credentials):
    assert await credentials.find("d") is None


async def test_a_key_is_found_with_its_owners_role(credentials: Credentials):
    key = ApiKey.mint()
    await credentials.ensure_user("user_1", name="One", role="admin")
    await store(credentials, key)
    found = await credentials.find("d")
    assert found is not None
    assert found.active
    assert (found.principal.role, found.principal.key_id) == ("admin", f"key_{key.id}")


async def test_a_key_without_an_owner_opens_nothing(credentials: Credentials):
    await store(credentials, ApiKey.mint(), owner="nobody")
    assert await credentials.find("d") is None


async def test_storing_twice_stores_once(database: Database, credentials: Credentials):
    key = ApiKey.mint()
    for _ in range(2):
        await credentials.ensure_user("user_1", name="One", role="user")
        await store(credentials, key)
    assert await database.collection("users").count_documents({}) == 1
    assert await database.collection("api_keys").count_documents({}) == 1


async def test_storing_the_same_at_once_stores_once(database: Database, credentials: Credentials):
    key = ApiKey.mint()
    await asyncio.gather(*(credentials.ensure_user("user_1", name="One", role="user") for _ in range(8)))
    await asyncio.gather(*(store(credentials, key) for _ in range(8)))
    assert await database.collection("users").count_documents({}) == 1
    assert await database.collection("api_keys").count_documents({}) == 1


async def test_a_user_that_is_there_is_not_changed(database: Database, credentials: Credentials):
    await credentials.ensure_user("user_1", name="One", role="user")
    await database.collection("users").update_one({}, {"$set": {"status": "suspended"}})
    await credentials.ensure_user("user_1", name="Another", role="admin")
    user = await database.collection("users").find_one({})
    assert user is not None
    assert (user["name"], user["role"], user["status"]) == ("One", "user", "suspended")


async def test_no_two_keys_have_the_same_digest(database: Database, credentials: Credentials):
    await store(credentials, ApiKey.mint())
    with pytest.raises(DuplicateKeyError):
        await database.collection("api_keys").insert_one({"_id": "key_other", "digest": "d"})


async def test_preparing_again_does_no_harm(credentials: Credentials, database: Database):
    await credentials.prepare()
    names = {index["name"] async for index in database.collection("api_keys").list_indexes()}
    assert {"digest", "owner"} <= names


@pytest.mark.parametrize(
    ("active", "expires_at_ms", "valid"),
    [(True, None, True), (True, 1001, True), (True, 1000, False), (True, 999, False), (False, None, False)],
)
def test_a_key_is_valid_while_it_is_active_and_not_expired(active: bool, expires_at_ms: int | None, valid: bool):
    from app.domain.principal import Principal

    assert StoredKey(Principal.anonymous("x"), active, expires_at_ms).valid(1000) is valid
