"""The gateway as it is deployed, but for Ray: ``create_app`` under uvicorn on a free port, over scripted engines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from app.domain.api_key import ApiKey
from app.domain.key_record import KeyRecord
from app.domain.limit_table import LimitTable
from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState
from app.domain.principal import Role, Scope
from app.domain.user import ADMIN_ID, User, new_user_id
from app.main import create_app
from app.services import Services, build_services
from app.services.backend import UNMETERED, EngineRequest, EngineResponse, Meter, ModelBackend
from app.services.bootstrap import with_secrets
from app.services.catalog import Catalog, CatalogEntry, StaticCatalog
from app.services.inprocess import InProcessBackend
from app.settings import Settings
from app.storage.users import now_ms
from deployments.engines.scripted import ScriptedEngine
from tests.support.brief import Brief
from tests.support.model_admin import ChangingModels
from tests.support.mongo import MongoServer
from tests.support.ports import bound_socket
from tests.support.routes_once import routes_once

SECRET = "the tests' secret, long enough to be one"
CHAT, EMBEDDER, BROKEN, OFF = "scripted-chat", "org/embedder", "broken-model", "switched-off"

Sender = Callable[[ModelSpec, EngineRequest], Awaitable[EngineResponse]]


def scripted(id_: str = CHAT, **fields: Any) -> ModelSpec:
    """A model of the scripted engine."""
    return ModelSpec.model_validate({"id": id_, "engine": "scripted", **fields})


STANDARD_MODELS: dict[str, CatalogEntry] = {
    entry.spec.id: entry
    for entry in (
        CatalogEntry(
            scripted(
                aliases=["chat-alias", "vendor/chat"],
                limits={"max_output_tokens": 512},
                engine_args={"max_model_len": 2048, "error_on": "[error]", "error_after_tokens": 3},
            ),
            ModelState("ready", replicas=1, max_model_len=2048),
            created=1_700_000_000,
        ),
        CatalogEntry(
            scripted(EMBEDDER, capabilities=["embeddings", "rerank", "score"], owned_by="org"),
            ModelState("ready", replicas=2, max_model_len=8192),
        ),
        CatalogEntry(scripted(BROKEN), ModelState("failed", detail="its weights are not there")),
        CatalogEntry(scripted(OFF), ModelState("disabled")),
    )
}


@dataclass
class WatchedBackend:
    """Counts what reaches the engines; a test can put itself in their place with ``sender``."""

    inner: ModelBackend
    requests: list[EngineRequest] = field(default_factory=list)
    sender: Sender | None = None

    async def send(self, spec: ModelSpec, request: EngineRequest, meter: Meter = UNMETERED) -> EngineResponse:
        self.requests.append(request)
        if self.sender is not None:
            return await self.sender(spec, request)
        return await self.inner.send(spec, request, meter)

    @contextlib.contextmanager
    def replaced(self, sender: Sender) -> Iterator[None]:
        """Let ``sender`` answer for a while."""
        self.sender = sender
        try:
            yield
        finally:
            self.sender = None


@dataclass(repr=False)
class Gateway(Brief):
    """A gateway under test.

    Attributes:
        client: Speaks HTTP to it with the admin's key.
        anonymous: The same without a key.
    """

    app: FastAPI
    services: Services
    backend: WatchedBackend
    engines: Mapping[str, ScriptedEngine]
    key: str
    url: str
    client: httpx.AsyncClient
    anonymous: httpx.AsyncClient

    def __repr__(self) -> str:
        return f"<gateway at {self.url}>"

    async def new_key(self, *scopes: Scope, **changes: Any) -> str:
        """The value of another key of the admin's."""
        return await new_key(self.services, *scopes, **changes)


async def new_key(services: Services, *scopes: Scope, owner: str = ADMIN_ID, **changes: Any) -> str:
    """Store a key, the admin's unless somebody else is named, its document changed as told."""
    secret = services.settings.secret()
    key = ApiKey.mint(secret)
    if owner == ADMIN_ID:
        await services.stores.users.ensure(ADMIN_ID, name="Admin", role="admin")
    record = KeyRecord(
        f"key_{key.id}", owner, "test", key.redacted, scopes or ("read", "write", "admin"), created_at_ms=now_ms()
    )
    await services.stores.keys.insert(record, key.digest(secret))
    if changes:
        keys = services.database.collection("api_keys")
        await keys.update_one({"_id": record.id}, {"$set": changes})
    return key.value


async def new_user(services: Services, role: Role = "user", **fields: Any) -> User:
    """Store a user."""
    user = User(new_user_id(), role, fields.pop("name", "Somebody"), now_ms(), **fields)
    await services.stores.users.insert(user)
    return user


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the test run keeps its own


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Run an ASGI application under uvicorn in this loop; its URL."""
    listener = bound_socket()
    options = {
        "timeout_graceful_shutdown": 5,
        # Longer than any client keeps a connection, and than a machine stands still: after a pause, one that the server
        # is about to close must not be given a request.
        "timeout_keep_alive": 3600,
        **options,
    }
    config = uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False, **options)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            assert not task.done(), "uvicorn ended"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@contextlib.asynccontextmanager
async def running_gateway(
    state_dir: Path,
    mongodb_uri: str,
    database_name: str,
    entries: Sequence[CatalogEntry] = tuple(STANDARD_MODELS.values()),
    models: ChangingModels | None = None,
    limits: LimitTable | None = None,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway with engines of its own; its models are ``models``, and its limits ``limits``, if given."""
    engines = {entry.spec.id: ScriptedEngine(entry.spec, die=lambda: None) for entry in entries}
    for engine in engines.values():
        await engine.start(lambda *_: None)
    backend = WatchedBackend(InProcessBackend({id_: engine.app() for id_, engine in engines.items()}))
    values = {
        "state_dir": state_dir,
        "secret_key": SECRET,
        "profile": "development",
        "mongodb_database": database_name,
        # Far above what anything takes: a busy machine is no outage.
        "mongodb_timeout_s": 30,
        "limits_timeout_s": 30,
        **settings,
    }
    services = build_services(
        with_secrets(Settings.load(**values)),
        mongodb_uri,
        models or StaticCatalog(Catalog.of(entries)),
        backend,
        models,
        limits=limits,
    )
    await services.stores.prepare()
    key = await new_key(services)
    with routes_once.kept():
        app = create_app(services)
    bearer = {"authorization": f"Bearer {key}"}
    try:
        async with (
            serving(app) as url,
            # There is no certificate to check, and to read those of the machine takes longer than most tests.
            httpx.AsyncClient(base_url=url, headers=bearer, timeout=60, verify=False) as client,
            httpx.AsyncClient(base_url=url, timeout=60, verify=False) as anonymous,
        ):
            # Tests share them: what one was given must not speak for the next.
            for each in (client, anonymous):
                each.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            yield Gateway(app, services, backend, engines, key, url, client, anonymous)
    finally:
        for engine in engines.values():
            await engine.stop()
        await services.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The run's gateway: for tests that change nothing."""
    async with running_gateway(tmp_path_factory.mktemp("state"), mongodb.uri, "gateway") as running:
        yield running


GatewayFactory = Callable[..., contextlib.AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def new_gateway(mongodb: MongoServer, tmp_path: Path, database_name: str) -> GatewayFactory:
    """Makes gateways that differ from the standard one: ``async with new_gateway(entries, **settings)``."""

    def make(
        entries: Sequence[CatalogEntry] = tuple(STANDARD_MODELS.values()), **settings: Any
    ) -> contextlib.AbstractAsyncContextManager[Gateway]:
        return running_gateway(tmp_path, mongodb.uri, database_name, entries, **settings)

    return make
