"""Three replicas that keep what they read: conversations stay where they are, floods spread, deaths cost little."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import psutil
import pytest
import yaml

from app.domain.model_spec import ModelSpec
from scripts.bench.replicas import Replicas
from tests.support.live import MANY, MODEL_FOLDERS, Live

pytestmark = pytest.mark.live

BLOCK = 16
BACK_S = 60
ANSWER = 20
SPEC = ModelSpec.model_validate(yaml.safe_load((MODEL_FOLDERS[1] / f"{MANY}.yaml").read_text()))
Says = list[dict[str, str]]


@pytest.fixture
def service(live: Live) -> Live:
    """The service, its three replicas up."""
    wait_for_replicas(live)
    return live


def wait_for_replicas(service: Live) -> None:
    """Return when all three answer."""
    deadline = time.monotonic() + BACK_S
    while (model := service.model(MANY))["replicas"] != 3:
        assert time.monotonic() < deadline, model
        time.sleep(0.5)


def ask(service: Live, messages: Says, max_tokens: int = ANSWER) -> dict[str, Any]:
    """The usage of one answer."""
    body = {"model": MANY, "messages": messages, "max_tokens": max_tokens, "ignore_eos": True}
    response = httpx.post(f"{service.openai_url}/chat/completions", json=body, headers=service.auth, timeout=60)
    return response.raise_for_status().json()["usage"]


def cached(usage: dict[str, Any]) -> int:
    """How many tokens of the prompt its engine had read before."""
    return usage["prompt_tokens_details"]["cached_tokens"]


def words(seed: object, count: int) -> str:
    """Text that has nothing in common with that of another seed."""
    return " ".join(f"{seed}{number}" for number in range(count))


def turns(service: Live, name: str, count: int) -> list[dict[str, Any]]:
    """The usages of a conversation's turns."""
    messages: Says = [{"role": "system", "content": words(name, 100)}]
    usages: list[dict[str, Any]] = []
    for turn in range(count):
        messages.append({"role": "user", "content": words(f"{name}.{turn}.", 50)})
        usages.append(ask(service, messages, max_tokens=4))
        messages.append({"role": "assistant", "content": "I see."})
    return usages


def test_conversations_stay_where_their_beginning_was_read(service: Live) -> None:
    """Six of them at once: each turn but the first finds what the one before left."""
    with ThreadPoolExecutor(6) as pool:
        talks = list(pool.map(lambda name: turns(service, name, 6), ["one", "two", "three", "four", "five", "six"]))
    pairs = [(before, after) for talk in talks for before, after in pairwise(talk)]
    # A prompt ends with what announces the answer, which the next turn has too.
    kept = [cached(after) >= before["prompt_tokens"] - 2 * BLOCK for before, after in pairs]
    assert sum(kept) >= 0.9 * len(kept), talks


def test_a_flood_of_one_prompt_spreads_over_all_replicas(service: Live) -> None:
    """Sixty requests at once, all of which have the same beginning."""
    messages: Says = [{"role": "system", "content": words("flood", 200)}]
    ask(service, messages)
    with Replicas(service.ray_address, SPEC) as replicas, ThreadPoolExecutor(60) as pool:
        before = replicas.generated()
        usages = list(pool.map(lambda _: ask(service, messages), range(60)))
        served = [(after - earlier) / ANSWER for earlier, after in zip(before, replicas.generated(), strict=True)]
    assert len(served) == 3
    assert sum(served) == 60
    assert max(served) <= 1.75 * sum(served) / 3, served
    assert sum(cached(usage) > 0 for usage in usages) >= 57, "each replica reads it once"


def test_when_a_replica_dies_conversations_go_on_and_its_successor_gets_its_share(service: Live) -> None:
    """Killed between two turns."""
    messages: Says = [{"role": "system", "content": words("victim", 200)}]
    ask(service, messages)
    assert cached(ask(service, messages)) > 0
    mine = [process for process in psutil.Process(service.pid).children(recursive=True) if _is_replica(process)]
    assert len(mine) == 3
    mine[0].kill()
    assert [ask(service, messages)["completion_tokens"] for _ in range(3)] == [ANSWER] * 3
    assert cached(ask(service, messages)) > 0
    deadline = time.monotonic() + BACK_S
    while len([each for each in psutil.Process(service.pid).children(recursive=True) if _is_replica(each)]) < 3:
        assert time.monotonic() < deadline, "no successor"
        time.sleep(0.5)
    wait_for_replicas(service)
    with Replicas(service.ray_address, SPEC) as replicas, ThreadPoolExecutor(12) as pool:
        while len(before := replicas.generated()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        list(pool.map(lambda number: ask(service, [{"role": "user", "content": words(number, 100)}]), range(96)))
        served = [(after - earlier) / ANSWER for earlier, after in zip(before, replicas.generated(), strict=True)]
    assert min(served) >= 8, served


def _is_replica(process: psutil.Process) -> bool:
    try:
        return " ".join(process.cmdline()).startswith(f"ray::ServeReplica:model-{MANY}")
    except psutil.Error:
        return False
