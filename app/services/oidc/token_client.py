"""Authlib's OAuth client, over our own bounded requests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.client import OAuth2Client

from app.domain.login import Login, LoginRefused
from app.services.oidc.fetcher import Fetcher, ProviderTrouble
from app.services.oidc.metadata import Metadata

SCOPE = "openid email profile"
KNOWN_ERRORS = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)
WHAT = "the token endpoint"


class TokenClient(OAuth2Client):
    """Builds what the browser is sent to the provider with, and has tokens for codes.

    Authlib's own clients read answers of any size, and follow the process's choice between two HTTP libraries; its
    framework-neutral base leaves the sending to us.

    Args:
        metadata: The provider's.
        client_id: Ours there.
        client_secret: Ours there; None for a public client.
        fetcher: Sends the requests.
    """

    def __init__(self, metadata: Metadata, client_id: str, client_secret: str | None, fetcher: Fetcher) -> None:
        base: Any = super()
        base.__init__(
            session=None,
            client_id=client_id,
            client_secret=client_secret,
            token_endpoint_auth_method=metadata.auth_method(with_secret=client_secret is not None),
            scope=SCOPE,
            code_challenge_method="S256",
        )
        self._metadata = metadata
        self._fetcher = fetcher
        base.register_client_auth_method(("client_secret_basic", _basic))

    def authorization_url(self, login: Login, hint: Mapping[str, str]) -> str:
        """Where the browser goes.

        Args:
            hint: Parameters besides.
        """
        base: Any = self
        url, _ = base.create_authorization_url(
            self._metadata.authorization_endpoint,
            state=login.state,
            code_verifier=login.verifier,
            nonce=login.nonce,
            redirect_uri=login.redirect_uri,
            **hint,
        )
        return str(url)

    async def exchange(self, code: str, login: Login) -> dict[str, Any]:
        """What the provider gives for a code.

        Raises:
            LoginRefused: Nothing: it does not take the code, or not from us.
            ProviderTrouble: There was no answer that says so.
        """
        base: Any = self
        try:
            return await base.fetch_token(
                self._metadata.token_endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=login.verifier,
                redirect_uri=login.redirect_uri,
            )
        except AuthlibBaseError as error:
            known: Any = error
            said = known.error if known.error in KNOWN_ERRORS else "for no reason that is known"
            raise LoginRefused(f"the provider does not take the code: {said}") from None
        except httpx.HTTPStatusError as error:
            raise ProviderTrouble(f"{WHAT} answered {error.response.status_code}") from None
        except (ValueError, TypeError, RecursionError):
            raise ProviderTrouble(f"{WHAT} answered with something else than tokens") from None

    async def _fetch_token(
        self, url: str, body: str = "", headers: Any = None, auth: Any = None, method: str = "POST", **_: Any
    ) -> dict[str, Any]:
        # A copy: the default ones are Authlib's own, and the client's secret goes in there.
        url, headers, body = auth.prepare(method, url, dict(headers), body)
        response = await self._fetcher.send(method, url, WHAT, headers, body)
        if response.status_code == 429 or response.is_redirect:
            raise ProviderTrouble(f"{WHAT} answered {response.status_code}")
        base: Any = self
        return dict(base.parse_response_token(response))


def _basic(client: Any, _: str, uri: str, headers: dict[str, str], body: str) -> tuple[str, dict[str, str], str]:
    # Both parts are form-encoded first (RFC 6749, 2.3.1), which Authlib's own leaves out.
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return uri, headers, body
