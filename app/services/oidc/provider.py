"""The OpenID provider that people sign in with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jwt

from app.domain.login import Answer, Login, LoginRefused
from app.domain.profile import Profile
from app.domain.user import Identity
from app.services.oidc.fetcher import Fetcher
from app.services.oidc.id_token import (
    Expected,
    Header,
    check_access_token,
    check_domain,
    check_person,
    read_claims,
    read_header,
)
from app.services.oidc.kept import Kept
from app.services.oidc.keys import KeySet
from app.services.oidc.metadata import Metadata, discovery_url
from app.services.oidc.token_client import TokenClient

PROFILE_CLAIMS = ("name", "email", "email_verified", "picture")
KNOWN_ERRORS = (
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
)


class Provider:
    """Sends people there, and finds out who came back.

    Args:
        issuer: The provider's name, and where it is.
        client_id: Ours there.
        client_secret: Ours there; None for a public client.
        domains: The Workspace domains that may sign in; none for all.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        *,
        domains: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._domains = frozenset(domain.lower() for domain in domains)
        self._clock = clock
        self._fetcher = Fetcher()
        self._metadata = Kept(self._fetch_metadata)
        self._keys = Kept(self._fetch_keys)

    async def authorization_url(self, login: Login) -> str:
        """Where to send the browser.

        Raises:
            ProviderTrouble: The provider does not say.
        """
        client = self._client(await self._metadata.get())
        # Spares people the accounts that would be refused. It decides nothing: the claim does.
        hint = {"hd": next(iter(self._domains))} if len(self._domains) == 1 else {}
        return client.authorization_url(login, hint)

    async def check(self, answer: Answer) -> None:
        """Return if the provider's own answer brings a code.

        Raises:
            LoginRefused: It is somebody else's answer, or brings none.
            ProviderTrouble: The provider does not say what its answers look like.
        """
        metadata = await self._metadata.get()
        if answer.issuer != self._issuer and (answer.issuer is not None or metadata.names_itself):
            raise LoginRefused("the answer is not this provider's")
        if answer.error == "access_denied":
            raise LoginRefused("cancelled at the provider", code="login_cancelled")
        if answer.error is not None:
            said = answer.error if answer.error in KNOWN_ERRORS else "for no reason that is known"
            raise LoginRefused(f"the provider signed nobody in: {said}")
        if answer.code is None:
            raise LoginRefused("the answer has no code")

    async def redeem(self, code: str, login: Login) -> Profile:
        """Who came back with a code.

        Raises:
            LoginRefused: Nobody who can be believed to be who they say, or may come in.
            ProviderTrouble: The provider did not do its part.
        """
        metadata = await self._metadata.get()
        tokens = await self._client(metadata).exchange(code, login)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        header = read_header(id_token, metadata.algorithms)
        claims = read_claims(str(id_token), await self._key(header), header)
        Expected(self._issuer, self._client_id, login).check(claims, self._clock())
        check_access_token(claims, header.algorithm, access_token)
        check_domain(claims, self._domains)
        if "email" not in claims and "name" not in claims:
            claims = await self._with_profile(claims, metadata, access_token)
        check_person(claims)
        return Profile.of(Identity(self._issuer, claims["sub"]), claims)

    async def close(self) -> None:
        """Finish what is under way, and close every connection."""
        await self._metadata.close()
        await self._keys.close()
        await self._fetcher.close()

    async def _key(self, header: Header) -> jwt.PyJWK:
        key = (await self._keys.get()).find(header.key_id, header.algorithm)
        if key is None:
            key = (await self._keys.renewed()).find(header.key_id, header.algorithm)
        if key is None:
            raise LoginRefused("the ID token's key is none of the provider's")
        return key

    async def _with_profile(self, claims: dict[str, Any], metadata: Metadata, access_token: object) -> dict[str, Any]:
        """The claims with what the provider says of the person elsewhere: in the code flow most do (Core 1.0, 5.4)."""
        if metadata.userinfo_endpoint is None or not isinstance(access_token, str) or not access_token.isascii():
            return claims
        bearer = {"authorization": f"Bearer {access_token}"}
        said = await self._fetcher.get(metadata.userinfo_endpoint, "the userinfo endpoint", bearer)
        if said.get("sub") != claims["sub"]:
            raise LoginRefused("the userinfo is about somebody else")
        # All of it from there: what the ID token verified is not the address that is said there.
        rest = {name: value for name, value in claims.items() if name not in PROFILE_CLAIMS}
        return {**rest, **{name: said[name] for name in PROFILE_CLAIMS if name in said}}

    def _client(self, metadata: Metadata) -> TokenClient:
        return TokenClient(metadata, self._client_id, self._client_secret, self._fetcher)

    async def _fetch_metadata(self) -> Metadata:
        document = await self._fetcher.get(discovery_url(self._issuer), "the discovery document")
        metadata = Metadata.parse(document, self._issuer)
        # Told now, and not when the first code is to be redeemed.
        metadata.auth_method(with_secret=self._client_secret is not None)
        return metadata

    async def _fetch_keys(self) -> KeySet:
        metadata = await self._metadata.get()
        return KeySet.parse(await self._fetcher.get(metadata.jwks_uri, "the key set"))
