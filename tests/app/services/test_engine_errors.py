"""What an engine says went wrong is told as one of our errors."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import EngineCrashed, InvalidRequest, ServerError, ServiceUnavailable
from app.services.engine_errors import error_of


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("Too long.", param="messages", code="context_length_exceeded"), InvalidRequest),
        (ServiceUnavailable("Full."), ServiceUnavailable),
        (ServerError("Oh."), ServerError),
        (EngineCrashed("It died."), EngineCrashed),
    ],
)
def test_our_own_errors_come_back_as_they_were(error: Any, kind: type[Any]) -> None:
    again = error_of(error.body()["error"])
    assert type(again) is kind
    assert again.body() == error.body()


@pytest.mark.parametrize("odd", [{}, {"message": 5, "type": [], "code": {}, "param": 1}, {"message": ""}])
def test_whatever_is_odd_is_the_engines_fault(odd: dict[str, Any]) -> None:
    assert isinstance(error_of(odd), ServerError)
    assert error_of(odd).message
