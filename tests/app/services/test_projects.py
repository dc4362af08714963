"""Projects and their keys while several things happen at once."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.audit_event import Actor
from app.domain.origin import Origin
from app.domain.page import PageRequest
from app.domain.principal import EVERYTHING, Principal
from app.domain.project import Project
from app.domain.user import ADMIN_ID, User
from app.errors import ApiError, Conflict, PermissionDenied
from app.schemas.identity import CreateKeyRequest
from app.services import Services
from tests.support.gateway import Gateway, new_user

ADMIN = Principal("api_key", ADMIN_ID, "admin", EVERYTHING, key_id="key_x")
ACTOR = Actor.of(ADMIN, Origin("127.0.0.1", "", "req_1"))
WANTED = CreateKeyRequest(name="x")


@pytest.fixture
def services(gateway: Gateway) -> Services:
    return gateway.services


async def keys_of(services: Services, project: Project) -> int:
    return len((await services.keys.list(PageRequest(limit=100), project=project.id)).items)


async def many_keys(services: Services, owner: User, project: Project, how_many: int) -> list[object]:
    """What came of so many keys that were asked for at once."""
    making = (services.keys.create(owner, WANTED, ADMIN, ACTOR, project.id) for _ in range(how_many))
    return await asyncio.gather(*making, return_exceptions=True)


def made_or_told(outcomes: list[object]) -> bool:
    return all(isinstance(outcome, (dict, ApiError)) for outcome in outcomes)


@pytest.mark.parametrize("head_start_s", [0.0, 0.005, 0.02, 0.05])
async def test_a_key_that_is_made_while_its_project_is_archived_opens_nothing(services: Services, head_start_s: float):
    project = await services.organization.projects.create("Closing", ACTOR)
    owner = await new_user(services)
    making = asyncio.create_task(many_keys(services, owner, project, 12))
    await asyncio.sleep(head_start_s)
    await services.organization.projects.archive(project.id, ACTOR)
    assert made_or_told(await making)
    assert await keys_of(services, project) == 0
    with pytest.raises(Conflict):
        await services.keys.create(owner, WANTED, ADMIN, ACTOR, project.id)


async def test_an_archived_project_is_seen_after_the_key_is_stored(services: Services, monkeypatch: pytest.MonkeyPatch):
    project = await services.organization.projects.create("Closing", ACTOR)
    owner = await new_user(services)
    insert = services.stores.keys.insert

    async def late(*arguments: object) -> None:
        # The whole of the archiving falls between the look and the deed.
        await services.organization.projects.archive(project.id, ACTOR)
        await insert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(services.stores.keys), "insert", lambda _, *arguments: late(*arguments))
    with pytest.raises(Conflict) as refusal:
        await services.keys.create(owner, WANTED, ADMIN, ACTOR, project.id)
    assert refusal.value.code == "project_archived"
    assert await keys_of(services, project) == 0


async def test_somebody_who_is_put_in_by_several_is_there_once(services: Services):
    project = await services.organization.projects.create("Together", ACTOR)
    owner = await new_user(services)
    outcomes = await many_keys(services, owner, project, 6)
    assert all(isinstance(outcome, dict) for outcome in outcomes), outcomes
    people = await services.organization.project_users.list(project.id, PageRequest())
    assert [member.user for member in people.members.items] == [owner.id]


async def test_an_admin_is_in_every_project_as_its_owner(services: Services):
    project = await services.organization.projects.create("Ours", ACTOR)
    admin, user = await new_user(services, "admin"), await new_user(services)
    guest, program = await new_user(services, "guest"), await new_user(services, service_project=project.id)
    roles = await services.organization.access.roles(project.id, [admin, user, guest, program])
    assert roles == {admin.id: "owner", program.id: "member"}
    roles = await services.organization.access.roles("proj_default", [admin, user, guest, program])
    assert roles == {admin.id: "owner", user.id: "member"}


async def test_a_caller_who_may_not_make_keys_leaves_no_account_behind(services: Services):
    project = await services.organization.projects.create("Whole", ACTOR)
    reading = Principal("api_key", ADMIN_ID, "admin", frozenset(("read", "admin")), key_id="key_y")
    with pytest.raises(PermissionDenied):
        await services.organization.service_accounts.create(project.id, "Batch", WANTED, reading, ACTOR)
    assert list((await services.organization.service_accounts.list(project.id, PageRequest())).items) == []
