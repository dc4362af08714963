"""Changes to the objects of vLLM's application, so that its answers and chunks are right when they are made.

Nothing here imports vLLM: it gets the objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from deployments.engines import conform
from deployments.engines.base import ROUTES
from deployments.engines.vllm_app import CALL


def strip(inner: Any) -> set[str]:
    """Take from vLLM's application what nobody may or needs to reach; return the routes that are left."""
    inner.router.routes = [route for route in inner.router.routes if getattr(route, "path", None) in ROUTES]
    inner.user_middleware.clear()
    inner.middleware_stack = None
    inner.add_exception_handler(RequestValidationError, _refuse_body)
    return {route.path for route in inner.router.routes}


def adapt(state: Any) -> str | None:
    """Make vLLM's handlers answer as the ``Call`` says.

    Args:
        state: The state of vLLM's application.

    Returns:
        The fingerprint that whole answers carry, None for a model that generates nothing.
    """
    models = state.openai_serving_models
    models.model_name = _named_by_caller(models.model_name)
    handlers = [
        handler
        for name in ("openai_serving_chat", "openai_serving_completion", "anthropic_serving_messages")
        if (handler := getattr(state, name, None)) is not None
    ]
    for handler in handlers:
        handler.create_streaming_error_response = _told_to_call(handler.create_streaming_error_response)
        if hasattr(handler, "_create_chat_logprobs"):
            handler._create_chat_logprobs = _with_refusal(handler._create_chat_logprobs)
        if getattr(handler, "_include_reasoning_tokens_details", False):
            handler._make_parser = _shown_to_call(handler._make_parser)
    return handlers[0].system_fingerprint if handlers else None


def with_fingerprint(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a chunk, with the fingerprint that whole answers carry."""
    call = CALL.get(None)
    if call is not None and call.fingerprint is not None:
        data.setdefault("system_fingerprint", call.fingerprint)
    return data


async def _refuse_body(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    CALL.get().error = conform.invalid_body(error.errors(), error.body)
    return Response(status_code=400)


def _named_by_caller(original: Callable[..., str]) -> Callable[..., str]:
    def model_name(lora_request: Any = None) -> str:
        call = CALL.get(None)
        return (call.model if call is not None else None) or original(lora_request)

    return model_name


def _told_to_call(original: Callable[..., str]) -> Callable[..., str]:
    def create_streaming_error_response(*args: Any, **kwargs: Any) -> str:
        event = original(*args, **kwargs)
        body, call = msgspec.json.decode(event), CALL.get()
        call.error = conform.error(call.path, body["error"]["code"], body)
        return event

    return create_streaming_error_response


def _shown_to_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def make_parser(*args: Any, **kwargs: Any) -> Any:
        parser = original(*args, **kwargs)
        CALL.get().sequences.parse_with(parser)
        return parser

    return make_parser


def _with_refusal(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_chat_logprobs(*args: Any, **kwargs: Any) -> Any:
        logprobs = original(*args, **kwargs)
        logprobs.refusal = None
        for entry in logprobs.content or ():
            # Chunks leave out what was not set, and these must be there.
            entry.model_fields_set.update(("logprob", "bytes", "top_logprobs"))
        return logprobs

    return create_chat_logprobs


def hints(arguments: type) -> dict[str, Any]:
    """What a class of arguments says of their types."""
    # Some of vLLM's hints name what only a type checker imports: those arguments are not checked ahead.
    unknown: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(arguments, localns=unknown)
        except NameError as error:
            if error.name is None or error.name in unknown:
                return {}
            unknown[error.name] = Any


def unless_null() -> Any:
    """A field that is left out where it is null."""
    return Field(default=None, exclude_if=_is_null)


def _is_null(value: Any) -> bool:
    return value is None
