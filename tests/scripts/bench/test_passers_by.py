from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from scripts.bench.passers_by import Question, ask, ask_all, questions

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 %d OK\r\nX-Request-Id: req_abc\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


async def serve(answer: bytes, *, hang: bool = False) -> asyncio.Server:
    """A server that says this to everybody, and then hangs up, or not."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if hang:
            await reader.read()
        writer.close()

    return await asyncio.start_server(say, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (HEAD % 200 + b"content-length: 5\r\n\r\nhello", "answered"),
        (HEAD % 200 + CHUNKED + b"0\r\n\r\n", "answered"),
        (HEAD % 200 + CHUNKED, "broken"),
        (HEAD % 200 + b"content-length: 6\r\n\r\nhello", "broken"),
        (HEAD % 503 + b"content-length: 0\r\n\r\n", "refused (503 without a code)"),
        (HEAD % 503 + b'content-length: 18\r\n\r\n{"code": "a_code"}', "refused (503 a_code)"),
        (b"", "silent"),
    ],
)
async def test_how_a_request_ended_is_told_by_its_answer(answer: bytes, end: str):
    async with await serve(answer) as server:
        outcome = await ask(server.sockets[0].getsockname()[1], {}, Question("/", b"{}"))
    assert outcome.told == end
    assert outcome.request_id == ("abc" if answer else None)


@pytest.mark.parametrize("slams", [True, False])
async def test_who_leaves_is_gone_in_time(slams: bool):
    async with await serve(HEAD % 200 + CHUNKED, hang=True) as server:
        outcome = await ask(server.sockets[0].getsockname()[1], {}, Question("/", b"{}", 0.05, slams))
    assert (outcome.end, outcome.status, outcome.request_id) == ("left", 200, "abc")


async def test_everything_is_asked_once():
    heard: list[int] = []
    async with await serve(HEAD % 200 + CHUNKED + b"0\r\n\r\n") as server:
        port = server.sockets[0].getsockname()[1]
        ends = await ask_all(port, {}, questions("m", 20, Random(1), 0), 3, heard.append)
    assert ends == {"answered": 20}
    assert heard == list(range(1, 21))


async def test_nobody_there_is_an_outcome_like_another():
    assert (await ask(9, {}, Question("/", b"{}"))).end == "unreachable"


def test_questions_are_of_all_kinds_and_the_same_for_a_seed():
    asked = list(questions("m", 200, Random(1), 0.3))
    assert asked == list(questions("m", 200, Random(1), 0.3))
    assert {each.path for each in asked} == {"/v1/chat/completions", "/v1/completions", "/v1/messages"}
    assert {json.loads(each.body)["stream"] for each in asked} == {True, False}
    assert 30 < sum(each.leaves_s is not None for each in asked) < 90
