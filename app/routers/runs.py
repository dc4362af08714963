"""Runs: an assistant's turns in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.domain.principal import Principal
from app.domain.run import Run
from app.domain.run_step import RunStep
from app.domain.thread import thread_of
from app.openapi import request_body
from app.routers.dependencies import (
    IdentifiedInferrer,
    IdentifiedReader,
    IdentifiedWriter,
    JsonBody,
    PageDep,
    ServicesDep,
    services_of,
)
from app.routers.idempotent import once
from app.schemas.body import parse
from app.schemas.runs import (
    ChangeRunRequest,
    CreateRunRequest,
    CreateThreadAndRunRequest,
    SubmitToolOutputsRequest,
)
from app.schemas.threads import CreateThreadRequest
from app.services import Services
from app.services.relay import event_stream
from app.services.threads import new_runs
from app.services.threads.channel import Channel
from app.services.threads.events import DONE, event, run_event
from app.services.threads.message_items import check_messages

BODIES = (CreateRunRequest, CreateThreadAndRunRequest, ChangeRunRequest, SubmitToolOutputsRequest)
"""What the endpoints below take, for the API's description."""

router = APIRouter(tags=["Runs"])
CHANGE = request_body(ChangeRunRequest)


@router.post("/threads/runs", openapi_extra=request_body(CreateThreadAndRunRequest))
async def create_thread_and_run(
    request: Request, services: ServicesDep, caller: IdentifiedInferrer, body: JsonBody
) -> Response:
    """Make a thread and a run in it; with `stream`, as server-sent events."""
    wanted = parse(CreateThreadAndRunRequest, body)
    plan = await new_runs.plan(services, caller, wanted, request.scope["state"])
    first = wanted.thread or CreateThreadRequest()

    async def create(tail: str, channel: Channel | None) -> Run:
        thread = await services.threads.threads.create(caller.subject, first, tail)
        if channel is not None:
            channel.send(event("thread.created", thread_of(thread)))
        return await new_runs.begin(services, caller, thread, plan, tail, channel=channel)

    return await _begun(request, caller, body, create, stream=bool(wanted.stream))


@router.post("/threads/{thread_id}/runs", openapi_extra=request_body(CreateRunRequest))
async def create_run(
    thread_id: str, request: Request, services: ServicesDep, caller: IdentifiedInferrer, body: JsonBody
) -> Response:
    """Have an assistant take its turn in a thread; with `stream`, as server-sent events."""
    wanted = parse(CreateRunRequest, body)
    thread = await services.threads.threads.get(caller.subject, thread_id)
    messages = wanted.additional_messages or ()
    check_messages(messages, "additional_messages")
    plan = await new_runs.plan(services, caller, wanted, request.scope["state"])

    async def create(tail: str, channel: Channel | None) -> Run:
        return await new_runs.begin(services, caller, thread, plan, tail, messages, channel)

    return await _begun(request, caller, body, create, stream=bool(wanted.stream))


@router.get("/threads/{thread_id}/runs")
async def list_runs(thread_id: str, services: ServicesDep, caller: IdentifiedReader, page: PageDep) -> dict[str, Any]:
    """List the runs of a thread."""
    thread = await services.threads.threads.get(caller.subject, thread_id)
    return (await services.threads.runs.list(thread, page)).to_list(Run.to_dict, no_id="")


@router.get("/threads/{thread_id}/runs/{run_id}")
async def get_run(thread_id: str, run_id: str, services: ServicesDep, caller: IdentifiedReader) -> dict[str, Any]:
    """Show how far a run is."""
    return (await _run(services, caller, thread_id, run_id)).to_dict()


@router.post("/threads/{thread_id}/runs/{run_id}", openapi_extra=CHANGE)
@router.patch("/threads/{thread_id}/runs/{run_id}", include_in_schema=False)
async def change_run(
    thread_id: str, run_id: str, services: ServicesDep, caller: IdentifiedWriter, body: JsonBody
) -> dict[str, Any]:
    """Change the metadata of a run."""
    wanted = parse(ChangeRunRequest, body)
    thread = await services.threads.threads.get(caller.subject, thread_id)
    return (await services.threads.runs.change(thread, run_id, wanted)).to_dict()


@router.post("/threads/{thread_id}/runs/{run_id}/cancel")
async def cancel_run(thread_id: str, run_id: str, services: ServicesDep, caller: IdentifiedWriter) -> dict[str, Any]:
    """End a run; what it said so far is kept as incomplete."""
    thread = await services.threads.threads.get(caller.subject, thread_id)
    return (await services.threads.runs.cancel(thread, run_id)).to_dict()


@router.post(
    "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs", openapi_extra=request_body(SubmitToolOutputsRequest)
)
async def submit_tool_outputs(
    thread_id: str, run_id: str, request: Request, caller: IdentifiedInferrer, body: JsonBody
) -> Response:
    """Give a run what all its calls came to; with `stream`, what follows comes as server-sent events."""
    services, wanted = services_of(request), parse(SubmitToolOutputsRequest, body)

    async def submit(tail: str, channel: Channel | None) -> Run:
        run = await _run(services, caller, thread_id, run_id)
        return await new_runs.go_on(services, caller, run, wanted, tail, channel)

    return await _begun(request, caller, body, submit, stream=bool(wanted.stream))


@router.get("/threads/{thread_id}/runs/{run_id}/steps")
async def list_steps(
    thread_id: str, run_id: str, services: ServicesDep, caller: IdentifiedReader, page: PageDep
) -> dict[str, Any]:
    """List what a run did: what it said, and what it called."""
    run = await _run(services, caller, thread_id, run_id)
    return (await services.threads.runs.steps(run, page)).to_list(RunStep.to_dict, no_id="")


@router.get("/threads/{thread_id}/runs/{run_id}/steps/{step_id}")
async def get_step(
    thread_id: str, run_id: str, step_id: str, services: ServicesDep, caller: IdentifiedReader
) -> dict[str, Any]:
    """Show one step of a run."""
    run = await _run(services, caller, thread_id, run_id)
    return (await services.threads.runs.step(run, step_id)).to_dict()


async def _run(services: Services, caller: Principal, thread_id: str, run_id: str) -> Run:
    thread = await services.threads.threads.get(caller.subject, thread_id)
    return await services.threads.runs.get(thread, run_id)


async def _begun(
    request: Request,
    caller: Principal,
    body: dict[str, Any],
    begin: Callable[[str, Channel | None], Awaitable[Run]],
    *,
    stream: bool,
) -> Response:
    """Begin a run once, or go on with it; what is told of it, or how it stands where that was done before."""
    services = services_of(request)
    channel = Channel() if stream else None
    runs: list[Run] = []

    async def work(tail: str) -> dict[str, Any]:
        runs.append(await begin(tail, channel))
        return runs[0].to_dict()

    response = await once(request, caller, body, work)
    if channel is None:
        return response
    if not runs:
        told = msgspec.json.decode(bytes(response.body))
        channel.send(run_event(await _run(services, caller, told["thread_id"], told["id"])) + DONE)
        channel.close()
    return event_stream(channel.read(services.settings.stream_keepalive_s))
