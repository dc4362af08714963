from __future__ import annotations

from typing import Any

import pytest

from app.services.oidc.fetcher import ProviderTrouble
from app.services.oidc.metadata import Metadata, discovery_url

ISSUER = "https://accounts.example.com"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize?audience=x",
        "token_endpoint": "https://tokens.example.com/token",
        "jwks_uri": f"{ISSUER}/jwks",
        "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256"],
        **changes,
    }


def trouble(**changes: Any) -> str:
    with pytest.raises(ProviderTrouble) as caught:
        Metadata.parse(document(**changes), ISSUER)
    return str(caught.value)


def test_what_we_use_of_it_is_taken():
    assert Metadata.parse(document(), ISSUER) == Metadata(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/authorize?audience=x",
        token_endpoint="https://tokens.example.com/token",
        jwks_uri=f"{ISSUER}/jwks",
        userinfo_endpoint=None,
        algorithms=("RS256", "ES256"),
        auth_methods=("client_secret_basic",),
        names_itself=False,
    )


def test_what_a_provider_does_not_say_is_what_the_standard_says():
    metadata = Metadata.parse(document(id_token_signing_alg_values_supported=None), ISSUER)
    assert metadata.algorithms == ("RS256",)
    assert metadata.auth_method(with_secret=True) == "client_secret_basic"
    assert metadata.auth_method(with_secret=False) == "none"


def test_it_must_be_the_issuers_to_the_letter():
    for other in (ISSUER + "/", ISSUER.upper(), "https://accounts.example.org", None, [ISSUER]):
        assert "another issuer's" in trouble(issuer=other)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize(
    "url",
    [
        "http://accounts.example.com/x",
        "http://127.0.0.1/x",
        "ftp://accounts.example.com/x",
        "file:///etc/passwd",
        "//accounts.example.com/x",
        "https:///x",
        "https://user@accounts.example.com/x",
        "https://accounts.example.com/x#y",
        "https://[::1/x",
        "https://äccounts.example.com/",
        "",
        5,
    ],
)
def test_every_address_must_be_one_that_is_encrypted(name: str, url: Any):
    assert name in trouble(**{name: url})


def test_on_this_machine_plain_addresses_on_this_machine_will_do():
    local = "http://localhost:4000"
    urls = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), f"{local}/x")
    assert Metadata.parse(document(issuer=local, **urls), local).jwks_uri == f"{local}/x"
    with pytest.raises(ProviderTrouble, match="token_endpoint is not encrypted"):
        Metadata.parse(document(issuer=local, **{**urls, "token_endpoint": "http://example.com/x"}), local)


def test_a_provider_that_we_cannot_work_with_is_told_at_once():
    assert "signs ID tokens with none of" in trouble(id_token_signing_alg_values_supported=["HS256", "none", 5])
    metadata = Metadata.parse(document(token_endpoint_auth_methods_supported=["private_key_jwt"]), ISSUER)
    with pytest.raises(ProviderTrouble, match="takes no client secret"):
        metadata.auth_method(with_secret=True)


@pytest.mark.parametrize("issuer", ["https://a.example", "https://a.example/"])
def test_the_document_is_where_the_standard_says(issuer: str):
    assert discovery_url(issuer) == "https://a.example/.well-known/openid-configuration"
    assert discovery_url("https://a.example/tenant") == "https://a.example/tenant/.well-known/openid-configuration"
