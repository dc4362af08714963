"""Responses in the background: without their callers, on whichever gateway there is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from app.domain.model_state import ModelState
from app.domain.stored_response import StoredResponse
from app.domain.user import ADMIN_ID
from app.errors import DatabaseUnavailable
from app.services.answers.keeping import Keeping
from app.services.catalog import CatalogEntry
from app.services.responses import feeds
from app.services.responses.translation import Translation
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_key, new_user, running_gateway, scripted
from tests.support.gateway_process import NO_LONGER_SLOW, SLOW, GatewayProcesses
from tests.support.mongo import MongoServer
from tests.support.openai_schema import validate
from tests.support.response_events import valid_events
from tests.support.responses import create, get, post, text_of, until_over

LONG: dict[str, Any] = {"background": True, "max_output_tokens": 60}


def at_pace(tokens_per_s: float) -> list[CatalogEntry]:
    spec = scripted(CHAT, engine_args={"tokens_per_s": tokens_per_s, "max_model_len": 4096})
    return [CatalogEntry(spec, ModelState("ready", replicas=1, max_model_len=4096))]


@contextlib.asynccontextmanager
async def two(
    folder: Path, mongodb: MongoServer, name: str, tokens_per_s: float = 40
) -> AsyncGenerator[tuple[Gateway, Gateway]]:
    """Two gateways over one database."""
    entries = at_pace(tokens_per_s)
    async with (
        running_gateway(folder / "one", mongodb.uri, name, entries, process_dead_s=1) as one,
        running_gateway(folder / "other", mongodb.uri, name, entries, process_dead_s=1) as other,
    ):
        yield one, other


async def until_said(client: httpx.AsyncClient, id_: str, tokens: int) -> bytes:
    """The beginning of a stream, up to so many tokens; its reader then leaves."""
    seen = b""
    async with client.stream("GET", f"/v1/responses/{id_}?stream=true") as response:
        async for chunk in response.aiter_raw():
            seen += chunk
            if seen.count(b"event: response.output_text.delta") >= tokens:
                break
    return seen[: seen.rfind(b"\n\n") + 2]


async def began(client: httpx.AsyncClient, **fields: Any) -> str:
    """A response in the background whose maker left after its first event; its id."""
    body = {"model": CHAT, "input": "Say something.", "stream": True, **LONG, **fields}
    async with client.stream("POST", "/v1/responses", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                return json.loads(line[6:])["response"]["id"]
    raise AssertionError("nothing came")


async def rest(client: httpx.AsyncClient, id_: str, after: int) -> str:
    response = await client.get(f"/v1/responses/{id_}", params={"stream": "true", "starting_after": after})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return response.text


def deltas(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def anew(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the last attempt."""
    begins = [at for at, event in enumerate(events) if event["type"] == "response.created"]
    types = [event["type"] for event in events[begins[-1] :]]
    assert types[:3] == ["response.created", "response.queued", "response.in_progress"]
    return events[begins[-1] :]


async def test_it_is_queued_at_once_and_over_later(gateway: Gateway):
    queued = await create(gateway.client, background=True)
    assert (queued["status"], queued["background"], queued["output"]) == ("queued", True, [])
    over = await until_over(gateway.client, queued["id"])
    assert over["status"] == "completed"
    assert text_of(over)
    assert over["usage"]["output_tokens"] > 0
    await create(gateway.client, previous_response_id=over["id"])


async def test_its_stream_is_there_for_whoever_comes_however_late(gateway: Gateway):
    stream = (await post(gateway.client, background=True, stream=True)).text
    events = valid_events(stream)
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    last = events[-1]
    assert (events[0]["sequence_number"], last["type"]) == (0, "response.completed")
    id_ = last["response"]["id"]
    assert await get(gateway.client, id_) == last["response"]
    assert await rest(gateway.client, id_, -1) == stream
    for after in (0, 4, last["sequence_number"] - 1):
        assert valid_events(await rest(gateway.client, id_, after)) == events[after + 1 :]
    assert await rest(gateway.client, id_, last["sequence_number"]) == ""


async def test_little_of_what_is_streamed_is_in_memory(new_gateway: GatewayFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feeds, "MOST_REMEMBERED", 600)
    async with new_gateway(at_pace(40)) as gateway:
        id_ = await began(gateway.client)
        readers = [asyncio.create_task(rest(gateway.client, id_, after)) for after in (-1, 5)]
        await until_said(gateway.client, id_, 8)
        feed = vars(gateway.services.responses.feeds)["_feeds"][id_]
        assert sum(len(batch.data) for batch in feed.batches) <= 600
        readers.append(asyncio.create_task(rest(gateway.client, id_, -1)))
        whole, some, late = await asyncio.gather(*readers)
        assert whole == late
        events = valid_events(whole)
        assert valid_events(some) == events[6:]
        assert deltas(events) == text_of(await get(gateway.client, id_))


async def test_events_that_cannot_be_kept_do_not_keep_it_from_its_end(
    new_gateway: GatewayFactory, monkeypatch: pytest.MonkeyPatch
):
    async with new_gateway(at_pace(0)) as gateway:

        async def refusing(*_: object) -> None:
            raise ValueError("no database could hold it")

        monkeypatch.setattr(gateway.services.stores.response_events, "put", refusing)
        events = valid_events((await post(gateway.client, stream=True, background=True)).text)
        assert [event["type"] for event in events] == ["response.completed"]


async def test_it_goes_on_without_its_maker_and_is_read_on_another_gateway(
    tmp_path: Path, mongodb: MongoServer, database_name: str
):
    async with two(tmp_path, mongodb, database_name) as (one, other):
        id_ = await began(one.client)
        first = valid_events(await until_said(one.client, id_, 5))
        second = valid_events(await rest(other.client, id_, first[-1]["sequence_number"]))
        assert second[0]["sequence_number"] == first[-1]["sequence_number"] + 1
        assert deltas([*first, *second]) == text_of(await get(other.client, id_))
        assert await get(one.client, id_) == second[-1]["response"]


async def test_it_is_cancelled_at_once_where_it_is_and_keeps_what_was_made(new_gateway: GatewayFactory):
    async with new_gateway(at_pace(40)) as gateway:
        id_ = await began(gateway.client)
        reader = asyncio.create_task(rest(gateway.client, id_, -1))
        said = valid_events(await until_said(gateway.client, id_, 5))
        response = await gateway.client.post(f"/v1/responses/{id_}/cancel")
        cancelled = response.json()
        validate("Response", cancelled)
        assert cancelled["status"] == "cancelled"
        assert text_of(cancelled).startswith(deltas(said))
        assert await get(gateway.client, id_) == cancelled
        events = valid_events(await reader)
        assert (events[-1]["type"], events[-1]["response"]) == ("response.incomplete", cancelled)
        again = await gateway.client.post(f"/v1/responses/{id_}/cancel")
        assert again.json() == cancelled
        assert not (await gateway.engines[CHAT].load()).running


async def test_it_is_cancelled_from_another_gateway_within_a_heartbeat(
    tmp_path: Path, mongodb: MongoServer, database_name: str
):
    async with two(tmp_path, mongodb, database_name, tokens_per_s=10) as (one, other):
        id_ = await began(one.client)
        reader = asyncio.create_task(rest(other.client, id_, -1))
        await until_said(one.client, id_, 1)
        cancelled = (await other.client.post(f"/v1/responses/{id_}/cancel")).json()
        assert cancelled["status"] == "cancelled"
        assert valid_events(await reader)[-1]["response"] == cancelled == await get(one.client, id_)


async def test_it_is_cancelled_before_anybody_has_looked_at_it(
    new_gateway: GatewayFactory, monkeypatch: pytest.MonkeyPatch
):
    async with new_gateway(at_pace(20)) as gateway:
        responses, seen = gateway.services.stores.responses, asyncio.Event()
        find = responses.find

        async def slowly(id_: str) -> StoredResponse | None:
            found = await find(id_)
            await seen.wait()
            return found

        monkeypatch.setattr(responses, "find", slowly)
        id_ = (await create(gateway.client, background=True))["id"]
        job = gateway.services.jobs.get(id_)
        cancelling = asyncio.create_task(gateway.client.post(f"/v1/responses/{id_}/cancel"))
        while job is None or job.why is None:
            await asyncio.sleep(0.01)
        seen.set()
        assert (await cancelling).json()["status"] == "cancelled"
        assert not gateway.backend.requests


async def test_one_that_could_not_be_begun_leaves_nothing(new_gateway: GatewayFactory, monkeypatch: pytest.MonkeyPatch):
    async with new_gateway(at_pace(0)) as gateway:
        services = gateway.services

        async def away(*_: object) -> None:
            raise DatabaseUnavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(services.stores.items, "put", away)
            for background in (False, True):
                assert (await post(gateway.client, background=background)).status_code == 503
        while await services.database.collection("responses").count_documents({}):
            await asyncio.sleep(0.02)
        assert await services.stores.responses.count_jobs(ADMIN_ID) == 0


async def test_whoever_works_on_it_no_more_changes_nothing(new_gateway: GatewayFactory):
    async with new_gateway(at_pace(0)) as gateway:
        services, id_ = gateway.services, (await create(gateway.client))["id"]
        under_way = {"status": "in_progress", "runner": services.liveness.id}
        responses = services.database.collection("responses")
        await responses.update_one({"_id": id_}, {"$set": under_way})
        stored = await services.stores.responses.find(id_)
        assert stored is not None
        now = Keeping(
            owner=ADMIN_ID,
            created_at_ms=stored.created_at_ms,
            model=CHAT,
            tail=id_.removeprefix("resp_"),
            response=id_,
            process=services.liveness.id,
        )
        earlier = replace(now, created_at_ms=now.created_at_ms - 1)
        stopped = replace(now, process="one that was stopped")
        for keeping in (earlier, stopped):
            for expects in (False, True):
                if expects:
                    translation = Translation(stored.body, now.tail)
                    translation.start()
                    translation.finish()
                    services.responses.expect(keeping, translation)
                await services.answers.keeper.keep(keeping, b"")
                assert await responses.count_documents({"_id": id_, **under_way}) == 1
        await services.answers.keeper.keep(now, b"")
        assert (await get(gateway.client, id_))["status"] == "incomplete"


async def test_it_is_deleted_under_way(new_gateway: GatewayFactory):
    async with new_gateway(at_pace(20)) as gateway:
        id_ = await began(gateway.client)
        reader = asyncio.create_task(rest(gateway.client, id_, -1))
        await until_said(gateway.client, id_, 2)
        assert (await gateway.client.delete(f"/v1/responses/{id_}")).status_code == 200
        assert (await gateway.client.get(f"/v1/responses/{id_}")).status_code == 404
        await reader
        for name in ("items", "response_events"):
            assert await gateway.services.database.collection(name).find_one({"response": id_}) is None


async def test_what_a_gateway_leaves_on_ending_is_begun_anew_by_another(
    tmp_path: Path, mongodb: MongoServer, database_name: str
):
    at = mongodb.uri, database_name
    async with running_gateway(tmp_path / "other", *at, at_pace(0), process_dead_s=1) as other:
        # At this pace it is not over by the time that the gateway ends.
        async with running_gateway(tmp_path / "one", *at, at_pace(10), process_dead_s=1) as one:
            conversation = (await one.client.post("/v1/conversations", json={})).json()["id"]
            id_ = await began(one.client, conversation=conversation)
            first = valid_events(await until_said(one.client, id_, 3))
        second = valid_events(await rest(other.client, id_, first[-1]["sequence_number"]))
        assert second[0]["sequence_number"] > first[-1]["sequence_number"]
        over = await get(other.client, id_)
        assert (over["status"], deltas(anew(second))) == ("completed", text_of(over))
        items = (await other.client.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
        assert [item["role"] for item in items] == ["user", "assistant"]
        assert items[1] == over["output"][0]


async def test_what_a_killed_gateway_was_at_is_gone_on_with(tmp_path: Path, mongodb: MongoServer, database_name: str):
    with GatewayProcesses(1, tmp_path, mongodb.uri, database_name) as gateways:
        bearer = {"authorization": f"Bearer {gateways.key}"}
        async with httpx.AsyncClient(base_url=gateways.urls[0], headers=bearer, timeout=60, verify=False) as client:
            id_ = await began(client, model=SLOW)
            foreground = {"model": SLOW, "input": "Say.", "stream": True, "max_output_tokens": 100}
            async with client.stream("POST", "/v1/responses", json=foreground) as response:
                seen, chunks = b"", response.aiter_raw()
                while seen.count(b"output_text.delta") < 4:
                    seen += await anext(chunks)
                said = valid_events(await until_said(client, id_, 3))
                gateways.kill(0)
    # On the same machine, which still has what the other had told its callers.
    async with running_gateway(tmp_path / "0", mongodb.uri, database_name, NO_LONGER_SLOW, process_dead_s=1) as gateway:
        events = valid_events(await rest(gateway.client, id_, said[-1]["sequence_number"]))
        over = await get(gateway.client, id_)
        assert (over["status"], deltas(anew(events))) == ("completed", text_of(over))
        assert events[-1]["response"] == over
        told = valid_events(seen[: seen.rfind(b"\n\n") + 2])
        broken = await until_over(gateway.client, told[0]["response"]["id"])
        assert broken["status"] == "incomplete"
        assert text_of(broken).startswith(deltas(told))


async def test_what_nobody_finds_of_a_dead_gateway_is_given_up(new_gateway: GatewayFactory):
    async with new_gateway(at_pace(0), usage_grace_s=0) as gateway:
        stores = gateway.services.stores
        answer = await create(gateway.client)
        responses = gateway.services.database.collection("responses")
        await responses.update_one({"_id": answer["id"]}, {"$set": {"status": "in_progress", "runner": "dead"}})
        await stores.processes.beat("dead")
        await gateway.services.liveness.round()
        assert await responses.find_one({"_id": answer["id"], "status": "in_progress"})
        await stores.processes.leave("dead")
        await gateway.services.liveness.round()
        lost = await get(gateway.client, answer["id"])
        assert (lost["status"], lost["error"]["code"]) == ("failed", "server_error")
        assert await stores.processes.get("dead") is None


async def test_each_attempt_is_written_down_as_used(tmp_path: Path, mongodb: MongoServer, database_name: str):
    settings: dict[str, Any] = {"entries": at_pace(40), "process_dead_s": 1, "usage_grace_s": 0}
    async with running_gateway(tmp_path, mongodb.uri, database_name, **settings) as gateway:
        id_ = await began(gateway.client)
        await until_said(gateway.client, id_, 3)
    async with running_gateway(tmp_path, mongodb.uri, database_name, **settings) as gateway:
        await until_over(gateway.client, id_)
        used = gateway.services.database.collection("usage_events")
        while len(events := await used.find({}).to_list(None)) < 2:
            await asyncio.sleep(0.05)
    # A gateway that ends does not wait for what its replicas have to say.
    assert {event["status"] for event in events} in ({"client_left", "completed"}, {"lost", "completed"})
    assert len({event["_id"] for event in events}) == len(events) == 2


async def test_nothing_is_begun_anew_for_those_who_may_not_any_more(
    tmp_path: Path, mongodb: MongoServer, database_name: str
):
    entries = at_pace(20)
    async with running_gateway(tmp_path / "one", mongodb.uri, database_name, entries, process_dead_s=1) as one:
        owner = await new_user(one.services)
        key = await new_key(one.services, owner=owner.id)
        async with httpx.AsyncClient(
            base_url=one.url, headers={"authorization": f"Bearer {key}"}, verify=False
        ) as client:
            id_ = await began(client)
        keys = one.services.database.collection("api_keys")
        await keys.update_one({"owner": owner.id}, {"$set": {"status": "revoked"}})
    async with running_gateway(tmp_path / "two", mongodb.uri, database_name, entries, process_dead_s=1) as two_:
        while (found := await two_.services.stores.responses.get(owner.id, id_)) is None or not found.is_over:
            await asyncio.sleep(0.05)
        assert found.status == "failed"
        assert not two_.backend.requests


async def test_somebody_has_so_many_at_once_and_a_gateway_too(new_gateway: GatewayFactory):
    async with new_gateway(at_pace(10), background_jobs_per_owner=2, background_jobs=3) as gateway:
        ids = [(await create(gateway.client, **LONG))["id"] for _ in range(2)]
        refused = await post(gateway.client, **LONG)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "retry-after" in refused.headers
        key = await new_key(gateway.services, owner=(await new_user(gateway.services)).id)
        async with httpx.AsyncClient(
            base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, verify=False
        ) as other:
            ids.append((await create(other, **LONG))["id"])
            full = await post(other, **LONG)
            assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
        await gateway.client.post(f"/v1/responses/{ids[0]}/cancel")
        await create(gateway.client, **LONG)


async def test_an_engine_that_fails_fails_it(gateway: Gateway):
    stream = (await post(gateway.client, input="[error]", background=True, stream=True)).text
    events = valid_events(stream)
    assert events[-1]["type"] == "response.failed"
    kept = await get(gateway.client, events[-1]["response"]["id"])
    assert kept == events[-1]["response"]
    assert text_of(kept)

    async def failing(*_: Any) -> Any:
        raise RuntimeError("the way to the engine is broken")

    with gateway.backend.replaced(failing):
        over = await until_over(gateway.client, (await create(gateway.client, background=True))["id"])
    assert over["status"] == "failed"


async def told_while_it_goes(gateway: Gateway, mongodb: MongoServer) -> dict[str, Any]:
    """A response that its caller waits for, in the middle of which the database is stopped; as the caller saw it."""
    body = {"model": CHAT, "input": "Say.", "stream": True, "max_output_tokens": 20}
    async with gateway.client.stream("POST", "/v1/responses", json=body) as response:
        chunks = response.aiter_raw()
        seen = await anext(chunks)
        mongodb.stop()
        async for chunk in chunks:
            seen += chunk
    told = valid_events(seen)[-1]
    assert told["type"] == "response.completed"
    return told["response"]


async def test_the_database_may_be_away_meanwhile(tmp_path: Path, own_mongodb: MongoServer, database_name: str):
    settings: dict[str, Any] = {
        "entries": at_pace(40),
        "mongodb_timeout_s": 1,
        "limits_timeout_s": 0.25,
        "process_dead_s": 1,
    }
    async with running_gateway(tmp_path / "gateway", own_mongodb.uri, database_name, **settings) as gateway:
        id_ = await began(gateway.client)
        told = await told_while_it_goes(gateway, own_mongodb)
        refused = await post(gateway.client)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
        plain = await post(gateway.client, store=False, max_output_tokens=1)
        assert plain.status_code == 200
        own_mongodb.start()
        assert (await until_over(gateway.client, id_))["status"] == "completed"
        assert await until_over(gateway.client, told["id"]) == told
        events = valid_events(await rest(gateway.client, id_, -1))
        assert deltas(events) == text_of(await get(gateway.client, id_))
        id_ = await began(gateway.client)
        told = await told_while_it_goes(gateway, own_mongodb)
        # Usage would wait for the database for a while longer.
        await gateway.services.ledger.close(timeout_s=0)
    # And the gateway ends before the database is back.
    own_mongodb.start()
    async with running_gateway(tmp_path / "gateway", own_mongodb.uri, database_name, **settings) as gateway:
        assert await until_over(gateway.client, told["id"]) == told
        assert (await until_over(gateway.client, id_))["status"] == "completed"


async def test_asked_twice_under_one_key_one_is_begun(gateway: Gateway):
    for stream in (False, True):
        key = f"background {stream}"
        first = await post(gateway.client, key=key, background=True, stream=stream)
        count = len(gateway.backend.requests)
        again = await post(gateway.client, key=key, background=True, stream=stream)
        assert again.text == first.text
        assert len(gateway.backend.requests) <= count + 1
        if not stream:
            await until_over(gateway.client, first.json()["id"])


async def test_nothing_is_left_of_those_that_are_over(new_gateway: GatewayFactory, tmp_path: Path):
    before = asyncio.all_tasks()
    async with new_gateway(at_pace(0)) as gateway:
        for text in ("Say.", "[error]"):
            for background in (False, True):
                for stream in (False, True):
                    await post(gateway.client, input=text, background=background, stream=stream)
        responses = gateway.services.database.collection("responses")
        while await responses.find_one({"runner": {"$exists": True}}) is not None:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        names = [task.get_name() for task in asyncio.all_tasks() - before]
        assert not [name for name in names if name.startswith(("job ", "events of", "discard"))]
        assert await asyncio.to_thread(lambda: not list(tmp_path.rglob("*.answers")))
        archive = gateway.services.responses
        assert not vars(archive)["_translations"]
        assert await responses.find_one({"busy": {"$exists": True}}) is None


@pytest.mark.parametrize("query", ["stream=true&starting_after=x", "stream=true&starting_after=-5", "stream=perhaps"])
async def test_bad_questions_are_refused(gateway: Gateway, query: str):
    queued = await create(gateway.client, background=True)
    assert (await gateway.client.get(f"/v1/responses/{queued['id']}?{query}")).status_code == 400
    assert (await gateway.client.get(f"/v1/responses/{queued['id']}?stream=true")).status_code == 400
    await until_over(gateway.client, queued["id"])
