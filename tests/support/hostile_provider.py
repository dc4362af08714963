"""An OpenID provider that does what a test tells it, right or wrong: all of it over HTTP, its keys real."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.gateway import serving

CLIENT_ID, CLIENT_SECRET = "manta-tests", "client:secret with + and % in it, long enough"
SUBJECT = "1100"

Handler = Callable[[Request], Awaitable[Response]]


@cache
def private_key(algorithm: str) -> Any:
    """The provider's key for an algorithm: the same for the whole run, since RSA keys take long to make."""
    if algorithm in ("RS256", "PS256"):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


@cache
def stranger_key() -> Any:
    """A key that the provider never published."""
    return rsa.generate_private_key(65537, 2048)


def public_pem(algorithm: str = "RS256") -> bytes:
    """The public key as whoever would use it as a shared secret has it."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private_key(algorithm).public_key().public_bytes(encoding, form)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(algorithm: str, key_id: str) -> dict[str, Any]:
    implementation: Any = get_default_algorithms()[algorithm]
    key = implementation.to_jwk(private_key(algorithm).public_key(), as_dict=True)
    return {name: value for name, value in key.items() if name != "key_ops"} | {"kid": key_id, "use": "sig"}


def half_hash(text: str, algorithm: str) -> str:
    digest = (hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256)(text.encode()).digest()
    return b64(digest[: len(digest) // 2])


@dataclass
class Grant:
    """What somebody was sent here for: the parameters of the authorization request."""

    params: Mapping[str, str]
    used: bool = False


@dataclass
class HostileProvider:
    """Shape what it does by its attributes.

    Attributes:
        discovery: What differs in its discovery document; None leaves a field out.
        claims: What differs in its next ID tokens; None leaves a claim out.
        header: What differs in their headers.
        algorithm: What they are signed with.
        signer: Signs in its place, given the bytes to sign.
        tokens: What differs in what its token endpoint gives.
        userinfo: What its userinfo endpoint says.
        instead: By path, what answers in place of the endpoint there.
        asked: How often which path was asked for.
        auth: How the last client said who it is.
    """

    url: str = ""
    discovery: dict[str, Any] = field(default_factory=dict[str, Any])
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    header: dict[str, Any] = field(default_factory=dict[str, Any])
    algorithm: str = "RS256"
    signer: Callable[[bytes], bytes] | None = None
    tokens: dict[str, Any] = field(default_factory=dict[str, Any])
    userinfo: dict[str, Any] = field(default_factory=dict[str, Any])
    instead: dict[str, Handler] = field(default_factory=dict[str, Handler])
    asked: Counter[str] = field(default_factory=Counter[str])
    auth: str = ""
    secret: str | None = CLIENT_SECRET
    issued: list[str] = field(default_factory=list[str])
    _grants: dict[str, Grant] = field(default_factory=dict[str, Grant])

    def reset(self) -> None:
        """Behave again, and forget everything."""
        vars(self).update(vars(HostileProvider(self.url)))

    def grant(self, authorization_url: str) -> str:
        """Sign the person in who was sent here; the code that they bring back."""
        parts = urlsplit(authorization_url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/authorize"
        params = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}
        assert (params["response_type"], params["client_id"]) == ("code", CLIENT_ID)
        assert params["code_challenge_method"] == "S256"
        assert "openid" in params["scope"].split()
        code = f"code-{len(self._grants)}-{b64(hashlib.sha256(params['state'].encode()).digest())}"
        self._grants[code] = Grant(params)
        return code

    def id_token(self, nonce: str, access_token: str) -> str:
        """The next one."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": SUBJECT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "at_hash": half_hash(access_token, self.algorithm),
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "email_verified": True,
            "picture": "https://example.com/ada.png",
            **self.claims,
        }
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.algorithm.lower(), **self.header}
        parts = ({name: value for name, value in part.items() if value is not None} for part in (header, claims))
        signed = ".".join(b64(json.dumps(part).encode()) for part in parts)
        token = f"{signed}.{b64((self.signer or self.sign)(signed.encode()))}"
        self.issued.append(token)
        return token

    def sign(self, message: bytes) -> bytes:
        """As it should."""
        implementation: Any = get_default_algorithms()[self.algorithm]
        return implementation.sign(message, private_key(self.algorithm))

    def app(self) -> Starlette:
        routes = {
            "/.well-known/openid-configuration": self._discovery,
            "/jwks": self._jwks,
            "/token": self._token,
            "/userinfo": self._userinfo,
        }
        return Starlette(
            routes=[
                Route(path, self._watched(path, handler), methods=["GET", "POST"]) for path, handler in routes.items()
            ]
        )

    def _watched(self, path: str, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            self.asked[path] += 1
            return await self.instead.get(path, handler)(request)

        return handle

    async def _discovery(self, _: Request) -> Response:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "HS256", "none"],
            **self.discovery,
        }
        return JSONResponse({name: value for name, value in document.items() if value is not None})

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": [public_jwk(name, name.lower()) for name in ("RS256", "PS256", "ES256", "EdDSA")]})

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if not self._knows(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        grant = self._grants.get(form["code"])
        challenge = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if grant is None or grant.used or grant.params["code_challenge"] != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if grant.params["redirect_uri"] != form["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        grant.used = True
        access_token = f"access-{form['code']}"
        answer = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.id_token(grant.params["nonce"], access_token),
            **self.tokens,
        }
        return JSONResponse({name: value for name, value in answer.items() if value is not None})

    def _knows(self, request: Request, form: Mapping[str, str]) -> bool:
        header = request.headers.get("authorization")
        if header is not None:
            self.auth = "client_secret_basic"
            id_, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            id_, secret = unquote_plus(id_), unquote_plus(secret)
        else:
            self.auth = "client_secret_post" if "client_secret" in form else "none"
            id_, secret = form.get("client_id", ""), form.get("client_secret", "")
        return id_ == CLIENT_ID and hmac.compare_digest(secret, self.secret or "")

    async def _userinfo(self, request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith("Bearer access-"):
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse({"sub": SUBJECT, **self.userinfo})


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    """An endpoint that always says the same."""

    async def handle(_: Request) -> Response:
        return Response(body, status, headers)

    return handle


def silent() -> Handler:
    """An endpoint that says nothing for far longer than anybody waits."""

    async def handle(request: Request) -> Response:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                await request.body()
                while (await request.receive())["type"] != "http.disconnect":
                    pass
        return Response()

    return handle


@contextlib.asynccontextmanager
async def hostile_provider() -> AsyncIterator[HostileProvider]:
    """One that runs, and behaves until it is told not to."""
    provider = HostileProvider()
    async with serving(provider.app()) as url:
        provider.url = url
        yield provider
