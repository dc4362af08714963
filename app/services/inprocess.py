"""A ModelBackend over ASGI engines in this very process: development without Ray, tests, the overhead benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.domain.model_spec import ModelSpec
from app.errors import ApiError, EngineCrashed
from app.services.asgi_call import ASGIApp, AsgiCall, Scope, post_scope
from app.services.backend import UNMETERED, EngineRequest, EngineResponse, Meter, forget_nothing

MODEL_HEADER = b"x-manta-model"
"""Tells an engine which name its answer has to carry: the one the caller used, an alias perhaps."""


def engine_call(app: ASGIApp, request: EngineRequest, gave: Callable[[int], None] | None = None) -> AsgiCall:
    """The call that brings ``request`` to an engine's ASGI application; ``gave`` hears how far its answer is."""
    return AsgiCall(app, request.path, request.body, _headers(request), gave)


def engine_scope(request: EngineRequest) -> Scope:
    """The scope of that call, for whoever makes it without ``AsgiCall``."""
    return post_scope(request.path, _headers(request))


def _headers(request: EngineRequest) -> list[tuple[bytes, bytes]]:
    return [(b"x-request-id", request.request_id.encode()), (MODEL_HEADER, request.model.encode())]


class InProcessBackend:
    """Engines by model id."""

    def __init__(self, engines: Mapping[str, ASGIApp]) -> None:
        self._engines = engines

    async def send(self, spec: ModelSpec, request: EngineRequest, meter: Meter = UNMETERED) -> EngineResponse:
        """Call the model's engine; see ``ModelBackend.send``."""
        call = engine_call(self._engines[spec.id], request)
        meter.began()
        try:
            await call.start(lambda usage: meter.ended(usage, forget_nothing))
        except ApiError:
            raise
        except Exception as error:
            raise EngineCrashed("The model's engine died while working on this request. Try again.") from error
        return call
