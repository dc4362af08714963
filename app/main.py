"""The composition root: what the service is made of, in the order a request meets it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import partial

from fastapi import FastAPI

from app import openapi
from app.domain.limit_headers import EXPOSED
from app.error_handlers import add_error_handlers
from app.middleware.body_limit import BodyLimitMiddleware
from app.middleware.cors import CrossOriginMiddleware
from app.middleware.request_context import RequestContextMiddleware
from app.middleware.unexpected import UnexpectedErrorMiddleware
from app.routers import (
    admin,
    assistants,
    auth,
    conversations,
    docs,
    export,
    health,
    inference,
    limits,
    model_admin,
    models,
    organization,
    organization_projects,
    organization_service_accounts,
    organization_usage,
    responses,
    runs,
    sign_in,
    stored_chats,
    threads,
    usage,
    user,
)
from app.routers.idempotent import REPLAYED
from app.services import Services
from app.services.bootstrap import bootstrap
from app.services.responses.background import work
from app.services.threads.worker import RunWorker

PREFIXES = ("/v1", "/api/v1", "")
"""Where every resource is mounted; the first is the one that the API reference shows."""


ROUTERS = (
    inference.router,
    assistants.router,
    # Before threads: /threads/runs is no thread.
    runs.router,
    threads.router,
    stored_chats.router,
    responses.router,
    model_admin.router,
    models.router,
    auth.router,
    sign_in.router,
    user.router,
    usage.router,
    admin.router,
    organization.router,
    organization_projects.router,
    organization_service_accounts.router,
    limits.router,
    conversations.router,
    export.router,
    organization_usage.router,
    health.router,
)
BODIES = (
    *inference.BODIES,
    *assistants.BODIES,
    *threads.BODIES,
    *runs.BODIES,
    *stored_chats.BODIES,
    *responses.BODIES,
    *model_admin.BODIES,
    *auth.BODIES,
    *sign_in.BODIES,
    *user.BODIES,
    *admin.BODIES,
    *organization.BODIES,
    *organization_projects.BODIES,
    *organization_service_accounts.BODIES,
    *limits.BODIES,
    *conversations.BODIES,
)
"""What endpoints take that parse their bodies themselves."""


def create_app(services: Services) -> FastAPI:
    """The gateway over these services. Runs under any ASGI server."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await services.start()
        # Not awaited: the gateway answers, with 503 where it must, while the database is still on its way.
        preparing = asyncio.create_task(bootstrap(services))
        try:
            yield
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
            await services.close()

    app = FastAPI(
        title="Manta",
        summary="Serverless-style model serving on Ray: one OpenAI-compatible service in front of many models.",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    services.threads.jobs.worker = RunWorker(services)
    services.responses.background.take_over = partial(work, services)

    # Starlette runs the last one added first.
    app.add_middleware(BodyLimitMiddleware, max_bytes=services.settings.max_body_bytes)
    # Inside of CORS: a browser's script may read this error like any other.
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(
        CrossOriginMiddleware,
        allow_origins=services.settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "openai-processing-ms", "retry-after", REPLAYED, *EXPOSED],
        max_age=86_400,
    )
    app.add_middleware(RequestContextMiddleware)

    add_error_handlers(app)

    app.include_router(health.probes)
    app.include_router(auth.keys)
    for prefix in PREFIXES:
        for router in ROUTERS:
            app.include_router(router, prefix=prefix, include_in_schema=prefix == PREFIXES[0])
    app.include_router(docs.router)
    app.mount(docs.ASSETS_PATH, docs.assets())
    openapi.describe(app, BODIES)
    return app
