from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.login import LoginRefused
from app.domain.origin import Origin
from app.domain.page import PageRequest
from app.domain.profile import Profile
from app.domain.user import Identity, User
from app.services.access_tokens import AccessTokens
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.identities import Identities
from app.services.liveness import Liveness
from app.services.merging import Merging
from app.storage.database import Database
from app.storage.sessions import Session
from app.storage.stores import Stores
from app.storage.users import Users, now_ms

ADA = Profile(Identity("https://accounts.example.com", "1100"), "Ada", "ada@example.com")
BROWSER = Origin("10.0.0.1", "browser", "req_1")


def identities(stores: Stores) -> Identities:
    tokens = AccessTokens(["k" * 32], algorithm="HS256", issuer="manta", ttl_s=900)
    authenticator = Authenticator(stores, tokens, secret=b"s", cache_s=0, anonymous_inference=False)
    audit = Audit(stores.audit_log)
    return Identities(stores, audit, authenticator, Merging(stores, audit, authenticator, Liveness(stores.processes)))


async def guest_in(stores: Stores, **fields: Any) -> tuple[User, str]:
    guest = User("user_guest", "guest", "Guest", now_ms(), **fields)
    await stores.users.insert(guest)
    later = now_ms() + 60_000
    session = Session("sess_1", guest.id, "digest", expires_at_ms=later, ends_at_ms=later, created_at_ms=now_ms())
    await stores.sessions.insert(session)
    return guest, session.id


class SlowToSee(Users):
    """Sees nobody at the first look, as one who looks while another gateway is about to write."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looked = 0

    async def by_identity(self, identity: Identity) -> User | None:
        self.looked += 1
        return None if self.looked == 1 else await super().by_identity(identity)


def slow(stores: Stores, database: Database) -> Stores:
    return replace(stores, users=SlowToSee(database))


async def test_who_was_never_here_is_a_new_user(stores: Stores):
    user = await identities(stores).user_of(ADA, None, BROWSER)
    assert (user.role, user.name, user.email, user.identity) == ("user", "Ada", "ada@example.com", ADA.identity)
    assert await stores.users.get(user.id) == user


async def test_who_has_no_name_is_called_by_their_address_or_somebody(stores: Stores):
    service = identities(stores)
    named = await service.user_of(Profile(Identity("i", "1"), email="a@example.com"), None, BROWSER)
    nameless = await service.user_of(Profile(Identity("i", "2")), None, BROWSER)
    assert (named.name, nameless.name) == ("a@example.com", "Somebody")


async def test_a_name_follows_what_the_issuer_says_until_somebody_chooses_one(stores: Stores):
    service = identities(stores)
    user = await service.user_of(ADA, None, BROWSER)
    renamed = await service.user_of(replace(ADA, name="Ada L."), None, BROWSER)
    assert (renamed.id, renamed.name) == (user.id, "Ada L.")
    await stores.users.change(user.id, name="Countess", name_from="own")
    again = await service.user_of(replace(ADA, email="countess@example.com"), None, BROWSER)
    assert (again.name, again.email) == ("Countess", "countess@example.com")


async def test_a_guest_keeps_the_name_that_they_chose(stores: Stores):
    guest, session_id = await guest_in(stores, name_from="own")
    user = await identities(stores).user_of(ADA, session_id, BROWSER)
    assert (user.id, user.name, user.email) == (guest.id, "Guest", "ada@example.com")


async def test_who_is_stored_by_another_gateway_just_then_is_that_user(stores: Stores, database: Database):
    stored = await identities(stores).user_of(ADA, None, BROWSER)
    assert await identities(slow(stores, database)).user_of(ADA, None, BROWSER) == stored


async def test_a_guest_whose_identity_is_taken_just_then_goes_over(stores: Stores, database: Database):
    stored = await identities(stores).user_of(ADA, None, BROWSER)
    guest, session = await guest_in(stores)
    assert (await identities(slow(stores, database)).user_of(ADA, session, BROWSER)).id == stored.id
    assert await stores.users.get(guest.id) is None


async def test_a_guest_who_was_disabled_takes_nothing_along(stores: Stores):
    guest, session = await guest_in(stores, status="disabled")
    user = await identities(stores).user_of(ADA, session, BROWSER)
    assert user.id != guest.id
    assert await stores.users.get(guest.id) == guest


async def test_one_who_is_a_user_by_now_is_nobodys_guest(stores: Stores):
    """The session in which somebody began is another user's when they come back: that user loses nothing."""
    guest, session = await guest_in(stores)
    eve = Profile(Identity("https://accounts.example.com", "eve"), "Eve")
    await stores.users.adopt(guest.id, eve.identity)
    user = await identities(stores).user_of(ADA, session, BROWSER)
    assert user.id != guest.id
    left = await stores.users.get(guest.id)
    assert left is not None
    assert (left.identity, left.status) == (eve.identity, "active")


async def test_a_user_who_is_disabled_is_refused_and_their_guest_left_alone(stores: Stores):
    user = await identities(stores).user_of(ADA, None, BROWSER)
    await stores.users.change(user.id, status="disabled")
    guest, session = await guest_in(stores)
    with pytest.raises(LoginRefused) as refusal:
        await identities(stores).user_of(ADA, session, BROWSER)
    assert (refusal.value.reason, refusal.value.target) == ("the user is disabled", user.id)
    assert await stores.users.get(guest.id) == guest


async def test_what_became_of_a_guest_is_written_down(stores: Stores):
    guest, session = await guest_in(stores)
    await identities(stores).user_of(ADA, session, BROWSER)
    (event,) = (await stores.audit_log.list(PageRequest())).items
    assert (event.action, event.actor, event.target) == ("guest.upgraded", guest.id, guest.id)
