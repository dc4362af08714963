"""From a JSON object to what a route takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from app.schemas.common import Strict
from app.schemas.problem import refusal

Body = TypeVar("Body", bound=Strict)


def parse(schema: type[Body], body: Mapping[str, Any]) -> Body:
    """The body as what it has to be.

    Raises:
        InvalidRequest: It is not; names the field.
    """
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise refusal(error) from None
