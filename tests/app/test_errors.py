from __future__ import annotations

import inspect
import json
import pickle
import re

import pytest

from app import errors
from app.errors import ApiError, AuthenticationFailed, ServiceUnavailable

Row = tuple[str, int, str, str | None]
ROW = re.compile(r"^\s{4}(?P<branch>[│├└─ ]*)(?P<name>\w+)\s+(?P<status>\d{3})\s+(?P<type>\w+)\s+(?P<code>\w+)$")
CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ApiError)]


def _drawn() -> dict[str, tuple[str, Row]]:
    """The tree in the module's docstring: class name -> parent's name and what stands beside it."""
    drawn: dict[str, tuple[str, Row]] = {}
    path: list[str] = ["ApiError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := ROW.match(line):
            depth = len(match["branch"]) // 4
            path = [*path[:depth], match["name"]]
            code = None if match["code"] == "None" else match["code"]
            drawn[match["name"]] = (path[depth - 1], (match["name"], int(match["status"]), match["type"], code))
    return drawn


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    real = {
        cls.__name__: (cls.__mro__[1].__name__, (cls.__name__, cls.status, cls.type, cls.default_code))
        for cls in CLASSES
        if cls is not ApiError
    }
    assert _drawn() == real


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_the_four_fields(cls: type[ApiError]):
    body = cls("What went wrong.").body()
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert body["error"]["message"] == "What went wrong."
    assert body["error"]["param"] is None
    assert body["error"]["code"] == cls.default_code


def test_param_and_code_are_told():
    error = errors.InvalidRequest("No.", param="messages[0].content", code="too_long")
    assert error.body() == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "param": "messages[0].content",
            "code": "too_long",
        }
    }


def test_an_event_is_one_line_whatever_the_message_holds():
    event = ApiError("two\nlines\r\nand\u2028more").event()
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert b"\n" not in event[:-2]
    assert b"\r" not in event
    assert json.loads(event[len(b"data: ") :]) == ApiError("two\nlines\r\nand\u2028more").body()


def test_whoever_is_not_known_is_told_how_to_say_who_they_are():
    assert AuthenticationFailed("Who?").headers == {"WWW-Authenticate": 'Bearer realm="manta"'}


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.4, "2"), (29.6, "30")])
def test_whoever_comes_too_early_is_told_when_to_come_back(seconds: float, header: str):
    assert ServiceUnavailable("Later.", retry_after_s=seconds).headers == {"Retry-After": header}


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_from_another_process(cls: type[ApiError]):
    error = cls("What went wrong.")
    error.param, error.code, error.headers["x-should-retry"] = "model", "special", "false"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (again.message, again.param, again.code, again.headers) == (
        error.message,
        error.param,
        error.code,
        error.headers,
    )
