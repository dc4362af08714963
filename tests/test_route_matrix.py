"""Who may call what: every route of the table by every kind of caller.

The routes are read from the application, and what each asks of its caller from its dependencies; what that means for
whom is written here a second time, in ``is_let_in``. A route that declares nothing fails, and so does one whose path
names a thing of somebody's that ``OWNED`` cannot make.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from starlette.routing import Mount

from app.domain.ids import new_id, new_tail, with_prefix
from app.domain.page import PageRequest
from app.domain.stored_chat import StoredChat
from app.domain.stored_response import StoredResponse
from app.domain.user import User
from app.main import PREFIXES
from app.routers.dependencies import PUBLIC, REQUIREMENTS, Admin, Inferrer, Requirement
from app.schemas.assistants import CreateAssistantRequest
from app.schemas.conversations import CreateConversationRequest, parse_added
from app.schemas.threads import CreateThreadRequest
from app.storage.users import now_ms
from tests.support import callers
from tests.support.callers import Caller
from tests.support.gateway import CHAT, STANDARD_MODELS, Gateway, new_user, running_gateway
from tests.support.model_admin import ChangingModels
from tests.support.mongo import MongoServer
from tests.support.people import bearer, key_of
from tests.support.routes import PARAMETER, Entry, others, table, unconnected_app, undeclared
from tests.support.threads import waiting_run
from tests.test_error_shape import assert_error

APP = unconnected_app()
PREFIX = PREFIXES[0]
PLACES = {(entry.method, entry.path) for entry in table(APP, "/")}
ASKED = [
    entry
    for entry in table(APP, "/")
    if entry.path.startswith(PREFIX)
    or (not entry.path.startswith(PREFIXES[1]) and (entry.method, PREFIX + entry.path) not in PLACES)
]
"""Under one prefix, and what has none: the routes of the other prefixes ask for the same."""
GUARDED = [entry for entry in ASKED if entry.requirement is not None]
OPEN = [entry for entry in ASKED if entry.requirement is None]
OWN = [entry for entry in GUARDED if entry.requirement and entry.requirement.who not in ("anyone", "admin")]
"""What is about the caller's own things."""

NO_ENDPOINTS = {"/openapi.json", "/docs/assets"}
"""What FastAPI and Starlette answer by themselves: public."""

WITH_BODY = ("POST", "PUT", "PATCH")


async def new_api_key(gateway: Gateway, owner: User, _: Mapping[str, str]) -> str:
    await key_of(gateway, owner)
    return (await gateway.services.stores.keys.list(PageRequest(limit=1), owner=owner.id)).items[0].id


async def new_conversation(gateway: Gateway, owner: User, _: Mapping[str, str]) -> str:
    wanted = CreateConversationRequest(title="mine")
    return (await gateway.services.conversations.create(owner.id, wanted)).id


async def new_item(gateway: Gateway, owner: User, ids: Mapping[str, str]) -> str:
    conversations = gateway.services.conversations
    (item,) = await conversations.add_items(owner.id, ids["conversation_id"], parse_added({"items": MINE}))
    return item.id


async def new_assistant(gateway: Gateway, owner: User, _: Mapping[str, str]) -> str:
    return (await gateway.services.threads.assistants.create(owner.id, CreateAssistantRequest(model=CHAT))).id


async def new_thread(gateway: Gateway, owner: User, _: Mapping[str, str]) -> str:
    wanted = CreateThreadRequest.model_validate({"messages": MINE})
    return with_prefix((await gateway.services.threads.threads.create(owner.id, wanted, new_tail())).id, "thread")


async def new_message(gateway: Gateway, owner: User, ids: Mapping[str, str]) -> str:
    thread = await gateway.services.threads.threads.get(owner.id, ids["thread_id"])
    return (await gateway.services.threads.messages.list(thread, PageRequest())).items[0].id


async def new_run(gateway: Gateway, owner: User, ids: Mapping[str, str]) -> str:
    """One that waits for its tool's output."""
    return (await waiting_run(gateway.services, owner.id, ids["thread_id"], CHAT)).id


async def new_step(gateway: Gateway, owner: User, ids: Mapping[str, str]) -> str:
    run = await gateway.services.stores.runs.get(owner.id, ids["thread_id"], ids["run_id"])
    assert run is not None
    return run.calls_step


async def new_stored_chat(gateway: Gateway, owner: User, _: Mapping[str, str]) -> str:
    id_, chats = f"chatcmpl-{new_tail()}", gateway.services.stores.stored_chats
    await chats.begin(StoredChat(id_, owner.id, "m", now_ms(), {}, ({"role": "user", "content": "mine now"},), {}))
    await chats.finish(owner.id, id_, {"object": "chat.completion"}, "completed")
    return id_


MINE = [{"role": "user", "content": "mine now"}]


async def new_response(gateway: Gateway, owner: User, _: Mapping[str, str]) -> str:
    body = {"status": "completed"}
    response = StoredResponse(new_id("resp"), owner.id, "completed", 1, body, background=True)
    await gateway.services.stores.responses.insert(response)
    return response.id


OWNED: dict[str, Callable[[Gateway, User, Mapping[str, str]], Awaitable[str]]] = {
    "key_id": new_api_key,
    "conversation_id": new_conversation,
    "item_id": new_item,
    "assistant_id": new_assistant,
    "thread_id": new_thread,
    "message_id": new_message,
    "run_id": new_run,
    "step_id": new_step,
    "completion_id": new_stored_chat,
    "response_id": new_response,
}
"""Makes what a name in a path stands for, where that belongs to a user; its id. Gets the ids that stand before it."""

BODIES: dict[str, dict[str, Any]] = {
    "/conversations/{conversation_id}": {"title": "mine now"},
    "/conversations/{conversation_id}/items": {"items": MINE},
    "/threads/{thread_id}": {"title": "mine now"},
    "/threads/{thread_id}/messages": {"role": "user", "content": "mine now"},
    "/threads/{thread_id}/messages/{message_id}": {"metadata": {"mine": "now"}},
    "/threads/{thread_id}/runs": {"assistant_id": "{assistant_id}"},
    "/threads/{thread_id}/runs/{run_id}": {"metadata": {"mine": "now"}},
    "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs": {
        "tool_outputs": [{"tool_call_id": "call_1", "output": "mine now"}]
    },
    "/chat/completions/{completion_id}": {"metadata": {"mine": "now"}},
}
"""By path below the prefix, what routes are sent that change something; others are sent a name.

What stands in braces is the id of another new thing.
"""

COLLECTIONS = ("api_keys", "sessions", "users", "conversations", "items", "conversation_words", "stored_chats")
COLLECTIONS += ("assistants", "runs", "run_steps")


@dataclass
class Stage:
    """What the matrix is played on: a gateway of its own, beside one that lets nobody in without credentials."""

    gateway: Gateway
    strict: Gateway
    keys: list[Caller]
    nobodies: list[Caller]
    sessions: list[Caller]

    async def known(self, entry: Entry) -> list[Caller]:
        """Everybody whose credential is good; anew where a call may end a session, or a user."""
        return [*(self.sessions if entry.method == "GET" else await callers.sessions(self.gateway)), *self.keys]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder, name = tmp_path_factory.mktemp("state"), "route_matrix"
    models = ChangingModels(list(STANDARD_MODELS.values()))
    async with (
        running_gateway(folder, mongodb.uri, name, models=models) as gateway,
        running_gateway(folder, mongodb.uri, name, anonymous_inference=False) as strict,
    ):
        yield Stage(
            gateway,
            strict,
            await callers.keys(gateway),
            await callers.nobodies(gateway),
            await callers.sessions(gateway),
        )


def is_let_in(caller: Caller, requirement: Requirement) -> bool:
    """Whether somebody whose credential is good may do what asks for this."""
    who = {
        "anyone": {"anonymous", "guest", "guest key", "key", "session", "admin key", "admin session"},
        "identified": {"guest", "guest key", "key", "session", "admin key", "admin session"},
        "signed_in": {"guest", "session", "admin session"},
        "account": {"key", "session", "admin key", "admin session"},
        "admin": {"admin key", "admin session"},
    }[requirement.who]
    return caller.standing in who and requirement.scope in caller.scopes


async def call(gateway: Gateway, entry: Entry, caller: Caller, *, sensible: bool) -> httpx.Response:
    """Call a route for what is not there, with a body that says nothing or, unless ``sensible``, is no JSON."""
    body: dict[str, Any] = {}
    if entry.method in WITH_BODY:
        body = {"content": b"{}" if sensible else b"{", "headers": {"content-type": "application/json"}}
    headers = {**caller.headers, **body.pop("headers", {})}
    query = {} if sensible else {"limit": "many"}
    return await gateway.anonymous.request(entry.method, entry.filled({}), headers=headers, params=query, **body)


def assert_admitted(entry: Entry, caller: Caller, response: httpx.Response) -> None:
    """Fail unless the answer is about what was asked, not about who asked."""
    told = (str(entry), caller.name, response.status_code, response.text[:300])
    if caller.restricted and response.status_code == 403:
        assert response.json()["error"]["code"] == "key_restricted", told
        return
    assert response.status_code in (200, 302, 400, 404, 409, 415), told


# the table itself


def test_every_route_says_what_it_asks_of_its_caller():
    assert undeclared(APP) == []
    assert len(GUARDED) > 30
    assert {entry.requirement for entry in GUARDED} <= set(REQUIREMENTS.values())


def test_a_route_that_says_nothing_or_two_things_is_found():
    app = FastAPI()

    @app.get("/new")
    async def say_nothing() -> None: ...

    @app.get("/twice")
    async def say_two_things(one: Inferrer, two: Admin) -> None: ...

    @app.get("/open", dependencies=[PUBLIC])
    async def be_open() -> None: ...

    @app.get("/both", dependencies=[PUBLIC])
    async def be_open_and_not(caller: Inferrer) -> None: ...

    assert undeclared(app) == ["/new", "/twice", "/both"]


def test_what_is_no_endpoint_is_known_by_name():
    found = {getattr(route, "path", ""): route for route in others(APP)}
    assert set(found) == NO_ENDPOINTS
    assert [path for path, route in found.items() if isinstance(route, Mount)] == ["/docs/assets"]


def test_every_prefix_asks_for_the_same():
    first = {(entry.method, entry.path.removeprefix(PREFIX)): entry.requirement for entry in table(APP, PREFIX)}
    for prefix in PREFIXES[1:]:
        here = {(entry.method, entry.path.removeprefix(prefix)): entry.requirement for entry in table(APP, prefix)}
        assert {place: here[place] for place in first} == first


def test_what_changes_something_is_not_for_those_who_may_read():
    """Reading is GET, and the other way round but for what is older than this API."""
    for entry in GUARDED:
        assert entry.requirement is not None
        if entry.requirement.scope == "read":
            assert entry.method == "GET", str(entry)
        elif entry.method == "GET":
            assert entry.path == "/v1/models/download/{model:path}"


# every route by every caller


@pytest.mark.parametrize("entry", GUARDED, ids=str)
async def test_a_route_lets_in_whom_it_is_for_and_nobody_else(stage: Stage, entry: Entry):
    assert entry.requirement is not None
    gateway = stage.gateway
    anonymous = Caller("nobody", {})
    for caller in (anonymous, *await stage.known(entry)):
        if is_let_in(caller, entry.requirement):
            assert_admitted(entry, caller, await call(gateway, entry, caller, sensible=True))
            continue
        # Refused before anything that they sent is looked at.
        response = await call(gateway, entry, caller, sensible=False)
        if caller is anonymous:
            assert_error(response, 401, "missing_credentials", None)
        else:
            assert response.status_code == 403, (caller.name, response.status_code, response.text)
            assert_error(response, 403, None, None)
    for caller in stage.nobodies:
        response = await call(gateway, entry, caller, sensible=False)
        assert response.status_code == 401, (caller.name, response.status_code, response.text)
        assert_error(response, 401, caller.refused, None)
    assert_error(await call(stage.strict, entry, anonymous, sensible=False), 401, "missing_credentials", None)


@pytest.mark.parametrize("entry", OPEN, ids=str)
async def test_a_public_route_turns_nobody_away_for_who_they_are(stage: Stage, entry: Entry):
    # Those that go on with a session or end one say themselves that there is none.
    allowed = (200, 302, 400, 401, 404) if entry.path.startswith(f"{PREFIX}/auth/") else (200, 404)
    nobody = Caller("nobody", {})
    calls = [(stage.strict, nobody), *((stage.gateway, each) for each in (nobody, *await stage.known(entry)))]
    for gateway, caller in (*calls, *((stage.gateway, each) for each in stage.nobodies)):
        response = await call(gateway, entry, caller, sensible=True)
        not_set_up = response.status_code == 503 and response.json()["error"]["code"] == "not_configured"
        assert response.status_code in allowed or not_set_up, (caller.name, response.status_code, response.text[:300])


@pytest.mark.parametrize("path", sorted(NO_ENDPOINTS - {"/docs/assets"} | {"/docs/assets/swagger-ui.css"}))
async def test_the_description_and_the_reference_are_public(stage: Stage, path: str):
    for headers in ({}, bearer("sk-123")):
        assert (await stage.strict.anonymous.get(path, headers=headers)).status_code == 200


# what belongs to others


@pytest.mark.parametrize("entry", [entry for entry in OWN if entry.parameters], ids=str)
async def test_what_is_anothers_is_not_there(stage: Stage, entry: Entry):
    gateway = stage.gateway
    unknown = [name for name in entry.parameters if name not in OWNED]
    assert not unknown, f"nobody knows how to make {unknown}: add it to OWNED"
    one, other = await new_user(gateway.services), await new_user(gateway.services)
    said = json.dumps(BODIES.get(entry.path.removeprefix(PREFIX), {"name": "mine now"}))
    ids = await made(gateway, one, [*entry.parameters, *PARAMETER.findall(said)])
    body = {"json": json.loads(PARAMETER.sub(lambda named: ids[named[1]], said))} if entry.method in WITH_BODY else {}
    mine, theirs = await key_of(gateway, one), await key_of(gateway, other)

    async def send(path: str, headers: dict[str, str]) -> httpx.Response:
        return await gateway.anonymous.request(entry.method, path, headers=headers, **body)

    before = await everything_of(gateway, one)
    refused = await send(entry.filled(ids), theirs)
    assert_error(refused, 404)
    nothing = await send(entry.filled({name: id_[:-1] + "0" for name, id_ in ids.items()}), theirs)
    assert (refused.status_code, refused.json()) == (nothing.status_code, nothing.json())
    assert await everything_of(gateway, one) == before
    assert (await send(entry.filled(ids), mine)).status_code == 200, "its owner would have been let"


@pytest.mark.parametrize("entry", [entry for entry in OWN if entry.method == "GET" and not entry.parameters], ids=str)
async def test_what_is_anothers_is_in_no_list(stage: Stage, entry: Entry):
    gateway = stage.gateway
    one, other = await new_user(gateway.services), await new_user(gateway.services)
    ids = (await made(gateway, one, OWNED)).values()
    theirs = await key_of(gateway, other)
    for query in ({}, {"owner": one.id}, {"user": one.id}, {"limit": 100}):
        response = await gateway.anonymous.get(entry.path, params=query, headers=theirs)
        assert response.status_code == 200
        assert not [id_ for id_ in (*ids, one.id) if id_ in response.text]


async def made(gateway: Gateway, owner: User, names: Iterable[str]) -> dict[str, str]:
    """New things of somebody's, by their names in paths."""
    ids: dict[str, str] = {}
    for name in names:
        ids[name] = await OWNED[name](gateway, owner, ids)
    return ids


async def everything_of(gateway: Gateway, user: User) -> list[dict[str, Any]]:
    """Every document that is theirs, or them."""
    database = gateway.services.database
    documents: list[dict[str, Any]] = []
    for name in COLLECTIONS:
        found = database.collection(name).find({"$or": [{"owner": user.id}, {"_id": user.id}]})
        documents += await found.sort("_id").to_list(100)
    # That a key was used is noted when nobody waits for it.
    return [{**document, "last_used_at_ms": None} for document in documents]
