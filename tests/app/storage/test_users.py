from __future__ import annotations

import asyncio

import pytest

from app.domain.page import PageRequest
from app.domain.user import Identity, User
from app.storage.database import Database
from app.storage.stores import Stores
from app.storage.users import IdentityTaken

ADA = Identity("https://issuer.example", "ada")
GUEST = User("user_g", "guest", "Guest", 5)


def user(number: int, **fields: object) -> User:
    return User(f"user_{number}", "user", f"User {number}", 1000 * number, **fields)  # type: ignore[arg-type]


async def test_making_sure_of_a_user_stores_them_once_and_changes_nothing(database: Database, stores: Stores):
    await asyncio.gather(*(stores.users.ensure("user_1", name="One", role="user") for _ in range(8)))
    await stores.users.change("user_1", status="disabled")
    await stores.users.ensure("user_1", name="Another", role="admin")
    found = await stores.users.get("user_1")
    assert found is not None
    assert (found.name, found.role, found.status) == ("One", "user", "disabled")
    assert await database.collection("users").count_documents({}) == 1


async def test_a_user_is_read_as_stored(stores: Stores):
    stored = user(1, email="a@b.c", picture="https://p", identity=ADA, limits="none", service_project="proj_1")
    await stores.users.insert(stored)
    assert await stores.users.get("user_1") == stored
    assert await stores.users.by_identity(ADA) == stored


async def test_an_identity_is_one_users_however_many_sign_in_at_once(stores: Stores):
    outcomes = await asyncio.gather(
        *(stores.users.insert(user(number, identity=ADA)) for number in range(5)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, IdentityTaken) for outcome in outcomes) == 4


async def test_the_same_subject_of_another_issuer_is_another_user(stores: Stores):
    await stores.users.insert(user(1, identity=ADA))
    await stores.users.insert(user(2, identity=Identity("https://another.example", ADA.subject)))
    found = await stores.users.by_identity(ADA)
    assert found is not None
    assert found.id == "user_1"


async def test_users_without_an_identity_do_not_clash(stores: Stores):
    await stores.users.insert(user(1))
    await stores.users.insert(user(2))
    assert len((await stores.users.list(PageRequest())).items) == 2


async def test_a_guest_becomes_a_user_in_place_and_once(stores: Stores):
    await stores.users.insert(GUEST)
    adopted = await stores.users.adopt(GUEST.id, ADA, name="Ada", email="ada@example.com")
    assert adopted is not None
    assert (adopted.id, adopted.role, adopted.identity, adopted.name) == (GUEST.id, "user", ADA, "Ada")
    assert await stores.users.adopt(GUEST.id, Identity("x", "y")) is None, "a user is no guest"


async def test_a_guest_cannot_become_somebody_who_is_there(stores: Stores):
    await stores.users.insert(user(1, identity=ADA))
    await stores.users.insert(GUEST)
    with pytest.raises(IdentityTaken):
        await stores.users.adopt(GUEST.id, ADA)
    assert await stores.users.get(GUEST.id) == GUEST


async def test_lists_can_be_of_a_role_or_an_address(stores: Stores):
    await stores.users.insert(user(1, email="a@b.c"))
    await stores.users.insert(user(2))
    await stores.users.insert(GUEST)
    assert [found.id for found in (await stores.users.list(PageRequest(), role="guest")).items] == ["user_g"]
    assert [found.id for found in (await stores.users.list(PageRequest(), emails=["a@b.c", "c@b.a"])).items] == [
        "user_1"
    ]


async def test_lists_can_be_of_accounts_people_or_a_projects_programs(stores: Stores):
    for each in (user(1), GUEST, user(2, service_project="proj_1"), user(3, service_project="proj_2")):
        await stores.users.insert(each)

    async def listed(**wanted: object) -> list[str]:
        return [found.id for found in (await stores.users.list(PageRequest(order="asc"), **wanted)).items]  # type: ignore[arg-type]

    assert await listed() == ["user_g", "user_1", "user_2", "user_3"]
    assert await listed(kind="account") == ["user_1", "user_2", "user_3"]
    assert await listed(kind="person") == ["user_1"]
    assert await listed(service_project="proj_2") == ["user_3"]


async def test_many_users_are_read_at_once(stores: Stores):
    await stores.users.insert(user(1))
    await stores.users.insert(user(2))
    assert await stores.users.by_ids(["user_2", "user_1", "nobody", "user_1"]) == {"user_1": user(1), "user_2": user(2)}
    assert await stores.users.by_ids([]) == {}


async def test_what_looks_like_an_operator_is_a_value(stores: Stores):
    await stores.users.insert(user(1))
    assert await stores.users.get({"$ne": None}) is None  # type: ignore[arg-type]
    assert list((await stores.users.list(PageRequest(), service_project={"$ne": 1})).items) == []  # type: ignore[arg-type]


async def test_a_deleted_user_is_gone(stores: Stores):
    await stores.users.insert(user(1))
    assert await stores.users.delete("user_1") is True
    assert await stores.users.delete("user_1") is False
    assert await stores.users.get("user_1") is None
