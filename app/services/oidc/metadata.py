"""What a provider says of itself (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from app.domain.origin import is_loopback
from app.schemas.json_body import is_array
from app.services.oidc.fetcher import ProviderTrouble

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""What ID tokens may be signed with: nothing that whoever checks a signature could also make."""

AuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What we use of it.

    Attributes:
        issuer: Exactly as set here.
        authorization_endpoint: Where people sign in.
        token_endpoint: Where codes become tokens.
        jwks_uri: Where its keys are.
        userinfo_endpoint: Where more is said of somebody, if anywhere.
        algorithms: What it signs ID tokens with, of those that we accept.
        auth_methods: How clients can say who they are at the token endpoint.
        names_itself: Whether every answer says whose it is (RFC 9207).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    algorithms: tuple[str, ...]
    auth_methods: tuple[str, ...]
    names_itself: bool

    @classmethod
    def parse(cls, document: Mapping[str, Any], issuer: str) -> Metadata:
        """What the document of this issuer says.

        Raises:
            ProviderTrouble: It is another issuer's, or cannot be used.
        """
        if document.get("issuer") != issuer:
            raise ProviderTrouble("the discovery document is another issuer's")
        offered = _names(document, "id_token_signing_alg_values_supported", ("RS256",))
        algorithms = tuple(name for name in ALGORITHMS if name in offered)
        if not algorithms:
            raise ProviderTrouble(f"the provider signs ID tokens with none of {', '.join(ALGORITHMS)}")
        userinfo = document.get("userinfo_endpoint")
        return cls(
            issuer,
            _url(document, "authorization_endpoint", issuer),
            _url(document, "token_endpoint", issuer),
            _url(document, "jwks_uri", issuer),
            None if userinfo is None else _url(document, "userinfo_endpoint", issuer),
            algorithms,
            _names(document, "token_endpoint_auth_methods_supported", ("client_secret_basic",)),
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    def auth_method(self, *, with_secret: bool) -> AuthMethod:
        """How to say who we are.

        Raises:
            ProviderTrouble: There is no way that we know.
        """
        if not with_secret:
            return "none"
        if "client_secret_basic" in self.auth_methods:
            return "client_secret_basic"
        if "client_secret_post" in self.auth_methods:
            return "client_secret_post"
        raise ProviderTrouble("the provider's token endpoint takes no client secret in a way that we know")


def discovery_url(issuer: str) -> str:
    """Where an issuer's document is."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def _url(document: Mapping[str, Any], name: str, issuer: str) -> str:
    value = document.get(name)
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isascii() else None
        host = parts and parts.hostname
    except ValueError:
        parts = host = None
    if not parts or not host or parts.fragment or parts.username is not None:
        raise ProviderTrouble(f"the discovery document's {name} is no URL that can be used")
    # A provider on this machine may speak plainly, to others on this machine.
    local = is_loopback(host) and is_loopback(urlsplit(issuer).hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ProviderTrouble(f"the discovery document's {name} is not encrypted")
    return parts.geturl()


def _names(document: Mapping[str, Any], name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    value = document.get(name)
    return tuple(each for each in value if isinstance(each, str)) if is_array(value) else otherwise
