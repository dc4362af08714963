from __future__ import annotations

import asyncio

import pytest

from app.domain.key_record import DEFAULT_PROJECT
from app.domain.page import PageRequest
from app.domain.project import Member, Project
from app.errors import InvalidRequest
from app.storage.database import Database
from app.storage.stores import Stores


def project(number: int) -> Project:
    # Later than the default one, which is made now.
    return Project(f"proj_{number}", f"Project {number}", 10**13 + number)


def member(number: int, project_id: str = "proj_1") -> Member:
    return Member(project_id, f"user_{number}", "member", 1000 * number)


async def listed(stores: Stores, *, archived: bool = False, **page: object) -> list[str]:
    found = await stores.projects.list(PageRequest(**page), archived=archived)  # type: ignore[arg-type]
    return [each.id for each in found.items]


async def test_the_default_project_is_there_once_and_stays_as_it_is(database: Database, stores: Stores):
    await stores.projects.rename(DEFAULT_PROJECT, "Ours")
    await asyncio.gather(*(stores.prepare() for _ in range(4)))
    found = await stores.projects.get(DEFAULT_PROJECT)
    assert found is not None
    assert (found.name, found.is_default, found.is_archived) == ("Ours", True, False)
    assert await database.collection("projects").count_documents({}) == 1


async def test_a_project_is_read_as_stored(stores: Stores):
    await stores.projects.insert(project(1))
    assert await stores.projects.get("proj_1") == project(1)
    assert await stores.projects.by_ids(["proj_1", "proj_1", "proj_none"]) == {"proj_1": project(1)}
    assert await stores.projects.by_ids([]) == {}
    assert await stores.projects.get("proj_none") is None


async def test_an_archived_project_is_changed_no_more_and_listed_when_asked_for(stores: Stores):
    await stores.projects.insert(project(1))
    await stores.projects.insert(project(2))
    archived = await stores.projects.archive("proj_1")
    assert archived is not None
    assert archived.is_archived
    assert await stores.projects.archive("proj_1") is None
    assert await stores.projects.rename("proj_1", "Late") is None
    assert await stores.projects.get("proj_1") == archived
    assert await listed(stores) == ["proj_2", DEFAULT_PROJECT]
    assert await listed(stores, archived=True) == ["proj_2", "proj_1", DEFAULT_PROJECT]
    assert await listed(stores, archived=True, after="proj_2", limit=1) == ["proj_1"]
    with pytest.raises(InvalidRequest):
        await listed(stores, after="proj_1")


async def test_somebody_is_in_a_project_once_however_many_put_them_there(stores: Stores):
    outcomes = await asyncio.gather(*(stores.project_users.insert(member(1)) for _ in range(6)))
    assert sorted(outcomes) == [False] * 5 + [True]
    assert await stores.project_users.get("proj_1", "user_1") == member(1)
    assert await stores.project_users.get("proj_2", "user_1") is None


async def test_a_page_of_people_names_people(stores: Stores):
    for number in range(1, 5):
        await stores.project_users.insert(member(number))
    await stores.project_users.insert(member(9, "proj_2"))
    page = await stores.project_users.list("proj_1", PageRequest(limit=2))
    assert ([each.user for each in page.items], page.has_more) == (["user_4", "user_3"], True)
    page = await stores.project_users.list("proj_1", PageRequest(limit=2, after="user_3"))
    assert ([each.user for each in page.items], page.has_more) == (["user_2", "user_1"], False)
    page = await stores.project_users.list("proj_1", PageRequest(limit=1, before="user_2"))
    assert [each.user for each in page.items] == ["user_3"]
    for wrong in ("user_9", "proj_1 user_1", ""):
        with pytest.raises(InvalidRequest) as refusal:
            await stores.project_users.list("proj_1", PageRequest(after=wrong))
        assert refusal.value.param == "after"


async def test_people_are_looked_up_changed_and_taken_out(stores: Stores):
    for number in (1, 2):
        await stores.project_users.insert(member(number))
    assert await stores.project_users.among("proj_1", ["user_1", "user_3"]) == {"user_1": member(1)}
    assert await stores.project_users.among("proj_2", ["user_1"]) == {}
    assert await stores.project_users.among("proj_1", []) == {}
    changed = await stores.project_users.change("proj_1", "user_1", "owner")
    assert changed is not None
    assert changed.role == "owner"
    assert await stores.project_users.change("proj_2", "user_1", "owner") is None
    assert await stores.project_users.delete("proj_1", "user_1") is True
    assert await stores.project_users.delete("proj_1", "user_1") is False


async def test_who_is_deleted_is_in_no_project(stores: Stores):
    for each in (member(1), member(1, "proj_2"), member(2)):
        await stores.project_users.insert(each)
    assert (await stores.ownership.delete("user_1"))["project_users"] == 2
    assert await stores.project_users.get("proj_1", "user_2") == member(2)


async def test_what_looks_like_an_operator_is_a_value(stores: Stores):
    operator = {"$ne": None}
    assert await stores.projects.get(operator) is None  # type: ignore[arg-type]
    assert await stores.project_users.get(operator, "user_1") is None  # type: ignore[arg-type]
