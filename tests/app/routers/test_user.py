from __future__ import annotations

import time
from typing import Any

import pytest

from app.domain.page import PageRequest
from app.services.api_keys import MAX_KEYS
from tests.support.gateway import CHAT, EMBEDDER, Gateway
from tests.support.people import bearer, client_of, key_of, signed_in
from tests.test_error_shape import assert_error

ASK = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
PATHS = ("/v1/user/api-keys", "/api/v1/user/api-keys", "/auth/api-keys")


@pytest.mark.parametrize("path", ["/v1/user/profile", "/api/v1/users/me", "/auth/me"])
async def test_a_profile_says_who_one_is(gateway: Gateway, path: str):
    user, client = await client_of(gateway)
    async with client:
        assert (await client.get(path)).json() == {
            "id": user.id,
            "object": "user",
            "email": None,
            "name": "Somebody",
            "picture": None,
            "role": "user",
            "is_guest": False,
            "created_at": user.created_at_ms // 1000,
        }


async def test_a_name_can_be_changed_and_nothing_else(gateway: Gateway):
    user, client = await client_of(gateway)
    async with client:
        for method in ("POST", "PATCH"):
            changed = await client.request(method, "/v1/user/profile", json={"name": f" {method} "})
            assert changed.json()["name"] == method
        for field, value in (
            ("role", "admin"),
            ("id", "user_admin"),
            ("email", "a@b.c"),
            ("status", "active"),
            ("limits", "none"),
            ("is_guest", False),
            ("identity", {}),
        ):
            refused = await client.patch("/v1/user/profile", json={"name": "x", field: value})
            assert_error(refused, 400, "unsupported_parameter", field)
    stored = await gateway.services.stores.users.get(user.id)
    assert stored is not None
    assert (stored.name, stored.role) == ("PATCH", "user")


async def test_who_deletes_themself_is_told_what_went_with_them(gateway: Gateway):
    user, client = await client_of(gateway)
    key = await key_of(gateway, user)
    async with client:
        refused = await gateway.anonymous.delete("/v1/user/profile", headers=key)
        assert_error(refused, 403)
        gone = await client.delete("/v1/users/me")
        body = gone.json()
        removed = {name: count for name, count in body.pop("removed").items() if count}
        assert body == {"id": user.id, "object": "user.deleted", "deleted": True}
        assert removed == {"api_keys": 1, "sessions": 1}
        assert_error(await client.get("/v1/user/profile"), 401, "session_ended")
    assert_error(await gateway.anonymous.get("/v1/user/profile", headers=key), 401, "invalid_api_key")
    assert await gateway.services.stores.users.get(user.id) is None


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_is_made_shown_once_used_changed_and_revoked(gateway: Gateway, path: str):
    user, client = await client_of(gateway)
    async with client:
        response = await client.post(path, json={"name": "Development Key", "permissions": ["read", "write"]})
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        made = response.json()
        value = made.pop("key")
        assert made == {
            "id": made["id"],
            "object": "api_key",
            "name": "Development Key",
            "redacted_value": f"sk-manta-{made['id'].removeprefix('key_')}_...{value[-4:]}",
            "owner": user.id,
            "project_id": "proj_default",
            "permissions": ["read", "write"],
            "models": None,
            "limits": None,
            "expires_at": None,
            "created_at": made["created_at"],
            "last_used_at": None,
        }
        assert (await client.get(f"{path}/{made['id']}")).json() == made
        assert (await client.get(path)).json()["data"] == [made]
        used = await gateway.anonymous.post("/v1/chat/completions", json=ASK, headers=bearer(value))
        assert used.status_code == 200
        for method in ("POST", "PATCH"):
            changed = await client.request(method, f"{path}/{made['id']}", json={"name": method})
            assert changed.json()["name"] == method
        assert changed.json()["last_used_at"] >= made["created_at"]
        gone = await client.delete(f"{path}/{made['id']}")
        assert gone.json() == {"id": made["id"], "object": "api_key.deleted", "deleted": True}
        used = await gateway.anonymous.post("/v1/chat/completions", json=ASK, headers=bearer(value))
        assert_error(used, 401, "invalid_api_key")
        for again in (await client.get(f"{path}/{made['id']}"), await client.delete(f"{path}/{made['id']}")):
            assert_error(again, 404, "api_key_not_found")
        assert (await client.get(path)).json()["data"] == []


async def test_a_keys_permissions_models_and_expiry_hold_as_soon_as_they_change(gateway: Gateway):
    _, client = await client_of(gateway)
    async with client:
        made = (await client.post("/v1/user/api-keys", json={"name": "k"})).json()
        path, headers = f"/v1/user/api-keys/{made['id']}", bearer(made["key"])

        async def ask(model: str = CHAT) -> int:
            body = {**ASK, "model": model}
            return (await gateway.anonymous.post("/v1/chat/completions", json=body, headers=headers)).status_code

        assert await ask() == 200
        await client.patch(path, json={"models": [EMBEDDER]})
        assert await ask() == 403
        await client.patch(path, json={"models": ["vendor/chat"]})
        assert (await ask(), await ask("chat-alias")) == (200, 200), "an alias is as good as the id"
        await client.patch(path, json={"models": None, "permissions": ["read"]})
        assert await ask() == 403
        await client.patch(path, json={"permissions": ["write"], "expires_at": int(time.time()) + 2})
        assert await ask() == 200
        await client.patch(path, json={"expires_at": None})
        assert await ask() == 200


async def test_a_key_for_other_models_says_which_it_is_for(gateway: Gateway):
    user, _ = await signed_in(gateway)
    headers = await key_of(gateway, user, models=[EMBEDDER])
    for path, body in (("chat/completions", ASK), ("tokenize", {"model": CHAT, "prompt": "x"})):
        refused = await gateway.anonymous.post(f"/v1/{path}", json=body, headers=headers)
        assert_error(refused, 403, "model_not_allowed", "model")
        assert EMBEDDER in refused.json()["error"]["message"]
    embedded = await gateway.anonymous.post("/v1/embeddings", json={"model": EMBEDDER, "input": "x"}, headers=headers)
    assert embedded.status_code == 200


async def test_anothers_key_is_not_there(gateway: Gateway):
    one, _ = await signed_in(gateway)
    other, client = await client_of(gateway)
    await key_of(gateway, one)
    (key,) = (await gateway.services.stores.keys.list(PageRequest(), owner=one.id)).items
    async with client:
        path = f"/v1/user/api-keys/{key.id}"
        assert_error(await client.get(path), 404, "api_key_not_found")
        assert_error(await client.patch(path, json={"name": "mine"}), 404, "api_key_not_found")
        assert_error(await client.delete(path), 404, "api_key_not_found")
        assert_error(await client.get("/v1/user/api-keys", params={"after": key.id}), 400, None, "after")
        assert (await client.get("/v1/user/api-keys", params={"owner": one.id})).json()["data"] == []
    assert await gateway.services.stores.keys.get(key.id, owner=one.id) == key
    assert other.id != one.id


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({}, "name"),
    "an empty name": ({"name": "  "}, "name"),
    "a long name": ({"name": "x" * 101}, "name"),
    "a name that is an operator": ({"name": {"$ne": None}}, "name"),
    "a name with control characters": ({"name": "a\u0000b"}, "name"),
    "a name with a line break": ({"name": "a\nb"}, "name"),
    "a name that turns the writing": ({"name": "a\u202eb"}, "name"),
    "unknown permissions": ({"name": "x", "permissions": ["read", "root"]}, "permissions[1]"),
    "no permissions": ({"name": "x", "permissions": []}, "permissions"),
    "permissions as text": ({"name": "x", "permissions": "read"}, "permissions"),
    "an expiry in the past": ({"name": "x", "expires_at": 1}, "expires_at"),
    "an expiry as text": ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
    "an expiry beyond the calendar": ({"name": "x", "expires_at": 10**18}, "expires_at"),
    "no models": ({"name": "x", "models": []}, "models"),
    "models that are operators": ({"name": "x", "models": [{"$gt": ""}]}, "models[0]"),
    "too many models": ({"name": "x", "models": ["m"] * 101}, "models"),
    "an unknown limit": ({"name": "x", "limits": {"requests_per_second": 1}}, "limits.requests_per_second"),
    "a limit of nothing": ({"name": "x", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
    "limits as text": ({"name": "x", "limits": "all"}, "limits"),
    "an owner": ({"name": "x", "owner": "user_admin"}, "owner"),
    "a role": ({"name": "x", "role": "admin"}, "role"),
    "a digest": ({"name": "x", "digest": "0"}, "digest"),
    "a project": ({"name": "x", "project_id": "proj_other"}, "project_id"),
    "a key": ({"name": "x", "key": "sk-mine"}, "key"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_wrong_key_is_refused_by_its_field_and_nothing_is_stored(gateway: Gateway, name: str):
    body, param = BAD[name]
    user, client = await client_of(gateway)
    async with client:
        assert_error(await client.post("/v1/user/api-keys", json=body), 400, param=param)
    assert await gateway.services.stores.keys.count(user.id) == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"owner": "user_admin"}, "owner"),
        ({"status": "active"}, "status"),
        ({"permissions": ["root"]}, "permissions[0]"),
        ({"expires_at": 5}, "expires_at"),
        ({"name": {"$set": 1}}, "name"),
    ],
)
async def test_a_wrong_change_of_a_key_changes_nothing(gateway: Gateway, body: dict[str, Any], param: str):
    user, client = await client_of(gateway)
    async with client:
        made = (await client.post("/v1/user/api-keys", json={"name": "k"})).json()
        assert_error(await client.patch(f"/v1/user/api-keys/{made['id']}", json=body), 400, param=param)
        made.pop("key")
        assert (await client.get(f"/v1/user/api-keys/{made['id']}")).json() == made
    assert user.id == made["owner"]


async def test_nobody_gives_away_what_they_do_not_have(gateway: Gateway):
    user, client = await client_of(gateway)
    path = "/v1/user/api-keys"
    async with client:
        for body in ({"permissions": ["read", "admin"]}, {"limits": "none"}):
            assert_error(await client.post(path, json={"name": "x", **body}), 403)
        write_only = await key_of(gateway, user, "write")
        refused = await gateway.anonymous.post(path, json={"name": "x"}, headers=write_only)
        assert_error(refused, 403)
        made = (await client.post(path, json={"name": "k", "expires_at": int(time.time()) + 100})).json()
        for body in ({"expires_at": None}, {"permissions": ["read"]}):
            refused = await gateway.anonymous.patch(f"{path}/{made['id']}", json=body, headers=write_only)
            assert_error(refused, 403)
        renamed = await gateway.anonymous.patch(f"{path}/{made['id']}", json={"name": "y"}, headers=write_only)
        assert renamed.status_code == 200
        allowed = await gateway.anonymous.post(path, json={"name": "x", "permissions": ["write"]}, headers=write_only)
        assert allowed.status_code == 200


@pytest.mark.parametrize(
    "restriction", [{"models": [CHAT]}, {"expires_at_ms": 10**13}, {"limits": {"requests_per_minute": 1}}]
)
async def test_a_restricted_key_handles_no_other_keys_but_may_end_itself(gateway: Gateway, restriction: dict[str, Any]):
    user, client = await client_of(gateway)
    await client.aclose()
    headers = await key_of(gateway, user, **restriction)
    await key_of(gateway, user)
    other, own = (await gateway.services.stores.keys.list(PageRequest(), owner=user.id)).items
    if own.expires_at_ms is None and own.models is None and own.limits is None:
        other, own = own, other
    path = "/v1/user/api-keys"
    send = gateway.anonymous.request
    assert_error(await send("POST", path, json={"name": "x"}, headers=headers), 403, "key_restricted")
    assert_error(await send("PATCH", f"{path}/{own.id}", json={"name": "x"}, headers=headers), 403, "key_restricted")
    assert_error(await send("DELETE", f"{path}/{other.id}", headers=headers), 403, "key_restricted")
    assert (await send("DELETE", f"{path}/{own.id}", headers=headers)).status_code == 200
    assert_error(await send("GET", path, headers=headers), 401, "invalid_api_key")


async def test_nobody_has_more_keys_than_one_may_have(gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.services.api_keys.MAX_KEYS", 2)
    assert MAX_KEYS == 100
    _, client = await client_of(gateway)
    async with client:
        statuses = [(await client.post("/v1/user/api-keys", json={"name": "k"})).status_code for _ in range(3)]
        assert statuses == [200, 200, 409]
