"""Signing in, going on, signing out: pairs of an access and a refresh token.

A refresh token is for one use. Whoever shows one that was used ends the session for everybody (RFC 9700, 4.14): either
they or the one who used it is a thief. The exception: a client that shows the last one again within ``GRACE_S`` did not
get its answer, or has two tabs open, and gets the same successor again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from app.domain.audit_event import Actor
from app.domain.origin import Origin
from app.domain.refresh_token import PREFIX, RefreshToken
from app.domain.secrets import random_base62
from app.domain.user import User
from app.errors import AuthenticationFailed, PermissionDenied
from app.services.access_tokens import AccessTokens
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.storage.sessions import Session
from app.storage.stores import Stores

GRACE_S = 10


@dataclass(frozen=True, slots=True, repr=False)
class TokenPair:
    """What a client holds: never logged, never stored.

    Attributes:
        expires_in_s: How long the access token counts, in seconds.
        refresh_expires_in_s: How long the refresh token can be used, in seconds.
        user: Whose they are.
    """

    access_token: str
    refresh_token: str
    expires_in_s: int
    refresh_expires_in_s: int
    user: User

    def to_dict(self) -> dict[str, Any]:
        """The object that the API answers."""
        return {
            "object": "access.token",
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in_s,
        }


class SessionService:
    """Gives out tokens and takes them back.

    Args:
        refresh_ttl_s: How long a refresh token can be used, in seconds; each use begins this anew.
        session_ttl_s: When a session ends however often it is gone on with, in seconds after its start.
        key: Seals refresh tokens.
        clock: Epoch seconds.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        stores: Stores,
        tokens: AccessTokens,
        audit: Audit,
        authenticator: Authenticator,
        *,
        refresh_ttl_s: float,
        session_ttl_s: float,
        key: bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = stores.sessions
        self._users = stores.users
        self._tokens = tokens
        self._audit = audit
        self._authenticator = authenticator
        self._refresh_ttl_ms = int(refresh_ttl_s * 1000)
        self._session_ttl_ms = int(session_ttl_s * 1000)
        self._key = key
        self._clock = clock

    async def start(self, user: User) -> TokenPair:
        """Sign a user in.

        Raises:
            DatabaseUnavailable: The database did not answer.
            PermissionDenied: It is a service account.
        """
        if user.is_service_account:
            raise PermissionDenied("A service account has API keys and cannot sign in.", code="service_account")
        token = RefreshToken.first(self._key)
        now = self._now_ms()
        session = Session(
            id=token.session_id,
            owner=user.id,
            current=token.digest,
            expires_at_ms=now + self._refresh_ttl_ms,
            ends_at_ms=now + self._session_ttl_ms,
            created_at_ms=now,
        )
        await self._sessions.insert(session)
        return self._pair(session, token, user)

    async def refresh(self, credential: str, origin: Origin) -> TokenPair:
        """Go on with a session: a new pair for a refresh token.

        Raises:
            AuthenticationFailed: It is none, or used up, or its session or user is no more.
            DatabaseUnavailable: The database did not answer.
        """
        token = self._parse(credential)
        session = await self._sessions.get(token.session_id)
        if session is None or not session.valid(self._now_ms()):
            raise AuthenticationFailed("This session is over. Sign in again.", code="session_ended")
        user = await self._users.get(session.owner)
        if user is None or user.status != "active":
            await self._sessions.end(session.id, "user_disabled")
            raise AuthenticationFailed("This session is over. Sign in again.", code="session_ended")
        client = hashlib.sha256(origin.user_agent.encode()).hexdigest()
        if token.digest == session.current:
            following = await self._rotate(session, token, client)
            if following is not None:
                return self._pair(following[0], following[1], user)
            # Somebody used it since we read: this is the second use.
            session = await self._sessions.get(session.id) or session
        if self._is_repeat(session, token, client):
            return self._pair(session, token.successor(session.salt or "", self._key), user)
        await self._end_reused(session, origin)
        raise AuthenticationFailed(
            "This refresh token was used before, so its session has been ended. Sign in again.", code="refresh_reused"
        )

    async def end(self, session_id: str, actor: Actor) -> None:
        """Sign out.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        # Once: else whoever kept a token of a session that is over could fill the log with it.
        if await self._sessions.end(session_id, "logout"):
            await self._audit.record("logout.succeeded", actor, session_id)
        self._authenticator.forget(actor.subject)

    async def end_by(self, credential: str, origin: Origin) -> str:
        """Sign out by a refresh token; the session's id.

        Raises:
            AuthenticationFailed: It is no refresh token of ours.
            DatabaseUnavailable: The database did not answer.
        """
        token = self._parse(credential)
        session = await self._sessions.get(token.session_id)
        if session is not None:
            await self.end(session.id, Actor(session.owner, session.id, origin))
        return token.session_id

    async def session_of(self, credential: str) -> str | None:
        """The session that a refresh token could be used to go on with, without using it; None if it could not.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        token = RefreshToken.parse(credential, self._key)
        session = token and await self._sessions.get(token.session_id)
        usable = token and session and session.valid(self._now_ms()) and token.digest == session.current
        return session.id if session and usable else None

    async def _rotate(self, session: Session, token: RefreshToken, client: str) -> tuple[Session, RefreshToken] | None:
        salt = random_base62(22)
        successor = token.successor(salt, self._key)
        now = self._now_ms()
        changed = replace(
            session,
            current=successor.digest,
            previous=token.digest,
            salt=salt,
            client=client,
            rotated_at_ms=now,
            expires_at_ms=now + self._refresh_ttl_ms,
        )
        stored = await self._sessions.rotate(changed, current=token.digest)
        return stored and (stored, successor)

    def _is_repeat(self, session: Session, token: RefreshToken, client: str) -> bool:
        recent = self._now_ms() - session.rotated_at_ms <= GRACE_S * 1000
        return session.active and token.digest == session.previous and client == session.client and recent

    async def _end_reused(self, session: Session, origin: Origin) -> None:
        if await self._sessions.end(session.id, "refresh token reused"):
            actor = Actor(session.owner, session.id, origin)
            self._authenticator.forget(session.owner)
            self._audit.refuse("session.reuse_detected", actor, session.id, reason="a used refresh token was shown")

    def _parse(self, credential: str) -> RefreshToken:
        if credential.count(".") == 2 and not credential.startswith(PREFIX):
            raise AuthenticationFailed(
                "This is an access token. Send the refresh token that came with it.", code="not_a_refresh_token"
            )
        token = RefreshToken.parse(credential, self._key)
        if token is None:
            raise AuthenticationFailed("This refresh token is not valid. Sign in again.", code="invalid_token")
        return token

    def _pair(self, session: Session, token: RefreshToken, user: User) -> TokenPair:
        now = self._now_ms()
        left_ms = min(session.expires_at_ms, session.ends_at_ms) - now
        return TokenPair(
            self._tokens.issue(user.id, session.id),
            token.value,
            int(self._tokens.ttl_s),
            max(0, left_ms // 1000),
            user,
        )

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
