"""Bodies of what concerns keys and people. Nothing that decides who somebody is can be said in them."""

from __future__ import annotations

import time
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from app.domain.limit_table import MOST, MOST_SPEND, PLAN_NAME
from app.domain.limits import GivenLimits
from app.schemas.common import Strict, example
from app.schemas.json_body import is_array, is_object
from app.schemas.problem import shown, wrong

MAX_MODELS = 100
MAX_EXPIRY_S = 253_402_300_799
"""The end of the year 9999."""


def printable(text: str) -> str:
    """The text without blanks around it, if it can be shown as one line."""
    text = text.strip()
    if not text:
        raise wrong("must not be empty")
    # also marks that turn the direction of writing, which make one name look like another
    if any(unicodedata.category(character)[0] == "C" for character in text):
        raise wrong("must not hold control characters")
    return text


def _permissions(value: Any) -> Any:
    if not is_array(value):
        return value
    if not value:
        raise wrong("must name at least one permission: read, write, or both")
    for index, name in enumerate(value):
        if name not in ("read", "write", "admin"):
            raise wrong(f"must be 'read', 'write' or 'admin', not {shown(name)}", field=index)
    return list(dict.fromkeys(value))


def _in_future(at: int) -> int:
    if at <= time.time():
        raise wrong("must be in the future, in Unix seconds")
    return at


def _kind_of_limits(value: Any) -> str | None:
    if isinstance(value, str):
        return "~string"
    return "~object" if is_object(value) else None


Name = Annotated[str, Field(max_length=100), AfterValidator(printable)]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^\s@]+@[^\s@]+\.[^\s@]+$"), AfterValidator(printable)]
Permissions = Annotated[list[Literal["read", "write", "admin"]], BeforeValidator(_permissions)]
Expiry = Annotated[int, Field(le=MAX_EXPIRY_S), AfterValidator(_in_future)]
Models = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=256)]],
    Field(min_length=1, max_length=MAX_MODELS, fail_fast=True),
]
Count = Annotated[int, Field(ge=1, le=MOST)]
Spend = Annotated[float, Field(gt=0, le=MOST_SPEND, allow_inf_nan=False)]


class OwnLimits(Strict):
    """What one key, or one user, is held to."""

    requests_per_minute: Count | None = Field(default=None, description="To models.")
    requests_per_hour: Count | None = Field(default=None, description="Of any kind.")
    requests_per_day: Count | None = Field(default=None, description="Of any kind.")
    tokens_per_minute: Count | None = Field(default=None, description="Of prompts and answers together.")
    tokens_per_day: Count | None = None
    concurrent_requests: Count | None = Field(default=None, description="To models, under way at the same time.")
    monthly_tokens: Count | None = Field(default=None, description="In a month of the calendar, in UTC.")
    monthly_spend: Spend | None = Field(
        default=None, description="By the models' prices, in the currency of the installation."
    )


def stored_limits(limits: OwnLimits | str | None) -> GivenLimits | None:
    """A request's limits as they are kept."""
    if isinstance(limits, OwnLimits):
        return {name: count for name, count in limits.model_dump().items() if count is not None} or None
    return "none" if limits == "none" else None


KeyLimits = Annotated[
    Annotated[OwnLimits, Tag("~object")] | Annotated[Literal["none"], Tag("~string")],
    Discriminator(_kind_of_limits, custom_error_type="kind", custom_error_message="an object of limits, or 'none'"),
]


class CreateKeyRequest(Strict):
    """A new API key."""

    model_config = example({"name": "Development Key", "permissions": ["read", "write"]})

    name: Name = Field(description="What you will know it by.")
    permissions: Permissions = Field(
        default=["read", "write"],
        description="`read`: look at what is yours. `write`: use models, change what is yours. `admin`: for admins.",
    )
    expires_at: Expiry | None = Field(default=None, description="When it ends, in Unix seconds. Left out: never.")
    models: Models | None = Field(default=None, description="The only models it may use. Left out: all.")
    limits: KeyLimits | None = Field(default=None, description="What it is held to besides what you are.")


class ChangeKeyRequest(Strict):
    """What is to change of an API key; null takes an expiry, a list of models or limits away."""

    model_config = example({"name": "Notebook", "models": ["smollm2-135m-instruct"]})

    name: Name | None = None
    permissions: Permissions | None = None
    expires_at: Expiry | None = None
    models: Models | None = None
    limits: KeyLimits | None = None


class AdminCreateKeyRequest(CreateKeyRequest):
    """A new API key for somebody."""

    model_config = example({"owner": "user_123", "name": "Batch jobs", "permissions": ["write"]})

    owner: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="The user whom it will stand for.")
    project_id: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Where it belongs; its user becomes a member. Left out: the default project."
    )


class AddUserRequest(Strict):
    """Somebody, or some program, who is to have API keys without signing in."""

    model_config = example({"name": "Ada", "email": "ada@example.com"})

    name: Name
    email: Email | None = None
    role: Literal["user", "admin"] = "user"


class ChangeUserRequest(Strict):
    """What is to change of a user."""

    model_config = example({"role": "admin"})

    name: Name | None = None
    role: Literal["user", "admin"] | None = None
    status: Literal["active", "disabled"] | None = None
    limits: KeyLimits | None = Field(
        default=None, description="Theirs instead of the policy's; \"none\" lifts all; null brings the policy's back."
    )
    plan: Annotated[str, Field(pattern=PLAN_NAME)] | None = Field(
        default=None, description="A plan of the policy's; null takes it away."
    )


class ChangeProfileRequest(Strict):
    """What people may change of themselves."""

    model_config = example({"name": "Ada"})

    name: Name


class RefreshRequest(Strict):
    """A refresh token, for clients that send it in the body."""

    model_config = example({"refresh_token": "rt-manta-..."})

    refresh_token: Annotated[str, Field(min_length=1, max_length=512)]


class LogoutRequest(Strict):
    """What is to end."""

    model_config = example({"all": False})

    all: bool = Field(default=False, description="End every session of yours, not this one alone.")
    refresh_token: Annotated[str, Field(min_length=1, max_length=512)] | None = None


Parameter = Annotated[str, Field(max_length=4096)]


class FinishLoginRequest(Strict):
    """What the provider had the browser bring back, each as it stood in the URL."""

    model_config = example({"code": "4/0Ab...", "state": "n0S6..."})

    code: Parameter | None = None
    state: Parameter | None = None
    iss: Parameter | None = None
    error: Parameter | None = None
