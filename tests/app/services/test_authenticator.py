from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.domain.api_key import ApiKey
from app.domain.key_record import KeyRecord
from app.domain.principal import Principal
from app.domain.user import User
from app.errors import AuthenticationFailed, DatabaseUnavailable
from app.services import authenticator as module
from app.services.access_tokens import AccessTokens
from app.services.authenticator import Authenticator
from app.storage.api_keys import OwnedKey
from app.storage.database import Database
from app.storage.sessions import Session
from app.storage.stores import Stores
from app.storage.users import now_ms
from tests.support.clock import Clock

SECRET = b"secret"
OWNER = User("user_1", "user", "Somebody", 0)
KEY = KeyRecord("key_1", OWNER.id, "k", "sk-...", ("read", "write"), 0, last_used_at_ms=10**15)
CALLER = KEY.principal(OWNER)
TOKENS = AccessTokens(["k" * 32], algorithm="HS256", issuer="manta", ttl_s=900)


@dataclass
class FakeKeys:
    """A key store whose calls are counted, and which can be held up and taken down."""

    keys: dict[str, OwnedKey] = field(default_factory=dict[str, OwnedKey])
    calls: int = 0
    touched: list[str] = field(default_factory=list[str])
    down: bool = False
    open_: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, digest: str) -> OwnedKey | None:
        self.calls += 1
        found = self.keys.get(digest)
        await self.open_.wait()
        if self.down:
            raise DatabaseUnavailable("The database did not answer in time.")
        return found

    async def touch(self, key_id: str) -> None:
        self.touched.append(key_id)

    def add(self, key: ApiKey, *, owner: User = OWNER, **changes: Any) -> None:
        self.keys[key.digest(SECRET)] = OwnedKey(replace(KEY, **changes), owner)


@pytest.fixture
def store() -> FakeKeys:
    store = FakeKeys()
    store.open_.set()
    return store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key(store: FakeKeys) -> ApiKey:
    key = ApiKey.mint(SECRET)
    store.add(key)
    return key


def make(
    store: FakeKeys, clock: Clock, *, cache_s: float = 10, grace_s: float = 0, anonymous: bool = False
) -> Authenticator:
    stores = cast(Stores, SimpleNamespace(keys=store, users=None, sessions=None))
    return Authenticator(
        stores, TOKENS, secret=SECRET, cache_s=cache_s, grace_s=grace_s, anonymous_inference=anonymous, clock=clock
    )


@pytest.fixture
def auth(store: FakeKeys, clock: Clock) -> Authenticator:
    return make(store, clock)


async def test_a_stored_key_says_who_is_calling(auth: Authenticator, key: ApiKey):
    assert await auth.principal(key.value) == CALLER


async def test_an_unknown_key_is_refused(auth: Authenticator):
    with pytest.raises(AuthenticationFailed) as refusal:
        await auth.principal(ApiKey.mint(SECRET).value)
    assert refusal.value.code == "invalid_api_key"


@pytest.mark.parametrize("credential", ["", "test", "sk-123", "x" * 100_000, "\x00", "é"])
async def test_what_is_no_key_is_refused_without_a_look_up(auth: Authenticator, store: FakeKeys, credential: str):
    with pytest.raises(AuthenticationFailed):
        await auth.principal(credential)
    assert store.calls == 0


async def test_a_revoked_key_is_refused(auth: Authenticator, store: FakeKeys):
    key = ApiKey.mint(SECRET)
    store.add(key, active=False)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)


async def test_a_key_works_until_it_expires(auth: Authenticator, store: FakeKeys, monkeypatch: pytest.MonkeyPatch):
    key = ApiKey.mint(SECRET)
    store.add(key, expires_at_ms=5_000_000)
    monkeypatch.setattr("time.time", lambda: 4_999.999)
    assert (await auth.principal(key.value)).subject == OWNER.id
    monkeypatch.setattr("time.time", lambda: 5_000.0)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)
    assert store.calls == 1, "expiry needs no look-up"


async def test_without_credentials_one_is_anonymous_where_that_is_allowed(store: FakeKeys, clock: Clock):
    assert make(store, clock, anonymous=True).anonymous("10.0.0.1") == Principal.anonymous("10.0.0.1")
    assert store.calls == 0


async def test_without_credentials_one_is_refused_elsewhere(auth: Authenticator):
    with pytest.raises(AuthenticationFailed) as refusal:
        auth.anonymous("10.0.0.1")
    assert refusal.value.code == "missing_credentials"


async def test_a_wrong_key_is_not_anonymous(store: FakeKeys, clock: Clock):
    with pytest.raises(AuthenticationFailed):
        await make(store, clock, anonymous=True).principal("sk-wrong")


async def test_a_warm_key_needs_no_look_up(auth: Authenticator, store: FakeKeys, clock: Clock, key: ApiKey):
    for _ in range(5):
        await auth.principal(key.value)
        clock.now += 1.9
    assert store.calls == 1


async def test_a_revocation_is_seen_when_the_trust_ends(
    auth: Authenticator, store: FakeKeys, clock: Clock, key: ApiKey
):
    await auth.principal(key.value)
    store.add(key, active=False)
    clock.now += 9.99
    await auth.principal(key.value)
    clock.now += 0.01
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)


async def test_trust_runs_from_before_the_look_up(auth: Authenticator, store: FakeKeys, clock: Clock, key: ApiKey):
    store.open_.clear()
    slow = asyncio.create_task(auth.principal(key.value))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.calls == 1
    clock.now += 8  # the database takes its time, and the key is revoked meanwhile
    store.open_.set()
    await slow
    store.add(key, active=False)
    clock.now += 2
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)


async def test_without_a_cache_every_call_looks_up(store: FakeKeys, clock: Clock, key: ApiKey):
    auth = make(store, clock, cache_s=0)
    for _ in range(3):
        await auth.principal(key.value)
    assert store.calls == 3


async def test_callers_that_miss_at_once_share_one_look_up(auth: Authenticator, store: FakeKeys, key: ApiKey):
    store.open_.clear()
    callers = [asyncio.create_task(auth.principal(key.value)) for _ in range(50)]
    await asyncio.sleep(0.01)
    store.open_.set()
    assert await asyncio.gather(*callers) == [CALLER] * 50
    assert store.calls == 1


async def test_a_caller_that_leaves_does_not_take_the_others_look_up_along(
    auth: Authenticator, store: FakeKeys, key: ApiKey
):
    store.open_.clear()
    first, second = (asyncio.create_task(auth.principal(key.value)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    store.open_.set()
    assert await second == CALLER
    assert store.calls == 1
    assert first.cancelled()


async def test_a_flood_of_keys_that_somebody_made_up_costs_no_look_up(auth: Authenticator, store: FakeKeys):
    for _ in range(100):
        with pytest.raises(AuthenticationFailed) as refusal:
            await auth.principal(ApiKey.mint(b"a guess at the secret").value)
        assert refusal.value.code == "invalid_api_key"
    assert store.calls == 0


@pytest.mark.parametrize(("last_used_ago_s", "noted"), [(None, True), (61, True), (59, False)])
async def test_that_a_key_is_used_is_noted_once_a_minute(
    auth: Authenticator, store: FakeKeys, last_used_ago_s: float | None, noted: bool
):
    key = ApiKey.mint(SECRET)
    store.add(key, last_used_at_ms=None if last_used_ago_s is None else int((time.time() - last_used_ago_s) * 1000))
    await auth.principal(key.value)
    await auth.principal(key.value)
    await auth.close()
    assert store.touched == (["key_1"] if noted else [])


async def test_one_users_credentials_can_be_forgotten_alone(auth: Authenticator, store: FakeKeys, key: ApiKey):
    other = ApiKey.mint(SECRET)
    store.keys[other.digest(SECRET)] = OwnedKey(replace(KEY, owner="user_2"), replace(OWNER, id="user_2"))
    for value in (key.value, other.value):
        await auth.principal(value)
    auth.forget("user_1")
    for value in (key.value, other.value):
        await auth.principal(value)
    assert store.calls == 3


async def test_a_key_that_does_not_exist_is_looked_up_once(auth: Authenticator, store: FakeKeys, clock: Clock):
    value = ApiKey.mint(SECRET).value
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            await auth.principal(value)
    assert store.calls == 1
    clock.now += 10
    with pytest.raises(AuthenticationFailed):
        await auth.principal(value)
    assert store.calls == 2


async def test_a_key_that_comes_to_be_works_as_soon_as_the_cache_is_told(auth: Authenticator, store: FakeKeys):
    key = ApiKey.mint(SECRET)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)
    store.add(key)
    auth.forget_refused()
    assert await auth.principal(key.value) == CALLER


async def test_who_is_known_stays_known_when_the_refused_are_forgotten(
    auth: Authenticator, store: FakeKeys, key: ApiKey
):
    await auth.principal(key.value)
    auth.forget_refused()
    await auth.principal(key.value)
    assert store.calls == 1


async def test_what_is_read_while_the_cache_is_told_to_forget_is_not_kept(auth: Authenticator, store: FakeKeys):
    key = ApiKey.mint(SECRET)
    store.open_.clear()
    early = asyncio.create_task(auth.principal(key.value))
    await asyncio.sleep(0.01)
    store.add(key)
    auth.forget()
    store.open_.set()
    with pytest.raises(AuthenticationFailed):
        await early
    assert await auth.principal(key.value) == CALLER


async def test_a_look_up_that_has_not_begun_when_the_cache_forgets_goes_on(auth: Authenticator, key: ApiKey):
    early = asyncio.create_task(auth.principal(key.value))
    # It runs before the look-up that it made: a forgetting in between met a dict that the look-up was not in.
    asyncio.get_running_loop().call_soon(auth.forget)
    late = asyncio.create_task(auth.principal(key.value))
    assert await asyncio.gather(early, late) == [CALLER, CALLER]
    assert not auth._lookups  # pyright: ignore[reportPrivateUsage]


async def test_a_fresh_look_trusts_nobody_who_was_let_in_before(auth: Authenticator, store: FakeKeys, key: ApiKey):
    await auth.principal(key.value)
    assert await auth.principal(key.value, fresh=True) == CALLER
    assert store.calls == 2
    store.add(key, active=False)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, fresh=True)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)
    assert store.calls == 3, "what a fresh look found is kept"


async def test_a_fresh_look_joins_no_look_up_under_way(auth: Authenticator, store: FakeKeys, key: ApiKey):
    store.open_.clear()
    early = asyncio.create_task(auth.principal(key.value))
    await asyncio.sleep(0.01)
    store.add(key, active=False)
    late = asyncio.create_task(auth.principal(key.value, fresh=True))
    await asyncio.sleep(0.01)
    store.open_.set()
    assert await early == CALLER
    with pytest.raises(AuthenticationFailed):
        await late


async def test_a_flood_of_a_revoked_key_costs_one_look_up_where_looks_are_fresh_too(
    auth: Authenticator, store: FakeKeys, key: ApiKey
):
    store.add(key, active=False)
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            await auth.principal(key.value, fresh=True)
    assert store.calls == 1


async def test_the_cache_is_bounded_and_keeps_what_is_used(
    auth: Authenticator, store: FakeKeys, key: ApiKey, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "CACHE_ENTRIES", 10)
    for _ in range(30):
        await auth.principal(key.value)
        with pytest.raises(AuthenticationFailed):
            await auth.principal(ApiKey.mint(SECRET).value)
    assert store.calls == 1 + 30
    assert len(auth._snapshots) == 10  # pyright: ignore[reportPrivateUsage]
    assert not auth._lookups  # pyright: ignore[reportPrivateUsage]


async def test_a_warm_key_works_while_the_database_is_down(auth: Authenticator, store: FakeKeys, key: ApiKey):
    await auth.principal(key.value)
    store.down = True
    assert await auth.principal(key.value) == CALLER


async def test_who_was_let_in_before_goes_on_for_a_grace_while_the_database_is_down(
    store: FakeKeys, clock: Clock, key: ApiKey
):
    auth = make(store, clock, grace_s=60)
    await auth.principal(key.value)
    store.down = True
    for _ in range(13):
        clock.now += 5.1
        assert await auth.principal(key.value) == CALLER
    assert store.calls <= 13, "it is not asked for every request"
    with pytest.raises(DatabaseUnavailable):
        await auth.principal(key.value, fresh=True)
    clock.now += 5
    with pytest.raises(DatabaseUnavailable):
        await auth.principal(key.value)
    store.down = False
    store.add(key, active=False)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)


async def test_a_grace_is_for_nobody_who_was_refused_or_forgotten(store: FakeKeys, clock: Clock, key: ApiKey):
    auth = make(store, clock, grace_s=60)
    await auth.principal(key.value)
    auth.forget(CALLER.subject)
    store.down = True
    with pytest.raises(DatabaseUnavailable):
        await auth.principal(key.value)
    store.down = False
    store.add(key, active=False)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)
    store.down = True
    clock.now += 11
    with pytest.raises(DatabaseUnavailable):
        await auth.principal(key.value)


async def test_a_cold_key_is_not_called_wrong_while_the_database_is_down(
    auth: Authenticator, store: FakeKeys, key: ApiKey
):
    store.down = True
    callers = [auth.principal(key.value) for _ in range(3)]
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 3
    store.down = False
    assert await auth.principal(key.value) == CALLER, "a failed look-up is not remembered"


async def test_a_key_in_the_real_database(database: Database, stores: Stores):
    auth = Authenticator(stores, TOKENS, secret=SECRET, cache_s=0, anonymous_inference=False)
    key = ApiKey.mint(SECRET)
    await stores.users.insert(OWNER)
    record = KeyRecord(f"key_{key.id}", OWNER.id, "k", key.redacted, ("read",), now_ms())
    await stores.keys.insert(record, key.digest(SECRET))
    expected = Principal("api_key", "user_1", "user", frozenset(("read",)), record.id, project_id="proj_default")
    assert await auth.principal(key.value) == expected
    await auth.close()
    used = await stores.keys.get(record.id)
    assert used is not None
    assert used.last_used_at_ms is not None

    for collection, revoked, active in (
        ("api_keys", {"status": "revoked"}, {"status": "active"}),
        ("users", {"status": "disabled"}, {"status": "active"}),
        ("api_keys", {"expires_at_ms": 1}, {"expires_at_ms": None}),
    ):
        await database.collection(collection).update_many({}, {"$set": revoked})
        with pytest.raises(AuthenticationFailed):
            await auth.principal(key.value)
        await database.collection(collection).update_many({}, {"$set": active})
        assert await auth.principal(key.value) == expected

    await database.collection("users").delete_many({})
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value)


async def test_an_access_token_says_who_is_calling_while_its_session_lasts(database: Database, stores: Stores):
    auth = Authenticator(stores, TOKENS, secret=SECRET, cache_s=0, anonymous_inference=False)
    await stores.users.insert(OWNER)
    later = now_ms() + 60_000
    await stores.sessions.insert(Session("sess_1", OWNER.id, "digest", later, later, now_ms()))
    token = TOKENS.issue(OWNER.id, "sess_1")
    expected = Principal("user", "user_1", "user", frozenset(("read", "write")), session_id="sess_1")
    assert await auth.principal(token) == expected

    for collection, ended, going in (
        ("sessions", {"active": False}, {"active": True}),
        ("sessions", {"owner": "user_2"}, {"owner": "user_1"}),
        ("sessions", {"expires_at_ms": 1}, {"expires_at_ms": later}),
        ("sessions", {"ends_at_ms": 1}, {"ends_at_ms": later}),
        ("users", {"status": "disabled"}, {"status": "active"}),
    ):
        await database.collection(collection).update_many({}, {"$set": ended})
        with pytest.raises(AuthenticationFailed) as refusal:
            await auth.principal(token)
        assert refusal.value.code == "session_ended"
        await database.collection(collection).update_many({}, {"$set": going})
        assert await auth.principal(token) == expected

    await database.collection("users").update_many({}, {"$set": {"role": "admin"}})
    assert (await auth.principal(token)).is_admin
    await database.collection("users").update_many({}, {"$set": {"role": "guest"}})
    assert (await auth.principal(token)).kind == "guest"


async def test_a_token_that_is_no_token_of_ours_is_refused_without_a_look_up(auth: Authenticator, store: FakeKeys):
    theirs = AccessTokens(["x" * 32], algorithm="HS256", issuer="manta", ttl_s=900).issue("user_1", "sess_1")
    for token in (theirs, "a.b.c", "..", "é.é.é"):
        with pytest.raises(AuthenticationFailed) as refusal:
            await auth.principal(token)
        assert refusal.value.code == "invalid_token"
