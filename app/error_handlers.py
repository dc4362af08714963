"""Every way a framework can say no, in the one shape that we say it in."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound


def add_error_handlers(app: FastAPI) -> None:
    """Teach ``app`` to answer errors as ``app.errors`` writes them."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)


async def _api_error(_: Request, error: Exception) -> Response:
    return render(cast(ApiError, error))


def render(error: ApiError) -> Response:
    """The error as a response."""
    return Response(error.json(), error.status, error.headers, "application/json")


async def _http_exception(request: Request, error: Exception) -> Response:
    exception = cast(HTTPException, error)
    if exception.status_code == 405:
        allowed = (exception.headers or {}).get("Allow", "")
        message = f"{request.method} is not allowed here{f'; use {allowed}' if allowed else ''}."
        return render(MethodNotAllowed(message, headers=exception.headers))
    if exception.status_code == 404:
        return render(NotFound(f"There is nothing at {request.method} {request.scope['path'][:256]}. See /docs."))
    return render(InvalidRequest(str(exception.detail)))


async def _validation_error(_: Request, error: Exception) -> Response:
    first: dict[str, Any] = cast(RequestValidationError, error).errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return render(InvalidRequest(f"{name}: {first['msg']}.", param=name or None))
