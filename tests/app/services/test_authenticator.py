from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from app.domain.api_key import ApiKey
from app.domain.principal import Principal
from app.errors import AuthenticationFailed, DatabaseUnavailable
from app.services import authenticator as module
from app.services.authenticator import Authenticator
from app.storage.credentials import Credentials, StoredKey
from app.storage.database import Database

SECRET = b"secret"
CALLER = Principal("api_key", "user_1", "user", frozenset(("read", "write")), "key_1")
ADDRESS = "10.0.0.1"


@dataclass
class FakeCredentials:
    """A key store whose calls are counted, and which can be held up and taken down."""

    keys: dict[str, StoredKey] = field(default_factory=dict[str, StoredKey])
    calls: int = 0
    down: bool = False
    open_: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, digest: str) -> StoredKey | None:
        self.calls += 1
        found = self.keys.get(digest)
        await self.open_.wait()
        if self.down:
            raise DatabaseUnavailable("The database did not answer in time.")
        return found

    def add(self, key: ApiKey, *, active: bool = True, expires_at_ms: int | None = None) -> None:
        self.keys[key.digest(SECRET)] = StoredKey(CALLER, active, expires_at_ms)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> FakeCredentials:
    store = FakeCredentials()
    store.open_.set()
    return store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key(store: FakeCredentials) -> ApiKey:
    key = ApiKey.mint()
    store.add(key)
    return key


def make(store: FakeCredentials, clock: Clock, *, cache_s: float = 10, anonymous: bool = False) -> Authenticator:
    return Authenticator(
        cast(Credentials, store), secret=SECRET, cache_s=cache_s, anonymous_inference=anonymous, clock=clock
    )


@pytest.fixture
def auth(store: FakeCredentials, clock: Clock) -> Authenticator:
    return make(store, clock)


async def test_a_stored_key_says_who_is_calling(auth: Authenticator, key: ApiKey):
    assert await auth.principal(key.value, ADDRESS) == CALLER


async def test_an_unknown_key_is_refused(auth: Authenticator):
    with pytest.raises(AuthenticationFailed) as refusal:
        await auth.principal(ApiKey.mint().value, ADDRESS)
    assert refusal.value.code == "invalid_api_key"


@pytest.mark.parametrize("credential", ["", "test", "sk-123", "x" * 100_000, "\x00", "é"])
async def test_what_is_no_key_is_refused_without_a_look_up(
    auth: Authenticator, store: FakeCredentials, credential: str
):
    with pytest.raises(AuthenticationFailed):
        await auth.principal(credential, ADDRESS)
    assert store.calls == 0


async def test_a_revoked_key_is_refused(auth: Authenticator, store: FakeCredentials):
    key = ApiKey.mint()
    store.add(key, active=False)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, ADDRESS)


async def test_a_key_works_until_it_expires(
    auth: Authenticator, store: FakeCredentials, monkeypatch: pytest.MonkeyPatch
):
    key = ApiKey.mint()
    store.add(key, expires_at_ms=5_000_000)
    monkeypatch.setattr("time.time", lambda: 4_999.999)
    assert await auth.principal(key.value, ADDRESS) == CALLER
    monkeypatch.setattr("time.time", lambda: 5_000.0)
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, ADDRESS)
    assert store.calls == 1, "expiry needs no look-up"


async def test_without_credentials_one_is_anonymous_where_that_is_allowed(store: FakeCredentials, clock: Clock):
    caller = await make(store, clock, anonymous=True).principal(None, ADDRESS)
    assert caller == Principal.anonymous(ADDRESS)
    assert store.calls == 0


async def test_without_credentials_one_is_refused_elsewhere(auth: Authenticator):
    with pytest.raises(AuthenticationFailed) as refusal:
        await auth.principal(None, ADDRESS)
    assert refusal.value.code == "missing_credentials"


async def test_a_wrong_key_is_not_anonymous(store: FakeCredentials, clock: Clock):
    with pytest.raises(AuthenticationFailed):
        await make(store, clock, anonymous=True).principal("sk-wrong", ADDRESS)


async def test_a_warm_key_needs_no_look_up(auth: Authenticator, store: FakeCredentials, clock: Clock, key: ApiKey):
    for _ in range(5):
        await auth.principal(key.value, ADDRESS)
        clock.now += 1.9
    assert store.calls == 1


async def test_a_revocation_is_seen_when_the_trust_ends(
    auth: Authenticator, store: FakeCredentials, clock: Clock, key: ApiKey
):
    await auth.principal(key.value, ADDRESS)
    store.add(key, active=False)
    clock.now += 9.99
    await auth.principal(key.value, ADDRESS)
    clock.now += 0.01
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, ADDRESS)


async def test_trust_runs_from_before_the_look_up(
    auth: Authenticator, store: FakeCredentials, clock: Clock, key: ApiKey
):
    store.open_.clear()
    slow = asyncio.create_task(auth.principal(key.value, ADDRESS))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.calls == 1
    clock.now += 8  # the database takes its time, and the key is revoked meanwhile
    store.open_.set()
    await slow
    store.add(key, active=False)
    clock.now += 2
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, ADDRESS)


async def test_without_a_cache_every_call_looks_up(store: FakeCredentials, clock: Clock, key: ApiKey):
    auth = make(store, clock, cache_s=0)
    for _ in range(3):
        await auth.principal(key.value, ADDRESS)
    assert store.calls == 3


async def test_callers_that_miss_at_once_share_one_look_up(auth: Authenticator, store: FakeCredentials, key: ApiKey):
    store.open_.clear()
    callers = [asyncio.create_task(auth.principal(key.value, ADDRESS)) for _ in range(50)]
    await asyncio.sleep(0.01)
    store.open_.set()
    assert await asyncio.gather(*callers) == [CALLER] * 50
    assert store.calls == 1


async def test_a_caller_that_leaves_does_not_take_the_others_look_up_along(
    auth: Authenticator, store: FakeCredentials, key: ApiKey
):
    store.open_.clear()
    first, second = (asyncio.create_task(auth.principal(key.value, ADDRESS)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    store.open_.set()
    assert await second == CALLER
    assert store.calls == 1
    assert first.cancelled()


async def test_a_key_that_does_not_exist_is_looked_up_once(auth: Authenticator, store: FakeCredentials, clock: Clock):
    value = ApiKey.mint().value
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            await auth.principal(value, ADDRESS)
    assert store.calls == 1
    clock.now += 10
    with pytest.raises(AuthenticationFailed):
        await auth.principal(value, ADDRESS)
    assert store.calls == 2


async def test_a_key_that_comes_to_be_works_as_soon_as_the_cache_is_told(auth: Authenticator, store: FakeCredentials):
    key = ApiKey.mint()
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, ADDRESS)
    store.add(key)
    auth.forget()
    assert await auth.principal(key.value, ADDRESS) == CALLER


async def test_what_is_read_while_the_cache_is_told_to_forget_is_not_kept(auth: Authenticator, store: FakeCredentials):
    key = ApiKey.mint()
    store.open_.clear()
    early = asyncio.create_task(auth.principal(key.value, ADDRESS))
    await asyncio.sleep(0.01)
    store.add(key)
    auth.forget()
    store.open_.set()
    with pytest.raises(AuthenticationFailed):
        await early
    assert await auth.principal(key.value, ADDRESS) == CALLER


async def test_the_cache_is_bounded_and_keeps_what_is_used(
    auth: Authenticator, store: FakeCredentials, key: ApiKey, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "CACHE_ENTRIES", 10)
    for _ in range(30):
        await auth.principal(key.value, ADDRESS)
        with pytest.raises(AuthenticationFailed):
            await auth.principal(ApiKey.mint().value, ADDRESS)
    assert store.calls == 1 + 30
    assert len(auth._snapshots) == 10  # pyright: ignore[reportPrivateUsage]
    assert not auth._lookups  # pyright: ignore[reportPrivateUsage]


async def test_a_warm_key_works_while_the_database_is_down(auth: Authenticator, store: FakeCredentials, key: ApiKey):
    await auth.principal(key.value, ADDRESS)
    store.down = True
    assert await auth.principal(key.value, ADDRESS) == CALLER


async def test_a_cold_key_is_not_called_wrong_while_the_database_is_down(
    auth: Authenticator, store: FakeCredentials, key: ApiKey
):
    store.down = True
    callers = [auth.principal(key.value, ADDRESS) for _ in range(3)]
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 3
    store.down = False
    assert await auth.principal(key.value, ADDRESS) == CALLER, "a failed look-up is not remembered"


async def test_a_key_in_the_real_database(database: Database, credentials: Credentials):
    auth = Authenticator(credentials, secret=SECRET, cache_s=0, anonymous_inference=False)
    key = ApiKey.mint()
    await credentials.ensure_user("user_1", name="Somebody", role="user")
    await credentials.ensure_key(key, key.digest(SECRET), owner="user_1", name="k", scopes=["read"])
    expected = Principal("api_key", "user_1", "user", frozenset(("read",)), f"key_{key.id}")
    assert await auth.principal(key.value, ADDRESS) == expected

    for collection, revoked, active in (
        ("api_keys", {"status": "revoked"}, {"status": "active"}),
        ("users", {"status": "suspended"}, {"status": "active"}),
        ("api_keys", {"expires_at_ms": 1}, {"expires_at_ms": None}),
    ):
        await database.collection(collection).update_many({}, {"$set": revoked})
        with pytest.raises(AuthenticationFailed):
            await auth.principal(key.value, ADDRESS)
        await database.collection(collection).update_many({}, {"$set": active})
        assert await auth.principal(key.value, ADDRESS) == expected

    await database.collection("users").delete_many({})
    with pytest.raises(AuthenticationFailed):
        await auth.principal(key.value, ADDRESS)
