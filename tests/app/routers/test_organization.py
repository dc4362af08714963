"""OpenAI's administration API, called by OpenAI's own SDK."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from app.domain.audit_event import AuditEvent
from app.domain.key_record import DEFAULT_PROJECT
from app.domain.principal import Role
from app.domain.user import ADMIN_ID, User
from app.errors import PermissionDenied
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_user
from tests.support.openai_schema import validate
from tests.support.people import bearer, client_of, key_of
from tests.test_error_shape import assert_error

PREFIXES = ("", "/v1", "/api/v1")
ASK: dict[str, Any] = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sdk(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK with an admin's key alone."""
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="", admin_api_key=gateway.key, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def organization(sdk: openai.AsyncOpenAI) -> Any:
    return sdk.admin.organization


@pytest_asyncio.fixture(loop_scope="session")
async def project(organization: Any) -> Any:
    """A project of the test's own."""
    return await organization.projects.create(name="Search")


def using(gateway: Gateway, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


async def opens(gateway: Gateway, key: str) -> bool:
    """Whether a key lets its bearer use a model."""
    answer = await gateway.anonymous.post("/v1/chat/completions", json=ASK, headers=bearer(key))
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


async def project_key(gateway: Gateway, project_id: str, role: Role = "user") -> tuple[User, dict[str, Any]]:
    """A new user with a key in a project."""
    user = await new_user(gateway.services, role, name="Ada", email="ada@example.com")
    body = {"owner": user.id, "name": "Ada's", "project_id": project_id}
    made = await gateway.client.post("/v1/admin/api-keys", json=body)
    assert made.status_code == 200, made.text
    return user, made.json()


# Projects


async def test_a_project_is_made_described_renamed_and_archived(gateway: Gateway, organization: Any):
    before = int(time.time())
    made = await organization.projects.create(name=" Search ")
    assert (made.object, made.name, made.status, made.archived_at) == ("organization.project", "Search", "active", None)
    assert before <= made.created_at <= time.time()
    assert await organization.projects.retrieve(made.id) == made
    renamed = await organization.projects.update(made.id, name="Ranking")
    assert (renamed.id, renamed.name) == (made.id, "Ranking")
    assert (await organization.projects.update(made.id)).name == "Ranking"
    archived = await organization.projects.archive(made.id)
    assert (archived.status, archived.archived_at >= before) == ("archived", True)
    assert await organization.projects.archive(made.id) == archived
    validate("Project", (await gateway.client.get(f"/v1/organization/projects/{made.id}")).json())


async def test_projects_are_listed_a_page_at_a_time(gateway: Gateway, organization: Any):
    made = [(await organization.projects.create(name=f"P{number}")).id for number in range(3)]
    await organization.projects.archive(made[1])
    active = [project.id async for project in organization.projects.list(limit=1)]
    assert active[:2] == [made[2], made[0]]
    assert active[-1] == DEFAULT_PROJECT
    every = [project.id async for project in organization.projects.list(limit=2, include_archived=True)]
    assert every[:3] == made[::-1]
    assert len(every) == len(set(every))
    page = await organization.projects.list(limit=1)
    assert (page.has_more, page.last_id) == (True, made[2])
    validate("ProjectListResponse", (await gateway.client.get("/v1/organization/projects")).json())


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_default_project_is_always_there(gateway: Gateway, prefix: str):
    path = f"{prefix}/organization/projects/{DEFAULT_PROJECT}"
    found = (await gateway.client.get(path)).json()
    assert (found["name"], found["status"]) == ("Default project", "active")
    assert_error(await gateway.client.post(f"{path}/archive"), 409, "default_project")


async def test_a_project_that_is_not_there_is_not_found(organization: Any):
    projects = organization.projects
    for call in (
        projects.retrieve("proj_none"),
        projects.update("proj_none", name="x"),
        projects.archive("proj_none"),
        projects.api_keys.list("proj_none"),
        projects.users.list("proj_none"),
        projects.users.create("proj_none", user_id=ADMIN_ID, role="member"),
        projects.service_accounts.list("proj_none"),
        projects.service_accounts.create("proj_none", name="x"),
    ):
        with pytest.raises(openai.NotFoundError) as refusal:
            await call
        assert refusal.value.code == "project_not_found"


async def test_an_archived_project_takes_its_keys_with_it_and_gets_no_new_ones(
    gateway: Gateway, organization: Any, project: Any
):
    account = await organization.projects.service_accounts.create(project.id, name="Batch")
    _, key = await project_key(gateway, project.id)
    elsewhere = await gateway.new_key("write")
    for value in (account.api_key.value, key["key"], elsewhere):
        assert await opens(gateway, value)
    await organization.projects.archive(project.id)
    assert [await opens(gateway, value) for value in (account.api_key.value, key["key"], elsewhere)] == [
        False,
        False,
        True,
    ]
    assert (await organization.projects.api_keys.list(project.id)).data == []
    for call in (
        organization.projects.update(project.id, name="x"),
        organization.projects.service_accounts.create(project.id, name="x"),
        organization.projects.service_accounts.api_keys.create(account.id, project_id=project.id),
        organization.projects.users.create(project.id, user_id=ADMIN_ID, role="member"),
    ):
        with pytest.raises(openai.ConflictError) as refusal:
            await call
        assert refusal.value.code == "project_archived"
    refused = await gateway.client.post(
        "/v1/admin/api-keys", json={"owner": ADMIN_ID, "name": "x", "project_id": project.id}
    )
    assert_error(refused, 409, "project_archived")


# Keys of a project


async def test_keys_of_a_project_are_listed_described_and_revoked(gateway: Gateway, organization: Any, project: Any):
    user, made = await project_key(gateway, project.id)
    account = await organization.projects.service_accounts.create(project.id, name="Batch")
    keys = organization.projects.api_keys
    assert [key.id async for key in keys.list(project.id, limit=1)] == [account.api_key.id, made["id"]]
    found = await keys.retrieve(made["id"], project_id=project.id)
    assert (found.object, found.name, found.redacted_value) == (
        "organization.project.api_key",
        "Ada's",
        made["redacted_value"],
    )
    assert (found.owner.type, found.owner.user.id, found.owner.user.email, found.owner.user.role) == (
        "user",
        user.id,
        "ada@example.com",
        "member",
    )
    assert (found.last_used_at, found.expires_at, found.owner_project_access) == (None, None, "active")
    programs = await keys.retrieve(account.api_key.id, project_id=project.id)
    assert (programs.owner.type, programs.owner.service_account.id, programs.owner.user) == (
        "service_account",
        account.id,
        None,
    )
    validate(
        "ProjectApiKeyListResponse",
        (await gateway.client.get(f"/v1/organization/projects/{project.id}/api_keys")).json(),
    )
    assert await opens(gateway, made["key"])
    gone = await keys.delete(made["id"], project_id=project.id)
    assert (gone.id, gone.object, gone.deleted) == (made["id"], "organization.project.api_key.deleted", True)
    assert not await opens(gateway, made["key"])
    with pytest.raises(openai.NotFoundError):
        await keys.retrieve(made["id"], project_id=project.id)


async def test_a_key_of_another_project_is_not_there(gateway: Gateway, organization: Any, project: Any):
    _, made = await project_key(gateway, project.id)
    for call in (
        organization.projects.api_keys.retrieve(made["id"], project_id=DEFAULT_PROJECT),
        organization.projects.api_keys.delete(made["id"], project_id=DEFAULT_PROJECT),
    ):
        with pytest.raises(openai.NotFoundError) as refusal:
            await call
        assert refusal.value.code == "api_key_not_found"
    assert await opens(gateway, made["key"])


async def test_who_gets_a_key_in_a_project_becomes_a_member(gateway: Gateway, organization: Any, project: Any):
    user, _ = await project_key(gateway, project.id)
    member = await organization.projects.users.retrieve(user.id, project_id=project.id)
    assert member.role == "member"
    await gateway.client.patch(f"/v1/admin/users/{user.id}", json={"status": "disabled"})
    (key,) = (await organization.projects.api_keys.list(project.id)).data
    assert key.owner_project_access == "inactive"


async def test_ones_own_keys_are_in_the_default_project(gateway: Gateway):
    _, client = await client_of(gateway)
    async with client:
        made = (await client.post("/v1/user/api-keys", json={"name": "x"})).json()
        assert made["project_id"] == DEFAULT_PROJECT
        refused = await client.post("/v1/user/api-keys", json={"name": "x", "project_id": "proj_x"})
        assert_error(refused, 400, "unsupported_parameter", "project_id")


async def test_keys_are_made_in_projects_that_are_there(gateway: Gateway, project: Any):
    body = {"owner": ADMIN_ID, "name": "x", "project_id": "proj_none"}
    assert_error(await gateway.client.post("/v1/admin/api-keys", json=body), 404, "project_not_found")
    guest = await new_user(gateway.services, "guest")
    body = {"owner": guest.id, "name": "x", "project_id": project.id}
    assert_error(await gateway.client.post("/v1/admin/api-keys", json=body), 409, "guest")


async def test_keys_cannot_be_listed_by_what_is_not_kept(gateway: Gateway):
    path = f"/v1/organization/projects/{DEFAULT_PROJECT}/api_keys"
    refused = await gateway.client.get(path, params={"owner_project_access": "inactive"})
    assert_error(refused, 400, "unsupported_parameter", "owner_project_access")
    assert (await gateway.client.get(path, params={"owner_project_access": "any"})).status_code == 200


# Service accounts


async def test_a_service_account_works_with_its_key_and_ends_with_it(gateway: Gateway, organization: Any, project: Any):
    accounts = organization.projects.service_accounts
    made = await accounts.create(project.id, name="Batch")
    assert (made.object, made.role, made.name) == ("organization.project.service_account", "member", "Batch")
    assert made.api_key.object == "organization.project.service_account.api_key"
    async with using(gateway, made.api_key.value) as program:
        assert (await program.chat.completions.create(**ASK)).choices
        assert made.api_key.value not in str((await accounts.list(project.id)).to_dict())
        found = await accounts.retrieve(made.id, project_id=project.id)
        assert (found.id, found.name, found.created_at) == (made.id, "Batch", made.created_at)
        assert (await accounts.update(made.id, project_id=project.id, name="Hourly")).name == "Hourly"
        gone = await accounts.delete(made.id, project_id=project.id)
        assert (gone.deleted, gone.object) == (True, "organization.project.service_account.deleted")
        with pytest.raises(openai.AuthenticationError):
            await program.chat.completions.create(**ASK)
    with pytest.raises(openai.NotFoundError) as refusal:
        await accounts.retrieve(made.id, project_id=project.id)
    assert refusal.value.code == "service_account_not_found"
    assert (await organization.projects.api_keys.list(project.id)).data == []


async def test_service_accounts_are_listed_a_page_at_a_time_each_in_its_project(organization: Any, project: Any):
    accounts = organization.projects.service_accounts
    other = await organization.projects.create(name="Other")
    made = [(await accounts.create(project.id, name=f"S{number}")).id for number in range(3)]
    elsewhere = await accounts.create(other.id, name="Elsewhere")
    assert [account.id async for account in accounts.list(project.id, limit=1)] == made[::-1]
    for call in (
        accounts.retrieve(elsewhere.id, project_id=project.id),
        accounts.delete(elsewhere.id, project_id=project.id),
        accounts.update(elsewhere.id, project_id=project.id, name="x"),
        accounts.api_keys.create(elsewhere.id, project_id=project.id),
        accounts.retrieve(ADMIN_ID, project_id=project.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await call


async def test_a_service_account_may_begin_without_a_key_and_get_some(
    gateway: Gateway, organization: Any, project: Any
):
    accounts = organization.projects.service_accounts
    made = await accounts.create(project.id, name="Later", create_service_account_only=True)
    assert made.api_key is None
    key = await accounts.api_keys.create(
        made.id, project_id=project.id, name="First", scopes=["write"], expires_in_seconds=3600
    )
    assert (key.name, key.object) == ("First", "organization.project.service_account.api_key")
    assert 3500 < key.expires_at - time.time() <= 3600
    assert await opens(gateway, key.value)
    assert (await gateway.services.keys.get(key.id)).project == project.id


async def test_what_openai_answers_to_a_new_service_account_is_what_we_answer(gateway: Gateway, project: Any):
    path = f"/v1/organization/projects/{project.id}/service_accounts"
    made = await gateway.client.post(path, json={"name": "Batch"})
    validate("ProjectServiceAccountCreateResponse", made.json())
    assert made.headers["cache-control"] == "no-store"
    validate("ProjectServiceAccount", (await gateway.client.get(f"{path}/{made.json()['id']}")).json())


async def test_a_service_account_is_a_user_that_is_nobody(gateway: Gateway, organization: Any, project: Any):
    made = await organization.projects.service_accounts.create(project.id, name="Batch")
    shown = (await gateway.client.get(f"/v1/admin/users/{made.id}")).json()
    assert (shown["role"], shown["service_project"], shown["email"]) == ("user", project.id, None)
    assert (await organization.users.retrieve(made.id)).is_service_account is True
    account = await gateway.services.accounts.get(made.id)
    with pytest.raises(PermissionDenied):
        await gateway.services.sessions.start(account)
    with pytest.raises(openai.ConflictError):
        await organization.users.update(made.id, role="owner")
    with pytest.raises(openai.NotFoundError):
        await organization.projects.users.create(project.id, user_id=made.id, role="member")


async def test_a_service_account_keeps_to_its_project(gateway: Gateway, organization: Any, project: Any):
    made = await organization.projects.service_accounts.create(project.id, name="Batch")
    headers = bearer(made.api_key.value)
    own = await gateway.anonymous.post("/v1/user/api-keys", json={"name": "x"}, headers=headers)
    assert own.json()["project_id"] == project.id
    body = {"owner": made.id, "name": "x", "project_id": DEFAULT_PROJECT}
    assert_error(await gateway.client.post("/v1/admin/api-keys", json=body), 409, "not_a_person")
    await organization.projects.archive(project.id)
    assert not await opens(gateway, own.json()["key"])


# People in a project


async def test_somebody_is_put_in_a_project_and_taken_out_with_their_keys(
    gateway: Gateway, organization: Any, project: Any
):
    people = organization.projects.users
    user = await new_user(gateway.services, name="Ada", email=f"{project.id}@example.com")
    added = await people.create(project.id, email=user.email, role="member")
    assert (added.id, added.object, added.role, added.name, added.email) == (
        user.id,
        "organization.project.user",
        "member",
        "Ada",
        user.email,
    )
    assert await people.retrieve(user.id, project_id=project.id) == added
    assert (await people.update(user.id, project_id=project.id, role="owner")).role == "owner"
    assert (await people.update(user.id, project_id=project.id)).role == "owner"
    with pytest.raises(openai.ConflictError) as refusal:
        await people.create(project.id, user_id=user.id, role="member")
    assert refusal.value.code == "already_member"
    body = {"owner": user.id, "name": "x"}
    here = (await gateway.client.post("/v1/admin/api-keys", json={**body, "project_id": project.id})).json()["key"]
    elsewhere = (await gateway.client.post("/v1/admin/api-keys", json=body)).json()["key"]
    assert [await opens(gateway, key) for key in (here, elsewhere)] == [True, True]
    gone = await people.delete(user.id, project_id=project.id)
    assert (gone.id, gone.object, gone.deleted) == (user.id, "organization.project.user.deleted", True)
    assert [await opens(gateway, key) for key in (here, elsewhere)] == [False, True]
    for call in (
        people.retrieve(user.id, project_id=project.id),
        people.update(user.id, project_id=project.id, role="owner"),
        people.delete(user.id, project_id=project.id),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            await call
        assert refused.value.code == "user_not_found"


async def test_people_of_a_project_are_listed_a_page_at_a_time(gateway: Gateway, organization: Any, project: Any):
    people = organization.projects.users
    users = [await new_user(gateway.services, name=f"U{number}") for number in range(3)]
    for user in users:
        await people.create(project.id, user_id=user.id, role="member")
    assert [member.id async for member in people.list(project.id, limit=1)] == [user.id for user in users[::-1]]
    validate(
        "ProjectUserListResponse", (await gateway.client.get(f"/v1/organization/projects/{project.id}/users")).json()
    )
    await organization.users.delete(users[1].id)
    assert [member.id async for member in people.list(project.id, limit=2)] == [users[2].id, users[0].id]


async def test_an_address_of_several_names_nobody(gateway: Gateway, organization: Any, project: Any):
    email = f"both-{project.id}@example.com"
    twins = [await new_user(gateway.services, email=email) for _ in range(2)]
    with pytest.raises(openai.ConflictError) as refusal:
        await organization.projects.users.create(project.id, email=email, role="member")
    assert all(twin.id in refusal.value.message for twin in twins)
    with pytest.raises(openai.NotFoundError):
        await organization.projects.users.create(project.id, email="nobody@example.com", role="member")
    guest = await new_user(gateway.services, "guest")
    with pytest.raises(openai.NotFoundError):
        await organization.projects.users.create(project.id, user_id=guest.id, role="member")


async def test_everybody_with_an_account_is_in_the_default_project(gateway: Gateway, organization: Any):
    people = organization.projects.users
    user, guest = await new_user(gateway.services), await new_user(gateway.services, "guest")
    listed = {member.id: member.role async for member in people.list(DEFAULT_PROJECT, limit=50)}
    assert (listed[user.id], listed[ADMIN_ID], guest.id in listed) == ("member", "owner", False)
    assert (await people.retrieve(user.id, project_id=DEFAULT_PROJECT)).role == "member"
    for call in (
        people.create(DEFAULT_PROJECT, user_id=user.id, role="member"),
        people.update(user.id, project_id=DEFAULT_PROJECT, role="owner"),
        people.delete(user.id, project_id=DEFAULT_PROJECT),
    ):
        with pytest.raises(openai.ConflictError) as refusal:
            await call
        assert refusal.value.code == "default_project"


# Users of the organization


async def test_users_are_listed_by_address_promoted_demoted_and_deleted(gateway: Gateway, organization: Any):
    user, client = await client_of(gateway)
    async with client:
        email = f"{user.id}@example.com"
        await gateway.services.stores.users.change(user.id, email=email)
        (found,) = (await organization.users.list(emails=[email, "nobody@example.com"])).data
        assert (found.id, found.object, found.role, found.email) == (user.id, "organization.user", "reader", email)
        assert (await organization.users.update(user.id, role="owner")).role == "owner"
        assert (await client.get("/v1/admin/users")).status_code == 200
        assert (await organization.users.update(user.id, role="reader")).role == "reader"
        assert_error(await client.get("/v1/admin/users"), 403)
        assert (await organization.users.update(user.id)).role == "reader"
        validate("User", (await gateway.client.get(f"/v1/organization/users/{user.id}")).json())
        gone = await organization.users.delete(user.id)
        assert (gone.id, gone.object, gone.deleted) == (user.id, "organization.user.deleted", True)
        assert_error(await client.get("/v1/user/profile"), 401)
    with pytest.raises(openai.NotFoundError):
        await organization.users.retrieve(user.id)


async def test_guests_are_in_no_organization(gateway: Gateway, organization: Any):
    guest = await new_user(gateway.services, "guest")
    user = await new_user(gateway.services)
    listed = [each.id async for each in organization.users.list(limit=30)]
    assert (user.id in listed, guest.id in listed) == (True, False)
    assert len(listed) == len(set(listed))
    for call in (
        organization.users.retrieve(guest.id),
        organization.users.update(guest.id, role="owner"),
        organization.users.delete(guest.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await call


async def test_an_owner_does_not_take_their_own_power(organization: Any):
    for call in (organization.users.update(ADMIN_ID, role="reader"), organization.users.delete(ADMIN_ID)):
        with pytest.raises(openai.ConflictError) as refusal:
            await call
        assert refusal.value.code == "own_account"


# Keys of admins


async def test_an_admins_key_is_made_listed_used_and_revoked(gateway: Gateway, organization: Any):
    keys = organization.admin_api_keys
    made = await keys.create(name="Provisioning", expires_in_seconds=3600)
    assert (made.object, made.name, made.owner.id, made.owner.role) == (
        "organization.admin_api_key",
        "Provisioning",
        ADMIN_ID,
        "owner",
    )
    assert 3500 < made.expires_at - time.time() <= 3600
    found = await keys.retrieve(made.id)
    assert (found.id, found.redacted_value, hasattr(found, "value")) == (made.id, made.redacted_value, False)
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="", admin_api_key=made.value, max_retries=0
    ) as second:
        assert (await second.admin.organization.projects.retrieve(DEFAULT_PROJECT)).id == DEFAULT_PROJECT
        gone = await keys.delete(made.id)
        assert (gone.object, gone.deleted) == ("organization.admin_api_key.deleted", True)
        with pytest.raises(openai.AuthenticationError):
            await second.admin.organization.projects.retrieve(DEFAULT_PROJECT)
    answer = await gateway.client.post("/v1/organization/admin_api_keys", json={"name": "x"})
    validate("AdminApiKeyCreateResponse", answer.json())
    assert answer.headers["cache-control"] == "no-store"


async def test_keys_with_the_permission_are_listed_and_no_others(gateway: Gateway, organization: Any):
    first = await organization.admin_api_keys.create(name="First")
    user = await new_user(gateway.services)
    await key_of(gateway, user)
    plain = (await gateway.client.get("/v1/admin/api-keys", params={"owner": user.id})).json()["data"][0]["id"]
    second = await organization.admin_api_keys.create(name="Second")
    listed = [key.id async for key in organization.admin_api_keys.list(limit=2)]
    assert plain not in listed
    assert listed.index(first.id) < listed.index(second.id), "the oldest first"
    newest = await organization.admin_api_keys.list(limit=1, order="desc")
    assert newest.data[0].id == second.id
    validate("ApiKeyList", (await gateway.client.get("/v1/organization/admin_api_keys")).json())
    for call in (organization.admin_api_keys.retrieve(plain), organization.admin_api_keys.delete(plain)):
        with pytest.raises(openai.NotFoundError):
            await call


async def test_a_restricted_admins_key_makes_no_other(gateway: Gateway, organization: Any, project: Any):
    restricted = await organization.admin_api_keys.create(name="An hour", expires_in_seconds=3600)
    headers = bearer(restricted.value)
    accounts = f"/v1/organization/projects/{project.id}/service_accounts"
    for path in ("/v1/organization/admin_api_keys", accounts):
        refused = await gateway.anonymous.post(path, json={"name": "x"}, headers=headers)
        assert_error(refused, 403, "key_restricted")
    assert (await organization.projects.service_accounts.list(project.id)).data == [], "nothing is left half made"


# The audit log


async def test_every_change_is_written_down_as_openai_would(gateway: Gateway, organization: Any):
    project = await organization.projects.create(name="Audited")
    await organization.projects.update(project.id, name="Renamed")
    account = await organization.projects.service_accounts.create(project.id, name="Batch")
    await organization.projects.api_keys.delete(account.api_key.id, project_id=project.id)
    await organization.projects.service_accounts.delete(account.id, project_id=project.id)
    await organization.projects.archive(project.id)
    events = [event async for event in organization.audit_logs.list(project_ids=[project.id], limit=3)]
    assert [event.type for event in events] == [
        "project.archived",
        "service_account.deleted",
        "api_key.deleted",
        "api_key.created",
        "service_account.created",
        "project.updated",
        "project.created",
    ]
    assert {event.project.id for event in events} == {project.id}
    assert {(event.actor.type, event.actor.api_key.type, event.actor.api_key.user.id) for event in events} == {
        ("api_key", "user", ADMIN_ID)
    }
    assert events[-1].project_created.data.title == "Audited"
    assert events[-2].project_updated.changes_requested.title == "Renamed"
    assert events[-3].service_account_created.id == account.id
    assert events[-4].api_key_created.data.scopes == ["read", "write"]
    raw = (await gateway.client.get("/v1/organization/audit_logs")).json()
    validate("ListAuditLogsResponse", raw)


async def test_memberships_are_in_our_own_log(gateway: Gateway, organization: Any, project: Any):
    user = await new_user(gateway.services)
    await organization.projects.users.create(project.id, user_id=user.id, role="member")
    await organization.projects.users.update(user.id, project_id=project.id, role="owner")
    await organization.projects.users.delete(user.id, project_id=project.id)
    events = (await gateway.client.get("/v1/admin/audit-log", params={"target": user.id})).json()["data"]
    assert [(event["type"], event["detail"]["project"]) for event in events] == [
        ("project_user.deleted", project.id),
        ("project_user.updated", project.id),
        ("project_user.added", project.id),
    ]


async def test_the_log_is_filtered(gateway: Gateway, organization: Any):
    admin, client = await client_of(gateway, "admin")
    email = f"{admin.id}@example.com"
    await gateway.services.stores.users.change(admin.id, email=email)
    async with client:
        made = (await client.post("/v1/organization/projects", json={"name": "By session"})).json()
        assert (await client.post("/v1/user/profile", json={"name": "x"})).status_code == 200
        logs = organization.audit_logs
        (event,) = (await logs.list(actor_ids=[admin.id, "user_none"])).data
        assert (event.type, event.actor.type, event.actor.session.user.id) == ("project.created", "session", admin.id)
        assert (event.actor.session.user.email, event.actor.session.ip_address) == (email, "127.0.0.1")
        for same in (
            logs.list(actor_emails=[email]),
            logs.list(resource_ids=[made["id"]]),
            logs.list(resource_ids=[made["id"]], event_types=["project.created", "user.added"]),
            logs.list(actor_ids=[admin.id], effective_at={"gte": event.effective_at, "lte": event.effective_at}),
            logs.list(actor_ids=[admin.id], effective_at={"gt": event.effective_at - 1, "lt": event.effective_at + 1}),
        ):
            assert [each.id for each in (await same).data] == [event.id]
        for none in (
            logs.list(actor_emails=["nobody@example.com"]),
            logs.list(actor_ids=[admin.id], event_types=["project.archived"]),
            logs.list(actor_ids=[admin.id], event_types=["invite.sent"]),
            logs.list(actor_ids=[admin.id], effective_at={"gt": event.effective_at}),
            logs.list(actor_ids=[admin.id], effective_at={"lt": event.effective_at}),
        ):
            assert (await none).data == []


async def test_the_log_goes_both_ways(organization: Any):
    ids = [(await organization.projects.create(name=f"L{number}")).id for number in range(3)]
    logs = organization.audit_logs
    events = (await logs.list(resource_ids=ids)).data
    assert [event.project_created.id for event in events] == ids[::-1]
    before = await logs.list(resource_ids=ids, before=events[2].id, limit=1)
    assert [event.id for event in before.data] == [events[1].id]


async def test_what_a_service_account_does_is_told_as_its_own(gateway: Gateway, organization: Any, project: Any):
    made = await organization.projects.service_accounts.create(project.id, name="Batch")
    key = await gateway.anonymous.post("/v1/user/api-keys", json={"name": "x"}, headers=bearer(made.api_key.value))
    (event,) = (await organization.audit_logs.list(actor_ids=[made.id])).data
    assert (event.actor.api_key.type, event.actor.api_key.service_account.id) == ("service_account", made.id)
    assert event.api_key_created.id == key.json()["id"]
    by_key = (await organization.audit_logs.list(actor_ids=[made.api_key.id])).data
    assert [each.id for each in by_key] == [event.id]


async def test_a_failed_sign_in_has_its_shape(gateway: Gateway, organization: Any):
    failed = AuditEvent(
        id=f"audit_{time.time_ns()}",
        at_ms=int(time.time() * 1000),
        action="login.failed",
        outcome="refused",
        actor="ip:203.0.113.7",
        credential=None,
        target=None,
        address="203.0.113.7",
        user_agent="",
        request_id="req_1",
        detail={"reason": "the state is wrong"},
    )
    await gateway.services.stores.audit_log.append(failed)
    (event,) = (await organization.audit_logs.list(actor_ids=["ip:203.0.113.7"])).data
    assert event.login_failed.error_message == "the state is wrong"
    assert (event.actor.type, event.actor.session.ip_address, event.actor.session.user.id) == (
        "session",
        "203.0.113.7",
        None,
    )


# Who may, and what is refused


READS = (
    "/organization/projects",
    f"/organization/projects/{DEFAULT_PROJECT}",
    f"/organization/projects/{DEFAULT_PROJECT}/users",
    f"/organization/projects/{DEFAULT_PROJECT}/users/{ADMIN_ID}",
    f"/organization/projects/{DEFAULT_PROJECT}/api_keys",
    f"/organization/projects/{DEFAULT_PROJECT}/service_accounts",
    "/organization/users",
    f"/organization/users/{ADMIN_ID}",
    "/organization/admin_api_keys",
    "/organization/audit_logs",
)
WRITES = (
    ("POST", "/organization/projects"),
    ("POST", f"/organization/projects/{DEFAULT_PROJECT}"),
    ("POST", "/organization/projects/proj_x/archive"),
    ("POST", f"/organization/projects/{DEFAULT_PROJECT}/users"),
    ("POST", f"/organization/projects/{DEFAULT_PROJECT}/users/user_x"),
    ("DELETE", f"/organization/projects/{DEFAULT_PROJECT}/users/user_x"),
    ("DELETE", f"/organization/projects/{DEFAULT_PROJECT}/api_keys/key_x"),
    ("POST", f"/organization/projects/{DEFAULT_PROJECT}/service_accounts"),
    ("POST", f"/organization/projects/{DEFAULT_PROJECT}/service_accounts/user_x"),
    ("DELETE", f"/organization/projects/{DEFAULT_PROJECT}/service_accounts/user_x"),
    ("POST", f"/organization/projects/{DEFAULT_PROJECT}/service_accounts/user_x/api_keys"),
    ("POST", "/organization/users/user_x"),
    ("DELETE", "/organization/users/user_x"),
    ("POST", "/organization/admin_api_keys"),
    ("DELETE", "/organization/admin_api_keys/key_x"),
)


async def test_all_of_it_is_for_admins(new_gateway: GatewayFactory):
    # A gateway of its own: so many refusals are more than one stores in a minute, and others look for theirs.
    async with new_gateway() as gateway:
        user = await new_user(gateway.services)
        headers = await key_of(gateway, user, "read", "write", "admin")
        plain = bearer(await gateway.new_key("read", "write"))
        looking = bearer(await gateway.new_key("read", "admin"))
        reads = [("GET", prefix + path) for prefix in PREFIXES for path in READS]
        writes = [(method, prefix + path) for prefix in PREFIXES for method, path in WRITES]
        for method, path in (*reads, *writes):
            for who in (headers, plain):
                assert_error(await gateway.anonymous.request(method, path, headers=who, json={}), 403)
            assert_error(await gateway.anonymous.request(method, path, json={}), 401)
        for method, path in writes:
            assert_error(await gateway.anonymous.request(method, path, headers=looking, json={}), 403)
        for _, path in reads:
            assert (await gateway.anonymous.get(path, headers=looking)).status_code == 200, path


async def test_one_key_does_for_both_that_the_sdk_knows(gateway: Gateway):
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key=gateway.key, admin_api_key=gateway.key, max_retries=0
    ) as client:
        assert (await client.admin.organization.projects.retrieve(DEFAULT_PROJECT)).id == DEFAULT_PROJECT
        assert (await client.models.retrieve(CHAT)).id == CHAT


async def test_the_sdk_with_a_users_key_is_refused(gateway: Gateway):
    user = await new_user(gateway.services)
    value = (await key_of(gateway, user))["authorization"].removeprefix("Bearer ")
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key=value, admin_api_key=value, max_retries=0
    ) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.admin.organization.projects.list()


PROJECT_PATH, USERS_PATH = "/v1/organization/projects", f"/v1/organization/users/{ADMIN_ID}"
DEFAULT_PATH = f"{PROJECT_PATH}/{DEFAULT_PROJECT}"
ACCOUNTS_PATH, PEOPLE_PATH = f"{DEFAULT_PATH}/service_accounts", f"{DEFAULT_PATH}/users"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (PROJECT_PATH, {}, "name"),
        (PROJECT_PATH, {"name": ""}, "name"),
        (PROJECT_PATH, {"name": "x" * 101}, "name"),
        (PROJECT_PATH, {"name": "bell \x07"}, "name"),
        (PROJECT_PATH, {"name": "turned \u202e"}, "name"),
        (PROJECT_PATH, {"name": {"$ne": None}}, "name"),
        (PROJECT_PATH, {"name": "x", "id": "proj_default"}, "id"),
        (PROJECT_PATH, {"name": "x", "archived_at": 1}, "archived_at"),
        (PROJECT_PATH, {"name": "x", "geography": "EU"}, "geography"),
        (PROJECT_PATH, {"name": "x", "residency": "EU_STORAGE_PROCESSING"}, "residency"),
        (PROJECT_PATH, {"name": "x", "external_key_id": "key"}, "external_key_id"),
        (DEFAULT_PATH, {"status": "archived"}, "status"),
        (DEFAULT_PATH, {"name": "two\nlines"}, "name"),
        (ACCOUNTS_PATH, {"name": "x", "role": "owner"}, "role"),
        (ACCOUNTS_PATH, {"name": "x", "expires_in_seconds": 0}, "expires_in_seconds"),
        (ACCOUNTS_PATH, {"name": "x", "expires_in_seconds": 10**9}, "expires_in_seconds"),
        (
            ACCOUNTS_PATH,
            {"name": "x", "create_service_account_only": True, "expires_in_seconds": 5},
            "expires_in_seconds",
        ),
        (f"{ACCOUNTS_PATH}/user_x", {"role": "owner"}, "role"),
        (f"{ACCOUNTS_PATH}/user_x/api_keys", {"scopes": ["api.all.read"]}, "scopes[0]"),
        (PEOPLE_PATH, {"user_id": "user_x"}, "role"),
        (PEOPLE_PATH, {"role": "member"}, "user_id"),
        (PEOPLE_PATH, {"role": "member", "user_id": "user_x", "email": "a@b.c"}, "user_id"),
        (PEOPLE_PATH, {"role": "admin", "user_id": "user_x"}, "role"),
        (PEOPLE_PATH, {"role": "member", "user_id": {"$gt": ""}}, "user_id"),
        (PEOPLE_PATH, {"role": "member", "email": "no address"}, "email"),
        (f"{PEOPLE_PATH}/user_x", {"role": "none"}, "role"),
        (USERS_PATH, {"role": "admin"}, "role"),
        (USERS_PATH, {"role_id": "role_1"}, "role_id"),
        (USERS_PATH, {"technical_level": "high"}, "technical_level"),
        (USERS_PATH, {"status": "disabled"}, "status"),
        ("/v1/organization/admin_api_keys", {"name": "x", "expires_in_seconds": "1"}, "expires_in_seconds"),
        ("/v1/organization/admin_api_keys", {"name": "x", "owner": "user_x"}, "owner"),
        ("/v1/admin/api-keys", {"name": "x", "owner": "user_x", "project_id": {"$ne": 1}}, "project_id"),
    ],
)
async def test_a_wrong_body_is_refused_by_its_field(gateway: Gateway, path: str, body: dict[str, Any], param: str):
    assert_error(await gateway.client.post(path, json=body), 400, param=param)


async def test_what_says_nothing_is_let_pass(gateway: Gateway, organization: Any):
    made = await organization.projects.create(name="x", residency="GLOBAL", geography=None, external_key_id=None)
    assert made.status == "active"
    nothing = {"role_id": None, "technical_level": None, "developer_persona": None}
    assert (await gateway.client.post(USERS_PATH, json=nothing)).status_code == 200


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        (PROJECT_PATH, {"limit": "0"}, "limit"),
        (PROJECT_PATH, {"after": "proj_none"}, "after"),
        (PROJECT_PATH, {"include_archived": "perhaps"}, "include_archived"),
        (PEOPLE_PATH, {"after": "user_none"}, "after"),
        ("/v1/organization/users", {"emails[]": "x" * 300}, "emails[].0"),
        ("/v1/organization/audit_logs", {"effective_at[gt]": "now"}, "effective_at[gt]"),
        ("/v1/organization/audit_logs", {"effective_at[lt]": "-1"}, "effective_at[lt]"),
        ("/v1/organization/audit_logs", {"tenant_only": "true"}, "tenant_only"),
        ("/v1/organization/audit_logs", {"limit": "101"}, "limit"),
    ],
)
async def test_a_wrong_query_is_refused_by_its_parameter(
    gateway: Gateway, path: str, query: dict[str, str], param: str
):
    assert_error(await gateway.client.get(path, params=query), 400, param=param)


@pytest.mark.parametrize(
    "path",
    [
        "/organization/invites",
        "/organization/usage/images",
        "/organization/usage/web_search_calls",
        "/organization/groups",
        "/organization/roles",
        "/organization/certificates",
        f"/organization/projects/{DEFAULT_PROJECT}/rate_limits",
        f"/organization/projects/{DEFAULT_PROJECT}/spend_limit",
    ],
)
async def test_what_openai_has_and_we_do_not_is_not_there(gateway: Gateway, path: str):
    assert_error(await gateway.client.get(f"/v1{path}"), 404, "not_found")
