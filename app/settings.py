"""The only file that reads the environment.

Every setting is a field below and an environment variable of the same name with the prefix ``MANTA_``
(``MONGODB_URI`` also without it, as platforms set it). Unknown ``MANTA_`` variables are refused.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, IPvAnyNetwork, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as Unreadable

from app.domain.origin import is_loopback

PREFIX = "MANTA_"
ROOT = Path(__file__).resolve().parent.parent
"""The project's root: what relative defaults hang on."""

RequestExtra = Literal[
    "top_k",
    "min_p",
    "repetition_penalty",
    "ignore_eos",
    "min_tokens",
    "skip_special_tokens",
    "include_stop_str_in_output",
]
"""The sampling parameters beyond OpenAI's that can be allowed; ``app.schemas.extras`` has their bounds."""


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the message names it."""


class Settings(BaseSettings):
    """How this installation runs. Frozen: built once, handed down."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True)

    # where things are
    models: str = Field(default="configs/models", description="Folder of model YAML files, or files split by commas.")
    limits: str = Field(
        default="configs/limits.yaml", description="File of the limits that hold until an admin sets others."
    )
    state_dir: Path = Field(default=ROOT / ".manta", description="Database files, weights, logs, the first API key.")
    weights_dir: Path | None = Field(default=None, description="Where weights are kept. None: <state_dir>/weights.")
    mongodb_uri: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("MANTA_MONGODB_URI", "MONGODB_URI"),
        description="MongoDB to use. None starts the embedded database, which is for one machine.",
    )
    mongodb_database: str = Field(default="manta", description="Database name.")

    # between gateways and replicas
    link_host: str | None = Field(
        default=None, description="Address on which replicas wait for gateways. None: the node's own, as Ray knows it."
    )
    data_path: Literal["link", "handle"] = Field(
        default="link",
        description="What carries bytes to replicas; `handle`, which is slow, where nodes reach only Ray's ports.",
    )

    # replicas
    default_min_replicas: int | None = Field(
        default=None, ge=0, description="For models that do not say. None: 0 in development (they sleep), 1 otherwise."
    )
    prewarm: Literal["auto", "off"] = Field(
        default="auto",
        description="Nodes keep torch and vLLM imported, and fork engines' processes from there; `off`: each imports.",
    )

    # the gateway
    gateway_replicas: int = Field(default=1, ge=1, description="Gateway processes; fixed, so that streams live long.")
    gateway_max_ongoing_requests: int = Field(default=2048, ge=1, description="Requests at once per gateway replica.")
    cors_origins: list[str] = Field(default=["*"], description="Origins browsers may call from, as a JSON list.")
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest request body, in bytes.")
    stream_keepalive_s: float = Field(
        default=5, gt=0, description="A stream that waits for its model gets a comment every so many seconds."
    )

    # who may call
    profile: Literal["development", "production"] = Field(
        default="production",
        description="Decides what is not set by itself. `manta serve` on loopback chooses development.",
    )
    anonymous_inference: bool | None = Field(
        default=None, description="Whether callers without a key may use models. None: in development only."
    )
    secret_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Keys the hashes of API keys. None: made at first start and kept in state_dir.",
    )
    principal_cache_s: float = Field(
        default=10, ge=0, le=10, description="How long a checked key is trusted: the bound on revocation, in seconds."
    )
    principal_grace_s: float = Field(
        default=60,
        ge=0,
        description="How long besides a key counts that was checked before, while the database is away, in seconds.",
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        default=[IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")],
        description="Whose X-Forwarded-For counts, as a JSON list of networks; HAProxy runs on every node.",
    )

    # signing in
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+$",
        description="Where browsers reach the service, such as `https://llm.example.com`. None: on loopback alone.",
    )
    oidc_issuer: str = Field(
        default="https://accounts.google.com",
        pattern=r"^https?://[^?#\s]+$",
        description="The OpenID provider that people sign in with.",
    )
    oidc_client_id: str | None = Field(
        default=None, description="This installation's id at the provider. None: nobody can sign in."
    )
    oidc_client_secret: SecretStr | None = Field(default=None, description="Its secret there. None: a public client.")
    oidc_allowed_domains: list[str] = Field(
        default=[],
        description="Google Workspace domains (the `hd` claim) that may sign in, as a JSON list; [] for all.",
    )
    guest_login: bool | None = Field(
        default=None, description="Whether people may come in without an account. None: in development only."
    )
    jwt_algorithm: Literal["HS256", "HS512", "ES256", "EdDSA", "RS256"] = Field(
        default="HS256", description="What access tokens are signed with; the public keys of the last three are shown."
    )
    jwt_keys: list[SecretStr] | None = Field(
        default=None,
        min_length=1,
        description="Secrets or private keys (PEM, or `file:<path>`), as a JSON list: the first signs, all check. "
        "None: made of the secret key, or made at first start and kept in state_dir.",
    )
    access_token_ttl_s: float = Field(default=900, ge=30, le=86_400, description="Life of an access token, in seconds.")
    refresh_token_ttl_s: float = Field(
        default=604_800, ge=60, description="How long a sign-in lasts that is not used, in seconds."
    )
    session_ttl_s: float = Field(
        default=2_592_000, ge=60, description="How long a sign-in lasts at the most, in seconds."
    )

    request_extras: list[RequestExtra] = Field(
        default=list(get_args(RequestExtra)),
        description="Sampling parameters beyond OpenAI's that callers may use, as a JSON list; [] for none.",
    )

    # what is used
    currency: str = Field(
        default="usd", pattern=r"^[a-z]{3}$", description="What models' prices are in: ISO 4217, in small letters."
    )
    usage_retention_days: int = Field(
        default=400,
        ge=0,
        le=36_500,
        description="How long usage is kept, single requests and sums, in days; 0 for ever.",
    )
    usage_grace_s: float = Field(
        default=60,
        ge=0,
        description="How long after a gateway's death others may say what became of its requests, in seconds; "
        "then those are lost.",
    )
    usage_spool_mb: int = Field(
        default=1024,
        ge=1,
        description="What usage may take on a gateway's disk while the database is away; then requests are refused.",
    )
    answers_spool_mb: int = Field(
        default=1024,
        ge=1,
        description="What answers that are to be kept may take there; then what would add to them is refused.",
    )

    # work in the background
    background_jobs: int = Field(
        default=256, ge=1, description="Responses and runs that a gateway works on in the background at once."
    )
    background_jobs_per_owner: int = Field(
        default=32, ge=1, description="Responses, and runs, that somebody may have worked on in the background at once."
    )
    process_dead_s: float = Field(
        default=20,
        ge=1,
        description="After how long a gateway that is silent counts as dead, in seconds; others go on with its work.",
    )
    run_ttl_s: float = Field(
        default=600,
        ge=1,
        description="How long a run of an assistant may take, outputs of its tools included, in seconds.",
    )

    # the database
    mongodb_timeout_s: float = Field(default=2, gt=0, description="Deadline of one database operation, in seconds.")
    mongodb_pool_size: int = Field(default=16, ge=1, description="Connections to MongoDB per gateway replica.")
    limits_timeout_s: float = Field(
        default=0.25,
        gt=0,
        description="How long a request waits for limits to be counted; beyond it each gateway counts its share.",
    )
    limits_grace_s: float = Field(
        default=60, ge=0, description="How long budgets stay open while the database is away, in seconds."
    )

    @field_validator("state_dir", "weights_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # A relative path would mean something else in every process that these settings are handed to.
        return path and path.expanduser().absolute()

    @field_validator("oidc_issuer")
    @classmethod
    def _encrypted(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            # pydantic puts "Value error, " before it
            raise ValueError("it has to begin with https://, but on loopback")
        return issuer

    @property
    def admits_anonymous(self) -> bool:
        """Whether callers without a key may use models."""
        return self.profile == "development" if self.anonymous_inference is None else self.anonymous_inference

    @property
    def admits_guests(self) -> bool:
        """Whether people may come in without an account."""
        return self.profile == "development" if self.guest_login is None else self.guest_login

    @property
    def token_issuer(self) -> str:
        """What access tokens name as the one who gave them out."""
        return self.public_url or "manta"

    @property
    def least_replicas(self) -> int:
        """How many replicas a model has at the least that does not say."""
        if self.default_min_replicas is not None:
            return self.default_min_replicas
        return 0 if self.profile == "development" else 1

    @property
    def weights(self) -> Path:
        """The folder that weights are kept in."""
        return (self.weights_dir or self.state_dir / "weights").resolve()

    def secret(self) -> bytes:
        """The secret that API keys' digests hang on.

        Raises:
            SettingsError: There is none yet; ``with_secrets`` makes one.
        """
        if self.secret_key is None:
            raise SettingsError(f"{PREFIX}SECRET_KEY is not set, and no secret was made in {self.state_dir}.")
        return self.secret_key.get_secret_value().encode()

    def token_keys(self) -> list[str]:
        """What access tokens are signed with (the first) and checked by (all).

        Raises:
            SettingsError: There is none yet; ``with_secrets`` makes one.
        """
        if self.jwt_keys is None:
            raise SettingsError(f"{PREFIX}JWT_KEYS is not set, and no key was made in {self.state_dir}.")
        return [key.get_secret_value() for key in self.jwt_keys]

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; ``overrides`` that are not None win over it.

        Raises:
            SettingsError: A variable is unknown or its value is wrong.
        """
        known = {PREFIX + name.upper() for name in cls.model_fields} | {"MANTA_RUN"}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise SettingsError(f"Unknown setting {unknown[0]}. Known: {', '.join(sorted(known - {'MANTA_RUN'}))}.")
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except Unreadable as error:
            # Its message has the field in quotes, and nothing of the value.
            name = PREFIX + str(error).partition('"')[2].partition('"')[0].upper()
            raise SettingsError(f"Setting {name}: has to be a JSON list.") from None
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + ".".join(str(part) for part in first["loc"]).upper().removeprefix(PREFIX)
            raise SettingsError(f"Setting {name}: {first['msg']}.") from None
