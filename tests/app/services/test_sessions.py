from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.domain.audit_event import Actor
from app.domain.origin import Origin
from app.domain.page import PageRequest
from app.domain.refresh_token import RefreshToken
from app.domain.user import User
from app.errors import AuthenticationFailed, PermissionDenied
from app.services.access_tokens import AccessTokens
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.sessions import GRACE_S, SessionService
from app.storage.stores import Stores
from tests.support.clock import Clock

KEY = b"key"
DAY_S = 86_400
ADA = User("user_ada", "user", "Ada", 0)
BROWSER = Origin("10.0.0.1", "browser", "req_1")
OTHER_BROWSER = Origin("10.0.0.1", "another browser", "req_2")


@pytest.fixture
def clock() -> Clock:
    return Clock(1_900_000_000.0)


@pytest.fixture
def audit(stores: Stores) -> Audit:
    return Audit(stores.audit_log)


@pytest.fixture
async def service(stores: Stores, audit: Audit, clock: Clock) -> SessionService:
    tokens = AccessTokens(["k" * 32], algorithm="HS256", issuer="manta", ttl_s=900)
    authenticator = Authenticator(stores, tokens, secret=b"s", cache_s=0, anonymous_inference=False)
    await stores.users.insert(ADA)
    return SessionService(
        stores,
        tokens,
        audit,
        authenticator,
        refresh_ttl_s=7 * DAY_S,
        session_ttl_s=30 * DAY_S,
        key=KEY,
        clock=clock,
    )


async def refused(service: SessionService, token: str, origin: Origin = BROWSER) -> str | None:
    with pytest.raises(AuthenticationFailed) as refusal:
        await service.refresh(token, origin)
    return refusal.value.code


async def actions(stores: Stores, audit: Audit) -> Sequence[str]:
    await audit.close()
    return [event.action for event in (await stores.audit_log.list(PageRequest(order="asc"))).items]


async def test_signing_in_gives_a_pair_and_going_on_gives_another(service: SessionService):
    first = await service.start(ADA)
    assert first.to_dict() == {
        "object": "access.token",
        "access_token": first.access_token,
        "refresh_token": first.refresh_token,
        "token_type": "Bearer",
        "expires_in": 900,
    }
    second = await service.refresh(first.refresh_token, BROWSER)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    third = await service.refresh(second.refresh_token, BROWSER)
    assert third.user == ADA


async def test_no_token_is_stored(service: SessionService, stores: Stores):
    pair = await service.start(ADA)
    following = await service.refresh(pair.refresh_token, BROWSER)
    session = await stores.sessions.get(service._parse(pair.refresh_token).session_id)  # pyright: ignore
    for token in (pair, following):
        assert token.refresh_token not in str(session)
        assert token.refresh_token.split("_")[1][:20] not in str(session)


async def test_an_answer_that_got_lost_is_given_again(service: SessionService, clock: Clock):
    first = await service.start(ADA)
    second = await service.refresh(first.refresh_token, BROWSER)
    clock.now += GRACE_S - 1
    again = await service.refresh(first.refresh_token, BROWSER)
    assert again.refresh_token == second.refresh_token
    assert (await service.refresh(second.refresh_token, BROWSER)).refresh_token


async def test_tabs_that_refresh_at_once_get_the_same_token(service: SessionService):
    first = await service.start(ADA)
    pairs = await asyncio.gather(*(service.refresh(first.refresh_token, BROWSER) for _ in range(8)))
    assert len({pair.refresh_token for pair in pairs}) == 1
    assert await service.refresh(pairs[0].refresh_token, BROWSER)


async def test_a_used_token_shown_again_ends_the_session_for_everybody(
    service: SessionService, stores: Stores, audit: Audit, clock: Clock
):
    first = await service.start(ADA)
    second = await service.refresh(first.refresh_token, BROWSER)
    clock.now += GRACE_S + 1
    assert await refused(service, first.refresh_token) == "refresh_reused"
    assert await refused(service, second.refresh_token) == "session_ended"
    assert await actions(stores, audit) == ["session.reuse_detected"]


async def test_a_used_token_shown_by_another_client_has_no_grace(service: SessionService):
    first = await service.start(ADA)
    second = await service.refresh(first.refresh_token, BROWSER)
    assert await refused(service, first.refresh_token, OTHER_BROWSER) == "refresh_reused"
    assert await refused(service, second.refresh_token) == "session_ended"


async def test_a_token_before_the_last_has_no_grace(service: SessionService):
    first = await service.start(ADA)
    second = await service.refresh(first.refresh_token, BROWSER)
    await service.refresh(second.refresh_token, BROWSER)
    assert await refused(service, first.refresh_token) == "refresh_reused"


async def test_a_token_that_was_made_up_ends_nobodys_session(service: SessionService):
    pair = await service.start(ADA)
    session = service._parse(pair.refresh_token).session_id.removeprefix("sess_")  # pyright: ignore
    guess = pair.refresh_token[: len("rt-manta-") + len(session) + 1] + "A" * 54
    assert await refused(service, guess) == "invalid_token"
    assert await refused(service, RefreshToken.first(b"another key").value) == "invalid_token"
    assert await service.refresh(pair.refresh_token, BROWSER)


async def test_an_access_token_is_no_refresh_token_and_is_told_so(service: SessionService):
    pair = await service.start(ADA)
    assert await refused(service, pair.access_token) == "not_a_refresh_token"


async def test_a_session_slides_for_a_week_and_ends_after_a_month(service: SessionService, clock: Clock):
    pair = await service.start(ADA)
    for _ in range(4):
        clock.now += 7 * DAY_S - 1
        pair = await service.refresh(pair.refresh_token, BROWSER)
    assert pair.refresh_expires_in_s == 30 * DAY_S - 4 * (7 * DAY_S - 1)
    clock.now += 2 * DAY_S + 5
    assert await refused(service, pair.refresh_token) == "session_ended"


async def test_a_session_that_is_not_used_for_a_week_is_over(service: SessionService, clock: Clock):
    pair = await service.start(ADA)
    clock.now += 7 * DAY_S
    assert await refused(service, pair.refresh_token) == "session_ended"


async def test_who_signed_out_cannot_go_on(service: SessionService, stores: Stores, audit: Audit):
    pair = await service.start(ADA)
    session_id = await service.end_by(pair.refresh_token, BROWSER)
    assert await refused(service, pair.refresh_token) == "session_ended"
    await service.end(session_id, Actor(ADA.id, session_id, BROWSER))
    assert "logout.succeeded" in await actions(stores, audit)


async def test_signing_out_again_and_again_is_written_down_once(service: SessionService, stores: Stores, audit: Audit):
    pair = await service.start(ADA)
    for _ in range(3):
        await service.end_by(pair.refresh_token, BROWSER)
    assert await actions(stores, audit) == ["logout.succeeded"]


@pytest.mark.parametrize("status", ["disabled", "deleted"])
async def test_who_is_no_more_cannot_go_on(service: SessionService, stores: Stores, status: str):
    pair = await service.start(ADA)
    await (stores.users.delete(ADA.id) if status == "deleted" else stores.users.change(ADA.id, status=status))
    assert await refused(service, pair.refresh_token) == "session_ended"
    await stores.users.change(ADA.id, status="active")
    assert await refused(service, pair.refresh_token) == "session_ended", "their sessions do not come back"


async def test_a_service_account_cannot_sign_in(service: SessionService):
    with pytest.raises(PermissionDenied):
        await service.start(replace(ADA, service_project="proj_1"))


async def test_a_refresh_token_tells_its_session_without_being_used(service: SessionService, clock: Clock):
    pair = await service.start(ADA)
    session_id = await service.session_of(pair.refresh_token)
    assert session_id is not None
    assert session_id.startswith("sess_")
    following = await service.refresh(pair.refresh_token, BROWSER)
    assert await service.session_of(pair.refresh_token) is None, "it was used"
    assert await service.session_of(following.refresh_token) == session_id
    for token in ("x", following.access_token, RefreshToken.first(b"another key").value, RefreshToken.first(KEY).value):
        assert await service.session_of(token) is None
    clock.now += 31 * DAY_S
    assert await service.session_of(following.refresh_token) is None, "it is over"
