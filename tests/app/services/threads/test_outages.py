"""What becomes of runs when their gateway, their database or their time goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.domain.ids import with_prefix
from app.domain.item import Item
from app.domain.user import ADMIN_ID
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_key, new_user, running_gateway
from tests.support.gateway_process import ENTRIES as PROCESS_ENTRIES
from tests.support.gateway_process import NO_LONGER_SLOW, SLOW, GatewayProcesses
from tests.support.mongo import MongoServer
from tests.support.people import bearer
from tests.support.sdk import WEATHER
from tests.support.threads import ENTRIES, STALL, events_of, names_of, said, waiting_run, whole
from tests.test_error_shape import assert_error


async def begun(client: httpx.AsyncClient, text: str = "Hello", model: str = CHAT, **fields: Any) -> dict[str, Any]:
    """A run of a new thread, in which nobody watches it."""
    return whole("RunObject", await client.post("/v1/threads/runs", json=await asking(client, text, model, **fields)))


async def asking(client: httpx.AsyncClient, text: str, model: str = CHAT, **fields: Any) -> dict[str, Any]:
    """What asks for a run of a new thread."""
    assistant = whole("AssistantObject", await client.post("/v1/assistants", json={"model": model}))["id"]
    thread = {"messages": [{"role": "user", "content": text}]}
    return {"assistant_id": assistant, "thread": thread, **fields}


async def get(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    return whole("RunObject", await client.get(f"/v1/threads/{run['thread_id']}/runs/{run['id']}"))


async def until(client: httpx.AsyncClient, run: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """The run, once it is one of these."""
    async with asyncio.timeout(30):
        while run["status"] not in statuses:
            await asyncio.sleep(0.05)
            run = await get(client, run)
    return run


async def messages_of(client: httpx.AsyncClient, thread: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/threads/{thread}/messages?order=asc")
    return whole("ListMessagesResponse", answer)["data"]


async def read_until(chunks: AsyncIterator[bytes], mark: bytes, count: int = 1) -> bytes:
    seen = b""
    while seen.count(mark) < count:
        seen += await anext(chunks)
    return seen


def told_text(stream: bytes) -> str:
    """What the deltas of a stream say that was cut off."""
    whole_events = stream[: stream.rfind(b"\n\n") + 2] + b"event: done\ndata: [DONE]\n\n"
    deltas = [told for name, told in events_of(whole_events) if name == "thread.message.delta"]
    return "".join(delta["delta"]["content"][0]["text"]["value"] for delta in deltas)


# gateways


async def test_a_killed_gateways_runs_are_gone_on_with_or_what_was_told_is_kept(
    tmp_path: Path, mongodb: MongoServer, database_name: str
):
    with GatewayProcesses(1, tmp_path, mongodb.uri, database_name) as gateways:
        async with httpx.AsyncClient(
            base_url=gateways.urls[0], headers=bearer(gateways.key), timeout=60, verify=False
        ) as client:
            unwatched = await begun(client, model=SLOW)
            body = await asking(client, "Hello", SLOW, stream=True)
            async with client.stream("POST", "/v1/threads/runs", json=body) as response:
                seen = await read_until(response.aiter_raw(), b"event: thread.message.delta", 3)
                gateways.kill(0)
    async with running_gateway(tmp_path / "0", mongodb.uri, database_name, NO_LONGER_SLOW, process_dead_s=1) as gateway:
        done = await until(gateway.client, unwatched, "completed")
        assert [each["role"] for each in await messages_of(gateway.client, done["thread_id"])] == ["user", "assistant"]
        thread = seen.partition(b'"id":"thread_')[2][:32].decode()
        (watched,) = (await gateway.client.get(f"/v1/threads/thread_{thread}/runs")).json()["data"]
        failed = await until(gateway.client, watched, "failed")
        async with asyncio.timeout(30):
            while len(messages := await messages_of(gateway.client, failed["thread_id"])) < 2:
                await asyncio.sleep(0.05)
        assert len(messages) == 2
        assert (messages[1]["status"], messages[1]["run_id"]) == ("incomplete", failed["id"])
        # All that its reader saw, and maybe what was on its way to them.
        assert said(messages[1]).startswith(told_text(seen))


async def test_what_a_gateway_leaves_on_ending_is_done_by_another(
    tmp_path: Path, mongodb: MongoServer, database_name: str
):
    at = mongodb.uri, database_name
    async with running_gateway(tmp_path / "other", *at, NO_LONGER_SLOW, process_dead_s=1) as other:
        async with running_gateway(tmp_path / "one", *at, PROCESS_ENTRIES, process_dead_s=1) as one:
            run = await until(one.client, await begun(one.client, model=SLOW), "in_progress")
        done = await until(other.client, run, "completed")
        assert len(await messages_of(other.client, done["thread_id"])) == 2


async def test_a_run_is_cancelled_from_another_gateway(tmp_path: Path, mongodb: MongoServer, database_name: str):
    async with (
        running_gateway(tmp_path / "one", mongodb.uri, database_name, ENTRIES, process_dead_s=1) as one,
        running_gateway(tmp_path / "two", mongodb.uri, database_name, ENTRIES, process_dead_s=1) as two,
    ):
        run = await until(one.client, await begun(one.client, STALL), "in_progress")
        asked = await two.client.post(f"/v1/threads/{run['thread_id']}/runs/{run['id']}/cancel")
        assert whole("RunObject", asked)["status"] in ("cancelling", "cancelled")
        await until(two.client, run, "cancelled")


async def test_nothing_is_run_for_those_who_may_not_any_more(new_gateway: GatewayFactory):
    async with new_gateway(ENTRIES) as gateway:
        owner = await new_user(gateway.services)
        key = await new_key(gateway.services, owner=owner.id)
        async with httpx.AsyncClient(base_url=gateway.url, headers=bearer(key), verify=False) as client:
            run = await until(client, await begun(client, tools=[WEATHER], tool_choice="required"), "requires_action")
        asked = len(gateway.backend.requests)
        # Another process died that had gone on with it, and the key was revoked meanwhile.
        runs = gateway.services.database.collection("runs")
        await runs.update_one({"_id": run["id"]}, {"$set": {"status": "queued", "runner": "dead"}})
        await gateway.services.database.collection("api_keys").update_many(
            {"owner": owner.id}, {"$set": {"status": "revoked"}}
        )
        await gateway.services.stores.processes.beat("dead")
        await gateway.services.stores.processes.leave("dead")
        await gateway.services.liveness.round()
        async with asyncio.timeout(20):
            while (found := await gateway.services.stores.runs.by_id(run["id"])) and not found.is_over:
                await asyncio.sleep(0.05)
        assert found is not None
        assert (found.status, len(gateway.backend.requests)) == ("failed", asked)


# the database


@asynccontextmanager
async def over(server: MongoServer, folder: Path) -> AsyncIterator[Gateway]:
    """A gateway that notices soon when its database is away."""
    async with running_gateway(
        folder,
        server.uri,
        "threads",
        PROCESS_ENTRIES,
        mongodb_timeout_s=1,
        limits_timeout_s=0.25,
        stream_keepalive_s=0.5,
    ) as gateway:
        yield gateway


async def test_a_run_outlives_a_database_that_goes_in_the_middle(own_mongodb: MongoServer, tmp_path: Path):
    async with over(own_mongodb, tmp_path) as gateway:
        client = gateway.client
        body = await asking(client, "Hello", SLOW, stream=True)
        async with client.stream("POST", "/v1/threads/runs", json=body) as response:
            chunks = response.aiter_raw()
            seen = await read_until(chunks, b"event: thread.message.delta")
            await asyncio.to_thread(own_mongodb.stop)
            for method, path in (("GET", "/v1/threads"), ("POST", "/v1/threads"), ("GET", "/v1/assistants")):
                refused = await client.request(method, path, **({"json": {}} if method == "POST" else {}))
                assert_error(refused, 503, "database_unavailable")
            asked = len(gateway.backend.requests)
            assert_error(await client.post("/v1/threads/runs", json=body), 503, "database_unavailable")
            assert len(gateway.backend.requests) == asked
            # All of it is said before it can be stored.
            seen += await read_until(chunks, b": waiting")
            await asyncio.to_thread(own_mongodb.start)
            async for chunk in chunks:
                seen += chunk
        events = dict(events_of(seen))
        done = events["thread.run.completed"]
        assert await get(client, done) == done
        assert (await messages_of(client, done["thread_id"]))[1] == events["thread.message.completed"]


# time


async def test_a_run_expires_while_it_is_worked_at_and_while_it_waits(new_gateway: GatewayFactory):
    async with new_gateway(ENTRIES, run_ttl_s=1) as gateway:
        client = gateway.client
        body = await asking(client, STALL, stream=True)
        waits = await until(client, await begun(client, tools=[WEATHER], tool_choice="required"), "requires_action")
        events = events_of((await client.post("/v1/threads/runs", json=body)).content)
        assert names_of(events)[-4:] == [
            "thread.message.incomplete",
            "thread.run.step.expired",
            "thread.run.expired",
            "done",
        ]
        expired = dict(events)["thread.run.expired"]
        assert await get(client, expired) == expired
        assert (await messages_of(client, expired["thread_id"]))[1]["incomplete_details"] == {"reason": "run_expired"}
        path = f"/v1/threads/{waits['thread_id']}"
        late = {"tool_outputs": [{"tool_call_id": "call_1", "output": "1"}]}
        await until(client, waits, "expired")
        assert_error(await client.post(f"{path}/runs/{waits['id']}/submit_tool_outputs", json=late), 400)
        steps = whole("ListRunStepsResponse", await client.get(f"{path}/runs/{waits['id']}/steps"))
        assert [step["status"] for step in steps["data"]] == ["expired"]
        again = await client.post(f"{path}/runs", json={"assistant_id": waits["assistant_id"]})
        assert whole("RunObject", again)["status"] == "queued"


async def test_a_run_of_which_its_gateway_does_not_know_is_found(new_gateway: GatewayFactory):
    async with new_gateway(ENTRIES) as gateway:
        run = await until(gateway.client, await begun(gateway.client), "completed")
        again: dict[str, Any] = {"status": "queued", "runner": gateway.services.liveness.id, "round_at_ms": 0}
        again |= {"ended_at_ms": None, "tail": "1" * 32}
        await gateway.services.database.collection("runs").update_one({"_id": run["id"]}, {"$set": again})
        assert (await until(gateway.client, await get(gateway.client, run), "completed"))["id"] == run["id"]
        assert len(await messages_of(gateway.client, run["thread_id"])) == 3


@pytest.mark.parametrize("watched", [False, True])
async def test_a_run_whose_answer_cannot_be_stored_fails(
    new_gateway: GatewayFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
):
    async with new_gateway(ENTRIES) as gateway:
        put = gateway.services.stores.items.put

        async def refusing(owner: str, items: Sequence[Item]) -> None:
            if any(item.side == "output" for item in items):
                raise ValueError("no database could hold it")
            await put(owner, items)

        monkeypatch.setattr(gateway.services.stores.items, "put", refusing)
        wanted = await asking(gateway.client, "Hello", stream=watched)
        answer = await gateway.client.post("/v1/threads/runs", json=wanted)
        told = events_of(answer.content) if watched else []
        run = told[-2][1] if watched else answer.json()
        over = await until(gateway.client, run, "failed", "completed")
        assert (over["status"], over["last_error"]["code"]) == ("failed", "server_error")
        # Its thread takes another.
        assistant = over["assistant_id"]
        again = await gateway.client.post(f"/v1/threads/{run['thread_id']}/runs", json={"assistant_id": assistant})
        await until(gateway.client, whole("RunObject", again), "failed")
        if watched:
            async with asyncio.timeout(10):
                while not await asyncio.to_thread(lambda: list(tmp_path.rglob("*.unkept"))):
                    await asyncio.sleep(0.02)


async def test_of_two_who_answer_the_same_calls_at_once_one_is_heard(
    new_gateway: GatewayFactory, monkeypatch: pytest.MonkeyPatch
):
    async with new_gateway(ENTRIES) as gateway:
        client = gateway.client
        run = await until(client, await begun(client), "completed")
        waits = await waiting_run(gateway.services, ADMIN_ID, run["thread_id"], CHAT)
        path = f"/v1/threads/{waits.thread}/runs/{waits.id}"
        heard, put = "sunny", gateway.services.stores.items.put
        stored, over = asyncio.Event(), asyncio.Event()

        async def slowly(owner: str, items: Sequence[Item]) -> None:
            await put(owner, items)
            if any(item.body.get("output") == "rainy" for item in items):
                stored.set()
                await over.wait()

        async def answer(output: str) -> int:
            told = {"tool_outputs": [{"tool_call_id": "call_1", "output": output}]}
            return (await client.post(f"{path}/submit_tool_outputs", json=told)).status_code

        monkeypatch.setattr(gateway.services.stores.items, "put", slowly)
        late = asyncio.create_task(answer("rainy"))
        await stored.wait()
        assert await answer(heard) == 200
        over.set()
        assert await late == 400
        await until(client, await get(client, run | {"id": waits.id}), "completed")
        items = (await client.get(f"/v1/conversations/{with_prefix(waits.thread, 'conv')}/items")).json()["data"]
        assert [item["output"] for item in items if item["type"] == "function_call_output"] == [heard]
        steps = whole("ListRunStepsResponse", await client.get(f"{path}/steps?order=asc"))["data"]
        assert steps[0]["step_details"]["tool_calls"][0]["function"]["output"] == heard


async def test_a_deleted_thread_takes_its_runs_along(new_gateway: GatewayFactory):
    async with new_gateway(ENTRIES) as gateway:
        client, services = gateway.client, gateway.services
        done = await until(client, await begun(client), "completed")
        stalled = await until(client, await begun(client, STALL), "in_progress")
        for run in (done, stalled):
            # As a thread, or as the conversation that it is.
            path = f"/v1/conversations/{with_prefix(run['thread_id'], 'conv')}"
            path = path if run is done else f"/v1/threads/{run['thread_id']}"
            assert (await client.delete(path)).status_code == 200
        await services.conversations.purge.idle()
        for name in ("runs", "run_steps", "items"):
            assert await services.database.collection(name).find({}).to_list(None) == [], name
        # Whoever works at one of them hears of it.
        await services.jobs.look()
        async with asyncio.timeout(10):
            while services.jobs.get(stalled["id"]) is not None:
                await asyncio.sleep(0.02)


async def test_so_many_runs_of_somebody_are_worked_at_at_once(new_gateway: GatewayFactory):
    async with new_gateway(ENTRIES, background_jobs_per_owner=2) as gateway:
        client = gateway.client
        for _ in range(2):
            await begun(client, STALL)
        body = await asking(client, "Hello")
        refused = await client.post("/v1/threads/runs", json=body)
        assert refused.status_code == 429


@pytest.mark.parametrize("signs_in", [True, False])
async def test_a_guests_runs_come_over_or_go(new_gateway: GatewayFactory, signs_in: bool):
    async with new_gateway(ENTRIES) as gateway:
        services = gateway.services
        guest, account = await new_user(services, "guest"), await new_user(services)
        key = await new_key(services, owner=guest.id)
        async with httpx.AsyncClient(base_url=gateway.url, headers=bearer(key), verify=False) as client:
            run = await until(client, await begun(client), "completed")
            await waiting_run(services, guest.id, run["thread_id"], CHAT)
        if signs_in:
            moved = await services.stores.ownership.move(guest.id, account.id)
            assert (moved["assistants"], moved["runs"]) == (1, 2)
            mine = bearer(await new_key(services, owner=account.id))
            found = await gateway.anonymous.get(f"/v1/threads/{run['thread_id']}/runs/{run['id']}/steps", headers=mine)
            assert len(whole("ListRunStepsResponse", found)["data"]) == 1
            return
        deleted = await services.stores.ownership.delete(guest.id)
        assert (deleted["assistants"], deleted["runs"]) == (1, 2)
        assert await services.database.collection("run_steps").find({}).to_list(None) == []
