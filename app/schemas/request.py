"""From a JSON object to a request that may go to an engine: the steps that all routes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas.common import ModelName, Strict
from app.schemas.extras import VENDOR_EXTRAS
from app.schemas.keep import ToKeep
from app.schemas.problem import refusal, unknown_parameter

NO_EXTRAS: frozenset[str] = frozenset()


class Request(Strict):
    """What every inference request has."""

    model: ModelName = Field(description="Id or alias of the model; GET /v1/models lists them.")


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request that passed.

    Attributes:
        model: The name the caller used, an alias perhaps.
        payload: What the engine gets: a fresh dict with plain JSON values, its ``model`` still the caller's name.
        stream: Whether the answer is wanted as server-sent events.
        include_usage: Whether the stream is to end with a usage chunk.
        keep: Where the answer is to be kept; None for nowhere.
    """

    model: str
    payload: dict[str, Any]
    stream: bool = False
    include_usage: bool = False
    keep: ToKeep | None = None


R = TypeVar("R", bound=Request)


def accept(
    cls: type[R],
    body: Mapping[str, Any],
    *,
    extras: frozenset[str] = NO_EXTRAS,
    refused: Mapping[str, str] | None = None,
) -> tuple[R, dict[str, Any]]:
    """Check a body field by field.

    Args:
        cls: The model of the route's requests.
        body: The caller's JSON object; it is not changed.
        extras: The vendor extras that this installation allows.
        refused: Parameters that the API knows and we cannot honour, each with the reason in words.

    Returns:
        The request, and the caller's fields without those that are null.

    Raises:
        UnsupportedParameter: A field is unknown, not allowed or cannot be honoured; ``param`` names it.
        InvalidRequest: A value is wrong or missing; ``param`` names it.
    """
    fields = _known_fields(cls, body, extras, refused or {})
    try:
        return cls.model_validate(fields), fields
    except ValidationError as error:
        raise refusal(error) from None


def _known_fields(
    cls: type[R], body: Mapping[str, Any], extras: frozenset[str], refused: Mapping[str, str]
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if name not in cls.known and name not in refused:
            raise unknown_parameter(name[:64], name, cls.known - VENDOR_EXTRAS | extras)
        if value is None:
            continue
        if name in refused:
            raise UnsupportedParameter(f"`{name}` is not supported here: {refused[name]}", param=name)
        if name in VENDOR_EXTRAS and cls.known >= VENDOR_EXTRAS and name not in extras:
            raise UnsupportedParameter(f"`{name}` is not enabled on this installation. Remove it.", param=name)
        fields[name] = value
    return fields


def without(fields: Mapping[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    """The fields an engine gets: those that can change its answer."""
    return {name: value for name, value in fields.items() if name not in ignored}


def exactly_one(fields: Mapping[str, Any], names: tuple[str, ...], hint: str) -> str:
    """Which of ``names`` the caller gave.

    Raises:
        InvalidRequest: None, or more than one.
    """
    given = [name for name in names if name in fields]
    if len(given) != 1:
        found = f"not both `{given[0]}` and `{given[1]}`" if given else "none is there"
        raise InvalidRequest(f"{hint}: {found}.", param=given[1] if given else names[0])
    return given[0]
