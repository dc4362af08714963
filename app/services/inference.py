"""One request to a model, in the order things happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.domain.model_spec import Capability, ModelSpec, RequestLimits
from app.domain.principal import Principal
from app.errors import InvalidRequest, PermissionDenied
from app.schemas.json_body import is_array
from app.schemas.request import ParsedRequest
from app.services import Services
from app.services.admission import Work
from app.services.backend import EngineRequest, EngineResponse
from app.services.catalog import CatalogEntry, check_available
from app.services.relay import Relay

OUTPUT_CAPS = ("max_tokens", "max_completion_tokens")
PROMPT = ("tools", "system", "messages", "prompt")
"""What the engine reads, in the order in which chat templates have it."""

UNKNOWN_LENGTH = 4096
"""The context of a model that has not told yet."""

COMPLETION_TOKENS = 16
"""Of a completion whose caller named no number."""

GENERATIVE = frozenset(("/v1/chat/completions", "/v1/completions", "/v1/messages"))


@dataclass(frozen=True, slots=True)
class Route:
    """A kind of inference: the engine's path, and what a model must be able to do (None: any model can)."""

    path: str
    capability: Capability | None


async def infer(
    services: Services, caller: Principal, route: Route, parsed: ParsedRequest, state: dict[str, Any]
) -> Relay:
    """Turn a checked request into a response that runs it.

    Args:
        services: This process's.
        caller: Who asks.
        route: Where it goes.
        parsed: What the caller asked for.
        state: The request's state; gets ``model`` for the log line.

    Raises:
        ModelNotFound: No model has this name.
        InvalidRequest: The model cannot do it, or not with so many tokens.
        ModelFailed: The model could not be started.
        PermissionDenied: The caller's key is for other models.
        RateLimited: It would be more than the caller may use.
    """
    entry = services.catalog.current().able(parsed.model, route.capability)
    spec = entry.spec
    state["model"] = spec.id
    check_allowed(caller, spec)
    check_available(entry)
    check_output_cap(entry, parsed.payload)
    body = _body_for(route, spec, parsed.payload)
    work = Work(route.path, len(body), output_bound(route, entry, parsed.payload), stream=parsed.stream)
    metered = await services.admission.begin(caller, spec, work, state)
    request = EngineRequest(
        path=route.path,
        body=body,
        request_id=state["request_id"].removeprefix("req_"),
        model=parsed.model,
        account=metered.account,
        share=services.admission.share(caller, spec, work),
    )

    async def fetch() -> EngineResponse:
        return await services.backend.send(spec, request, metered)

    return Relay(
        fetch,
        stream=parsed.stream,
        keepalive_s=services.settings.stream_keepalive_s,
        error_event="error" if route.path == "/v1/messages" else None,
        watch=metered,
    )


def check_allowed(caller: Principal, spec: ModelSpec) -> None:
    """Refuse models that the caller's key is not for; it names those it is for by id or alias.

    Raises:
        PermissionDenied: This is none of them.
    """
    if caller.models is not None and caller.models.isdisjoint((spec.id, *spec.aliases)):
        raise PermissionDenied(
            f"This API key may not use the model {spec.id!r}. It is for {', '.join(sorted(caller.models))[:512]}.",
            param="model",
            code="model_not_allowed",
        )


def _body_for(route: Route, spec: ModelSpec, payload: Mapping[str, Any]) -> bytes:
    # The engine knows its model by id alone; the caller's name for it travels beside the body.
    # Prompt first: bodies that begin alike are prompts that begin alike, which is how replicas are chosen.
    body = {**{name: payload[name] for name in PROMPT if name in payload}, **payload, "model": spec.id}
    tokens = _default_tokens(route, spec.limits)
    if tokens is not None and not any(name in payload for name in OUTPUT_CAPS):
        body["max_tokens"] = tokens
    return msgspec.json.encode(body)


def _default_tokens(route: Route, limits: RequestLimits) -> int | None:
    # A completion without a number ends after 16 tokens, as with OpenAI: only a chat goes on for as long as it likes.
    if route.capability == "chat" and limits.default_output_tokens is not None and route.path in GENERATIVE:
        return limits.default_output_tokens
    return limits.max_output_tokens if route.path in GENERATIVE else None


def output_bound(route: Route, entry: CatalogEntry, payload: Mapping[str, Any]) -> int:
    """The most tokens that all of a request's answers may have together."""
    if route.path not in GENERATIVE:
        return 0
    # Both may be there, and which of them engines go by is theirs to say.
    asked = max((payload[name] for name in OUTPUT_CAPS if name in payload), default=None)
    each = asked or _default_tokens(route, entry.spec.limits)
    if each is None:
        each = entry.state.max_model_len or UNKNOWN_LENGTH if route.capability == "chat" else COMPLETION_TOKENS
    return each * payload.get("n", 1) * _prompts(payload.get("prompt"))


def _prompts(prompt: Any) -> int:
    """How many a completion has: a list of tokens is one, a list of texts or of lists of tokens as many as it holds."""
    if not is_array(prompt) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def check_output_cap(entry: CatalogEntry, payload: Mapping[str, Any]) -> None:
    """Refuse an answer longer than the model gives.

    Raises:
        InvalidRequest: The caller asked for more output tokens than the model's maximum.
    """
    maximum = entry.spec.limits.max_output_tokens or entry.state.max_model_len
    for name in OUTPUT_CAPS:
        if maximum is not None and payload.get(name, 0) > maximum:
            raise InvalidRequest(
                f"{name} is {payload[name]}; this model gives at most {maximum} tokens. Ask for {maximum} or fewer.",
                param=name,
            )
