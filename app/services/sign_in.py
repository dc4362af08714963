"""Signing in through an OpenID provider: the authorization code flow with PKCE, begun here and finished here.

A sign-in is remembered by the browser alone, sealed, so that it can be begun at one replica and finished at another;
that it was finished is noted in the database, so that it is finished once. Whoever is refused is told nothing but that:
the reason is in the audit log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.domain.audit_event import Actor
from app.domain.login import Answer, Login, LoginRefused, redirect_uri
from app.domain.origin import Origin
from app.domain.user import User
from app.errors import AuthenticationFailed, NotConfigured, ProviderUnavailable
from app.services.audit import Audit
from app.services.identities import Identities
from app.services.login_seal import LoginSeal
from app.services.oidc.fetcher import ProviderTrouble
from app.services.oidc.provider import Provider
from app.services.sessions import SessionService, TokenPair
from app.storage.logins import Logins

MESSAGES = {
    "login_failed": "The sign-in failed. Start it again at /auth/google.",
    "login_cancelled": "The sign-in was cancelled. Start it again at /auth/google.",
}
TROUBLE = "The sign-in provider does not answer as it should. Start again shortly, at /auth/google."
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, repr=False)
class Begun:
    """What the browser gets: never logged.

    Attributes:
        url: Where it goes.
        login: What it is about.
        sealed: What it keeps until it comes back.
    """

    url: str
    login: Login
    sealed: str


class SignIn:
    """Sends people to the provider, and lets them in when they come back.

    Args:
        provider: None where none is set.
        public_url: Where browsers reach the service, if that is set.
        clock: Epoch seconds.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        provider: Provider | None,
        identities: Identities,
        session_service: SessionService,
        logins: Logins,
        audit: Audit,
        *,
        key: bytes,
        public_url: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._identities = identities
        self._session_service = session_service
        self._logins = logins
        self._audit = audit
        self._seal = LoginSeal(key)
        self._public_url = public_url
        self._clock = clock

    async def begin(self, host: str, session_id: str | None) -> Begun:
        """Begin to sign somebody in.

        Args:
            host: The request's ``Host``.
            session_id: The session that they are in, if any.

        Raises:
            NotConfigured: Nobody can sign in here, or it is not known where they would come back to.
            ProviderUnavailable: The provider does not say where to go.
        """
        provider = self._configured()
        uri = redirect_uri(self._public_url, host)
        if uri is None:
            raise NotConfigured(
                "Signing in needs to know where browsers reach this service: its operator sets MANTA_PUBLIC_URL."
            )
        login = Login.begin(uri, session_id, self._clock())
        try:
            url = await provider.authorization_url(login)
        except ProviderTrouble:
            raise ProviderUnavailable(TROUBLE, retry_after_s=RETRY_AFTER_S) from None
        return Begun(url, login, self._seal.seal(login))

    async def finish(self, answer: Answer, sealed: str | None, origin: Origin) -> TokenPair:
        """Let somebody in who comes back.

        Args:
            sealed: What the browser kept for this answer, if it kept anything.

        Raises:
            AuthenticationFailed: They are not let in.
            DatabaseUnavailable: The database did not answer.
            NotConfigured: Nobody can sign in here.
            ProviderUnavailable: The provider did not do its part.
        """
        provider = self._configured()
        try:
            user = await self._user(provider, answer, sealed, origin)
        except LoginRefused as refusal:
            self._note(refusal.reason, origin, refusal.target)
            raise AuthenticationFailed(MESSAGES[refusal.code], code=refusal.code) from None
        except ProviderTrouble as trouble:
            self._note(str(trouble), origin)
            raise ProviderUnavailable(TROUBLE, retry_after_s=RETRY_AFTER_S) from None
        await self._audit.record("login.succeeded", Actor(user.id, None, origin), user.id)
        return await self._session_service.start(user)

    async def close(self) -> None:
        """Finish what is under way with the provider."""
        if self._provider is not None:
            await self._provider.close()

    async def _user(self, provider: Provider, answer: Answer, sealed: str | None, origin: Origin) -> User:
        login = self._seal.open(sealed, answer.state, self._clock())
        await provider.check(answer)
        # Before the code is shown to anybody: of two who come back with it, one may.
        if not await self._logins.use(login.digest, login.expires_at):
            raise LoginRefused("the sign-in was finished before")
        profile = await provider.redeem(answer.code or "", login)
        return await self._identities.user_of(profile, login.session_id, origin)

    def _note(self, reason: str, origin: Origin, target: str | None = None) -> None:
        self._audit.refuse("login.failed", Actor.unknown(origin), target, reason=reason)

    def _configured(self) -> Provider:
        if self._provider is None:
            raise NotConfigured("Nobody can sign in here yet: this service's operator sets MANTA_OIDC_CLIENT_ID.")
        return self._provider
