from __future__ import annotations

from typing import Any

import pytest

from app.domain.page import PageRequest
from app.domain.user import ADMIN_ID
from tests.support.gateway import Gateway, new_user
from tests.support.people import bearer, client_of, key_of, signed_in
from tests.test_error_shape import assert_error


async def audit(gateway: Gateway, **where: str) -> list[dict[str, Any]]:
    await gateway.services.audit.close()
    return (await gateway.client.get("/v1/admin/audit-log", params=where)).json()["data"]


async def test_an_admin_adds_somebody_and_makes_them_a_key(gateway: Gateway):
    user = (await gateway.client.post("/v1/admin/users", json={"name": "Ada", "email": "ada@example.com"})).json()
    assert (user["object"], user["role"], user["status"], user["identity"]) == ("user", "user", "active", None)
    made = await gateway.client.post("/v1/admin/api-keys", json={"owner": user["id"], "name": "Ada's"})
    assert made.headers["cache-control"] == "no-store"
    me = await gateway.anonymous.get("/v1/user/profile", headers=bearer(made.json()["key"]))
    assert me.json()["id"] == user["id"]
    found = await gateway.client.get("/v1/admin/users", params={"email": "ada@example.com"})
    assert user["id"] in [each["id"] for each in found.json()["data"]]
    (added,) = await audit(gateway, target=user["id"])
    assert (added["type"], added["actor"]["id"], added["outcome"]) == ("user.added", ADMIN_ID, "succeeded")
    assert added["actor"]["credential"].startswith("key_")
    assert added["origin"]["address"] == "127.0.0.1"
    assert added["origin"]["request_id"].startswith("req_")


async def test_promoting_demoting_and_disabling_act_at_once(gateway: Gateway):
    user, client = await client_of(gateway)
    path = f"/v1/admin/users/{user.id}"
    async with client:
        assert_error(await client.get("/v1/admin/users"), 403)
        assert (await gateway.client.patch(path, json={"role": "admin"})).json()["role"] == "admin"
        assert (await client.get("/v1/admin/users")).status_code == 200
        assert (await gateway.client.post(path, json={"role": "user"})).json()["role"] == "user"
        assert_error(await client.get("/v1/admin/users"), 403)
        key = await key_of(gateway, user)
        assert (await gateway.client.patch(path, json={"status": "disabled"})).json()["status"] == "disabled"
        assert_error(await client.get("/v1/user/profile"), 401, "session_ended")
        assert_error(await gateway.anonymous.get("/v1/user/profile", headers=key), 401, "invalid_api_key")
        await gateway.client.patch(path, json={"status": "active"})
        assert_error(await client.get("/v1/user/profile"), 401, "session_ended")
        assert (await gateway.anonymous.get("/v1/user/profile", headers=key)).status_code == 200, "keys were not ended"


async def test_an_admins_key_without_the_permission_is_no_admins(gateway: Gateway):
    plain = bearer(await gateway.new_key("read", "write"))
    assert_error(await gateway.anonymous.get("/v1/admin/users", headers=plain), 403)
    reading = bearer(await gateway.new_key("read", "admin"))
    assert (await gateway.anonymous.get("/v1/admin/users", headers=reading)).status_code == 200
    refused = await gateway.anonymous.post("/v1/admin/users", json={"name": "x"}, headers=reading)
    assert_error(refused, 403)


async def test_the_permission_without_the_role_is_nothing(gateway: Gateway):
    user = await new_user(gateway.services)
    headers = await key_of(gateway, user, "read", "write", "admin")
    assert_error(await gateway.anonymous.get("/v1/admin/users", headers=headers), 403)


async def test_revoking_everything_ends_sessions_and_keys(gateway: Gateway):
    user, pair = await signed_in(gateway)
    key = await key_of(gateway, user)
    for headers in (key, bearer(pair.access_token)):
        assert (await gateway.anonymous.get("/v1/user/profile", headers=headers)).status_code == 200
    revoked = await gateway.client.post(f"/v1/admin/users/{user.id}/revoke")
    assert revoked.json()["revoked"] == {"sessions": 1, "api_keys": 1}
    for headers in (key, bearer(pair.access_token)):
        assert_error(await gateway.anonymous.get("/v1/user/profile", headers=headers), 401)


async def test_a_deleted_user_is_gone_with_all_that_is_theirs(gateway: Gateway):
    user, _ = await signed_in(gateway)
    await key_of(gateway, user)
    gone = await gateway.client.delete(f"/v1/admin/users/{user.id}")
    removed = {name: count for name, count in gone.json()["removed"].items() if count}
    assert removed == {"api_keys": 1, "sessions": 1}
    assert_error(await gateway.client.get(f"/v1/admin/users/{user.id}"), 404, "user_not_found")
    assert list((await gateway.services.stores.keys.list(PageRequest(), owner=user.id)).items) == []
    assert [event["type"] for event in await audit(gateway, target=user.id)] == ["user.deleted"]


async def test_admins_do_not_take_their_own_power(gateway: Gateway):
    admin, client = await client_of(gateway, "admin")
    async with client:
        path = f"/v1/admin/users/{admin.id}"
        for body in ({"role": "user"}, {"status": "disabled"}):
            refused = await client.patch(path, json=body)
            assert_error(refused, 409, "own_account")
            assert refused.headers["x-should-retry"] == "false"
        assert_error(await client.delete(path), 409, "own_account")
        assert (await client.patch(path, json={"name": "Still here"})).status_code == 200


async def test_the_first_admin_is_not_deleted_since_the_next_start_would_bring_them_back(gateway: Gateway):
    _, client = await client_of(gateway, "admin")
    async with client:
        assert_error(await client.delete(f"/v1/admin/users/{ADMIN_ID}"), 409, "first_admin")
    assert (await gateway.client.get("/v1/auth/me")).json()["id"] == ADMIN_ID


async def test_a_guest_is_not_promoted(gateway: Gateway):
    guest = await new_user(gateway.services, "guest")
    assert_error(await gateway.client.patch(f"/v1/admin/users/{guest.id}", json={"role": "admin"}), 409, "guest")


async def test_everybodys_keys_can_be_listed_changed_and_revoked(gateway: Gateway):
    user = await new_user(gateway.services)
    headers = await key_of(gateway, user)
    (key,) = (await gateway.client.get("/v1/admin/api-keys", params={"owner": user.id})).json()["data"]
    path = f"/v1/admin/api-keys/{key['id']}"
    assert (await gateway.client.get(path)).json() == key
    lifted = await gateway.client.patch(path, json={"limits": "none"})
    assert lifted.json()["limits"] == "none"
    assert_error(await gateway.client.patch(path, json={"permissions": ["admin"]}), 403)
    assert (await gateway.client.delete(path)).json()["deleted"] is True
    assert_error(await gateway.anonymous.get("/v1/user/profile", headers=headers), 401)
    assert [event["type"] for event in await audit(gateway, target=key["id"])] == [
        "api_key.deleted",
        "api_key.updated",
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x", "email": "no address"}, "email"),
        ({"name": "x", "email": {"$ne": 1}}, "email"),
        ({"name": "x", "role": "root"}, "role"),
        ({"name": "x", "role": "guest"}, "role"),
        ({"name": "x", "id": "user_admin"}, "id"),
        ({"name": "x", "identity": {}}, "identity"),
        ({"name": "\x07"}, "name"),
    ],
)
async def test_a_wrong_user_is_refused_by_its_field(gateway: Gateway, body: dict[str, Any], param: str):
    assert_error(await gateway.client.post("/v1/admin/users", json=body), 400, param=param)


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "nobody"}, {"role": "root"}, {"after": "x" * 200}],
)
async def test_a_wrong_page_is_refused(gateway: Gateway, query: dict[str, Any]):
    assert_error(await gateway.client.get("/v1/admin/users", params=query), 400, param=next(iter(query)))


async def test_refusals_are_in_the_log_with_their_reason(gateway: Gateway):
    user, client = await client_of(gateway)
    async with client:
        await client.get("/v1/admin/audit-log")
    (event,) = await audit(gateway, actor=user.id, action="access.refused")
    assert (event["target"], event["outcome"]) == ("/v1/admin/audit-log", "refused")
    assert "admin" in event["detail"]["reason"]


@pytest.mark.parametrize(
    "lines",
    [
        ["203.0.113.9"],
        ["198.51.100.1, 203.0.113.9"],
        # some proxies add a line of their own to the client's
        ["198.51.100.1", "203.0.113.9"],
        ["198.51.100.1", "203.0.113.9, 127.0.0.1"],
    ],
)
async def test_the_address_in_the_log_is_what_the_last_proxy_saw(gateway: Gateway, lines: list[str]):
    headers = [("authorization", f"Bearer {gateway.key}"), *(("x-forwarded-for", line) for line in lines)]
    user = (await gateway.anonymous.post("/v1/admin/users", json={"name": "x"}, headers=headers)).json()
    (event,) = await audit(gateway, target=user["id"])
    assert event["origin"]["address"] == "203.0.113.9"


async def test_the_log_goes_by_time(gateway: Gateway):
    user = (await gateway.client.post("/v1/admin/users", json={"name": "Late"})).json()
    (event,) = await audit(gateway, target=user["id"])
    at = event["effective_at"]
    assert await audit(gateway, target=user["id"], since=str(at), until=str(at + 1)) == [event]
    assert await audit(gateway, target=user["id"], since=str(at + 1)) == []
    assert await audit(gateway, target=user["id"], until=str(at)) == []


async def test_the_log_can_be_neither_changed_nor_deleted(gateway: Gateway):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/v1/admin/audit-log", "/v1/admin/audit-log/audit_1"):
            assert (await gateway.client.request(method, path, json={})).status_code in (404, 405)


async def test_acts_on_models_are_in_the_log(gateway: Gateway):
    # This gateway's models cannot be changed: nothing is written down that did not happen.
    before = await audit(gateway, action="model.added")
    assert (await gateway.client.post("/v1/models", json={"id": "x", "engine": "scripted"})).status_code >= 400
    assert await audit(gateway, action="model.added") == before
