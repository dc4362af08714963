"""The scripted engine's books: what came and what left, readable whenever its process ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT
from deployments.engines.scripted import ScriptedEngine
from deployments.engines.scripted.books import Call, read
from tests.contract.calls import call, user
from tests.deployments.engines.scripted_support import ManualClock, scripted, scripted_on, settle

CHAT = "/v1/chat/completions"
BODY = {"messages": user("Hello there"), "max_tokens": 5, "ignore_eos": True, "n": 2}

UNTIL_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from deployments.engines.scripted.books import Books

async def main():
    books = Books(Path(sys.argv[1]))
    told, untold = books.page("told"), books.page("untold")
    told.gives(3)
    await asyncio.sleep(0.01)
    untold.gives(2)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def started(folder: Path | None) -> ScriptedEngine:
    engine = scripted(books=folder)
    await engine.start(lambda *_: None)
    return engine


async def test_without_a_folder_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", None)
    request = call((await started(None)).app(), CHAT, BODY)
    await request.start()
    assert [chunk async for chunk in request]
    await settle()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_has_given_what_it_took(tmp_path: Path, stream: bool) -> None:
    request = call((await started(tmp_path / "books")).app(), CHAT, {**BODY, "stream": stream})
    await request.start()
    assert [chunk async for chunk in request]
    await settle()
    (told,) = read(tmp_path / "books")
    assert (told.left, told.leaving) == (10, 10)
    assert request.tally.usage.output_tokens == request.tally.so_far == 10


@pytest.mark.parametrize("stream", [True, False])
async def test_who_leaves_was_given_what_was_generated_by_then(tmp_path: Path, stream: bool) -> None:
    clock = ManualClock()
    engine = scripted_on(clock, tokens_per_s=10, ttft_s=1, books=tmp_path)
    await engine.start(lambda *_: None)
    request = call(engine.app(), CHAT, {**BODY, "max_tokens": 100, "stream": stream})
    starting = asyncio.create_task(request.start())
    await clock.advance(2.05)
    leaving = asyncio.create_task(request.aclose())
    await settle()
    await leaving
    starting.cancel()
    (told,) = read(tmp_path)
    assert told.left == told.leaving == request.tally.usage.output_tokens == 22


def test_a_process_that_is_killed_leaves_what_it_had_written(tmp_path: Path) -> None:
    """Of what left in the moment of its death nobody knows."""
    done = subprocess.run([sys.executable, "-c", UNTIL_KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(read(tmp_path)) == [Call("told", 3, 3), Call("untold", 0, 2)]
