"""Callers who come, ask one thing, and go: some before they have their answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

GIVE_UP_S = 120.0
AGAIN_S = 0.05
LONGEST = 96
LEFT_EARLY_S = 0.15
LEFT_LATE_S = 1.2

End = Literal["answered", "left", "refused", "broken", "silent", "unreachable"]
"""``broken``: it began and did not come to its end. ``silent``: the connection ended without a word. ``unreachable``:
nobody took it."""

_FORMS: Sequence[tuple[str, dict[str, Any]]] = (
    ("/v1/chat/completions", {"messages": []}),
    ("/v1/completions", {"prompt": "The manta"}),
    ("/v1/messages", {"messages": []}),
)

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_REQUEST_ID = re.compile(rb"\r\nx-request-id: *req_(\w+)", re.IGNORECASE)
_CODE = re.compile(rb'"code": *"(\w+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks.

    Attributes:
        leaves_s: After so many seconds the asker is gone; None for one who stays.
        slams: Whether the connection is reset then, or closed.
    """

    path: str
    body: bytes
    leaves_s: float | None = None
    slams: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it for who asked.

    Attributes:
        request_id: As the engine knows it; None where nothing came.
        code: Of the error, if that is the whole answer.
    """

    end: End
    status: int
    request_id: str | None
    code: str | None = None

    @property
    def told(self) -> str:
        """The end, and why."""
        return self.end if self.code is None else f"{self.end} ({self.status} {self.code})"


def questions(model: str, number: int, random: Random, leavers: float) -> Iterator[Question]:
    """Chats, completions and messages, whole and streamed, of all lengths.

    Args:
        leavers: The share of those who do not stay.
    """
    for each in range(number):
        path, body = random.choices(_FORMS, weights=(6, 2, 2))[0]
        asked: dict[str, Any] = {**body, "model": model, "max_tokens": random.randint(1, LONGEST)}
        asked["stream"] = random.random() < 0.6
        if path != "/v1/messages":
            asked |= {"ignore_eos": True, "n": random.choice((1, 1, 1, 2))}
        if "messages" in asked:
            asked["messages"] = [{"role": "user", "content": f"Question {each} of many."}]
        leaves = random.random() < leavers
        latest = LEFT_EARLY_S if random.random() < 0.4 else LEFT_LATE_S
        yield Question(
            path, json.dumps(asked).encode(), random.uniform(0, latest) if leaves else None, random.random() < 0.5
        )


async def ask_all(
    port: int,
    headers: dict[str, str],
    asked: Iterator[Question],
    callers: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Ask everything, so many at a time.

    Args:
        progress: Told how many have been asked, each time.

    Returns:
        How many ended how; see ``Outcome.told``.
    """
    ends: Counter[str] = Counter()
    begun = 0

    async def caller() -> None:
        nonlocal begun
        for question in asked:
            begun += 1
            progress(begun)
            outcome = await ask(port, headers, question)
            ends[outcome.told] += 1
            if outcome.end in ("refused", "silent", "unreachable"):
                await asyncio.sleep(AGAIN_S)

    await asyncio.gather(*[caller() for _ in range(callers)])
    return ends


async def ask(port: int, headers: dict[str, str], question: Question) -> Outcome:
    """Ask, on a connection of its own.

    Raises:
        TimeoutError: Neither an answer nor an end comes.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return Outcome("unreachable", 0, None)
    answer = bytearray()
    left = False
    try:
        writer.write(_request(port, headers, question))
        async with asyncio.timeout(question.leaves_s or GIVE_UP_S):
            # A reset is an end like another.
            with contextlib.suppress(OSError):
                while part := await reader.read(65536):
                    answer += part
    except TimeoutError:
        if question.leaves_s is None:
            raise
        left = True
    finally:
        if question.slams:
            writer.transport.abort()
        else:
            writer.close()
    return _judged(bytes(answer), left=left)


def _request(port: int, headers: dict[str, str], question: Question) -> bytes:
    lines = [
        f"POST {question.path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(question.body)}",
        "connection: close",
        *[f"{name}: {value}" for name, value in headers.items()],
    ]
    return "\r\n".join([*lines, "", ""]).encode() + question.body


def _judged(answer: bytes, *, left: bool) -> Outcome:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, request_id = _STATUS.match(head), _REQUEST_ID.search(head)
    number = int(status[1]) if status else 0
    known = request_id[1].decode() if request_id else None
    if left:
        return Outcome("left", number, known)
    if not number:
        return Outcome("silent", 0, None)
    length = _LENGTH.search(head)
    whole = len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")
    if not whole:
        return Outcome("broken", number, known)
    if number == 200:
        return Outcome("answered", number, known)
    code = _CODE.search(body)
    return Outcome("refused", number, known, code[1].decode() if code else "without a code")
