"""One request to a model, in the order things happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.domain.model_spec import Capability, ModelSpec, RequestLimits
from app.domain.principal import Principal
from app.errors import ApiError, InvalidRequest, PermissionDenied, ServerError
from app.schemas.json_body import is_array
from app.schemas.request import ParsedRequest
from app.services import Services
from app.services.admission import Work
from app.services.backend import EngineRequest, EngineResponse, Fetch, ModelBackend
from app.services.catalog import CatalogEntry, check_available
from app.services.metering import MeteredRequest
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


CHAT = Route("/v1/chat/completions", "chat")

Wrap = Callable[[EngineResponse], EngineResponse]
"""Puts itself between an engine's answer and whoever reads it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was let in, and has not been sent yet.

    Whoever has one either sends it or calls ``abandon``, so that what was reserved for it is given back.

    Attributes:
        entry: The model that it goes to.
        metered: Hears how it does.
    """

    entry: CatalogEntry
    route: Route
    parsed: ParsedRequest
    request: EngineRequest
    metered: MeteredRequest
    backend: ModelBackend

    @property
    def spec(self) -> ModelSpec:
        """The model that it goes to."""
        return self.entry.spec

    async def fetch(self) -> EngineResponse:
        """Send it; returns when the answer's first bytes are here.

        Raises:
            ApiError: See ``ModelBackend.send``.
        """
        return await self.backend.send(self.spec, self.request, self.metered)

    def abandon(self, error: BaseException) -> None:
        """It will not be sent."""
        self.metered.over("failed", error.status if isinstance(error, ApiError) else ServerError.status)


async def infer(  # noqa: PLR0913, PLR0917 - the fewest there can be
    services: Services,
    caller: Principal,
    route: Route,
    parsed: ParsedRequest,
    state: dict[str, Any],
    wrap: Wrap | None = None,
) -> Relay:
    """Turn a checked request into a response that runs it.

    Args:
        services: This process's.
        caller: Who asks.
        route: Where it goes.
        parsed: What the caller asked for.
        state: The request's state; gets ``model`` for the log line.
        wrap: Gets the answer first.

    Raises:
        ApiError: See ``prepare``.
    """
    return relayed(services, await prepare(services, caller, route, parsed, state), wrap)


async def prepare(  # noqa: PLR0913, PLR0917 - as above
    services: Services,
    caller: Principal,
    route: Route,
    parsed: ParsedRequest,
    state: dict[str, Any],
    answer_id: str | None = None,
) -> Prepared:
    """Let a request in; nothing of it has been sent yet.

    Args:
        answer_id: What the engine makes the answer's id of; None for the request's own.

    Raises:
        ModelNotFound: No model has this name.
        InvalidRequest: The model cannot do it, or not with so many tokens.
        ModelFailed: The model could not be started.
        PermissionDenied: The caller's key is for other models.
        RateLimited: It would be more than the caller may use.
    """
    entry = able(services, caller, route, parsed.model, state)
    spec = entry.spec
    check_output_cap(entry, parsed.payload)
    body = _body_for(route, spec, parsed.payload)
    work = Work(route.path, len(body), output_bound(route, entry, parsed.payload), stream=parsed.stream)
    metered = await services.admission.begin(caller, spec, work, state)
    request = EngineRequest(
        path=route.path,
        body=body,
        request_id=answer_id or state["request_id"].removeprefix("req_"),
        model=parsed.model,
        account=metered.account,
        share=services.admission.share(caller, spec, work),
    )
    return Prepared(entry, route, parsed, request, metered, services.backend)


def relayed(services: Services, prepared: Prepared, wrap: Wrap | None = None, *, fetch: Fetch | None = None) -> Relay:
    """The response that sends what is prepared, by ``fetch`` if that is given, and relays the answer."""
    return Relay(
        fetch or (prepared.fetch if wrap is None else _wrapped(prepared, wrap)),
        stream=prepared.parsed.stream,
        keepalive_s=services.settings.stream_keepalive_s,
        error_event="error" if prepared.route.path == "/v1/messages" else None,
        watch=prepared.metered,
    )


def _wrapped(prepared: Prepared, wrap: Wrap) -> Fetch:
    async def fetch() -> EngineResponse:
        return wrap(await prepared.fetch())

    return fetch


def able(services: Services, caller: Principal, route: Route, model: str, state: dict[str, Any]) -> CatalogEntry:
    """The model with this name, if it can do this and the caller may have it do so; ``state`` is told its id.

    Raises:
        ModelNotFound: No model has this name.
        InvalidRequest: The model cannot do it.
        ModelFailed: The model could not be started.
        PermissionDenied: The caller's key is for other models.
    """
    entry = services.catalog.current().able(model, route.capability)
    state["model"] = entry.spec.id
    check_allowed(caller, entry.spec)
    check_available(entry)
    return entry


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
    each = asked_tokens(route, entry.spec.limits, payload)
    if each is None:
        each = entry.state.max_model_len or UNKNOWN_LENGTH if route.capability == "chat" else COMPLETION_TOKENS
    return each * payload.get("n", 1) * _prompts(payload.get("prompt"))


def asked_tokens(route: Route, limits: RequestLimits, payload: Mapping[str, Any]) -> int | None:
    """The most tokens that one answer may have; None where nobody said so."""
    # Both may be there, and which of them engines go by is theirs to say.
    asked = max((payload[name] for name in OUTPUT_CAPS if name in payload), default=None)
    return asked or _default_tokens(route, limits)


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
