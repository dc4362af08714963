from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict

import pytest

from app.settings import ROOT
from scripts.bench import client
from scripts.bench.client import Job, Result
from tests.support.ports import bound_socket, free_port

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
STREAM = [
    'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"b"}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"c"}}]}\n\n',
    USAGE,
    "data: [DONE]\n\n",
]


@contextlib.asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers every request with ``answer``; its port, and the requests that came."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                requests.append(head + await reader.readexactly(length))
                await answer(writer)
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, sock=bound_socket())
    async with listening:
        yield listening.sockets[0].getsockname()[1], requests


def job(port: int, **changes: object) -> Job:
    values = {"callers": 1, "requests": 1, "expected_tokens": 3, "timeout_s": 20.0, **changes}
    callers = values.pop("callers")
    assert isinstance(callers, int)
    bodies = [json.dumps({"caller": caller}) for caller in range(callers)]
    return Job("127.0.0.1", port, "/v1/chat/completions", {"authorization": "Bearer k"}, bodies, **values)  # type: ignore[arg-type]


def whole(body: str, status: str = "200 OK") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())

    return answer


def chunked(*chunks: str, close_early: bool = False) -> Answer:
    """Sends each chunk apart, some milliseconds after the one before."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in chunks:
            writer.write(f"{len(chunk):x}\r\n{chunk}\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.005)
        if close_early:
            writer.close()
        else:
            writer.write(b"0\r\n\r\n")

    return answer


async def test_a_stream_is_timed_from_its_first_token_and_counted_by_the_servers_usage():
    async with server(chunked(*STREAM)) as (port, requests):
        result = await client.run(job(port))
    (seen,) = result.requests
    assert seen.error is None
    assert seen.tokens == 3
    assert seen.sent < seen.first < seen.last
    assert len(seen.gaps) == 2
    assert result.tokens == 3
    assert result.seconds == seen.last - seen.sent
    assert requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: Bearer k\r\n" in requests[0]
    assert requests[0].endswith(b'{"caller": 0}')


async def test_frames_that_come_together_have_no_gap_and_frames_cut_in_two_count_once():
    text = "".join(STREAM)
    cut = len(STREAM[0] + STREAM[1]) + 10
    async with server(chunked(text[:cut], text[cut:])) as (port, _):
        (seen,) = (await client.run(job(port))).requests
    assert seen.error is None
    assert seen.gaps[0] > 0
    assert seen.gaps[1] == 0


async def test_comments_while_the_model_wakes_are_not_tokens():
    async with server(chunked(": waiting\n\n", ": waiting\n\n", *STREAM)) as (port, _):
        (seen,) = (await client.run(job(port))).requests
    assert seen.error is None
    assert len(seen.gaps) == 2


async def test_each_caller_asks_as_often_as_told_on_one_connection():
    async with server(whole('{"usage":{"completion_tokens":3}}')) as (port, requests):
        result = await client.run(job(port, callers=4, requests=5))
    assert len(requests) == len(result.requests) == 20
    assert result.errors == []
    assert result.tokens == 60


async def test_a_caller_may_ask_something_else_each_time():
    usage = '{"usage":{"prompt_tokens":20,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":16}}}'
    async with server(whole(usage)) as (port, requests):
        result = await client.run(job(port, turns=[["one", "two"], ["three", "four"]]))
    assert sorted(request.rpartition(b"\r\n")[2] for request in requests) == [b"four", b"one", b"three", b"two"]
    assert [(each.prompt, each.cached, each.error) for each in result.requests] == [(20, 16, None)] * 4


async def test_when_a_request_is_due_does_not_depend_on_the_answers_before_it():
    async def slow(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await whole('{"usage":{"completion_tokens":3}}')(writer)

    async with server(slow) as (port, _):
        result = await client.run(job(port, callers=2, requests=3, every_s=0.01))
    assert result.errors == []
    due = sorted(each.sent for each in result.requests)
    assert [at - due[0] for at in due] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04, 0.05])
    # The last of each caller waited for two answers of a tenth of a second, and then for its own.
    waited = sorted(each.last - each.sent for each in result.requests)
    assert min(waited[-2:]) > 0.25


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (whole('{"error":{"message":"no"}}', "503 Service Unavailable"), 'status 503: {"error":{"message":"no"}}'),
        (whole('{"usage":{"completion_tokens":2}}'), "2 tokens came, 3 were asked for"),
        (whole('{"usage":null}'), "cannot be read"),
        (chunked(*STREAM[:-1]), "the stream has no end"),
        (chunked(*STREAM[:-2], STREAM[-1]), "cannot be read"),
        (chunked(STREAM[0], *STREAM[-2:]), "the stream has no tokens"),
        (chunked(*STREAM[:3], 'data: {"error":{"message":"it died"}}\n\n'), "it died"),
        (chunked(*STREAM[:3], close_early=True), "the connection was lost"),
        (whole("", "hello"), "this is not HTTP"),
    ],
)
async def test_whatever_is_not_a_good_answer_counts_as_failed_and_says_why(answer: Answer, said: str):
    async with server(answer) as (port, _):
        result = await client.run(job(port))
    (error,) = result.errors
    assert said in error


async def test_a_server_that_falls_silent_fails_the_request_when_time_is_up():
    async def silence(_: asyncio.StreamWriter) -> None:
        pass

    async with server(silence) as (port, _):
        result = await client.run(job(port, timeout_s=0.05))
    assert result.errors == ["not over after 0.05 s"]


async def test_the_client_is_a_process_that_reads_a_job_and_writes_its_result():
    async with server(chunked(*STREAM)) as (port, _):
        status, output, _ = await run_process(job(port, callers=2))
    assert status == 0
    result = Result.from_json(output)
    assert result.tokens == 6
    assert result.errors == []
    assert result.cpu_s >= 0


async def test_the_client_says_so_when_nobody_listens():
    status, _, said = await run_process(job(free_port()))
    assert status == 1
    assert "cannot be reached" in said


async def run_process(what: Job) -> tuple[int | None, bytes, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.bench.client", stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT
    )
    output, said = await process.communicate(json.dumps(asdict(what)).encode())
    return process.returncode, output, said.decode()
