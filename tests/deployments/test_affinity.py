"""Which replica gets a prompt: where its beginning was read lately, unless others have much less to do."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.backend import EngineRequest
from app.settings import ROOT
from deployments import affinity
from deployments.affinity import (
    AGE_S,
    BLOCK,
    NO_PREFIX,
    PowerOfTwo,
    Prefix,
    PrefixAffinity,
    RoundRobin,
    prefix_of,
    routing_for,
)
from tests.support.clock import Clock
from tests.support.gateway import scripted

IDLE = {"a": 0, "b": 0, "c": 0}


def text(seed: object, length: int) -> bytes:
    """Text that has nothing in common with that of another seed."""
    return (f"{seed} " * length).encode()[:length]


def chat(*contents: str) -> bytes:
    """A body as the gateway writes it."""
    messages = [
        {"role": "assistant" if index % 2 else "user", "content": content} for index, content in enumerate(contents)
    ]
    return msgspec.json.encode({"messages": messages, "max_tokens": 10 + len(contents), "model": "m"})


def common(one: Prefix, other: Prefix) -> int:
    """How many beginnings two prompts share."""
    pairs = zip(one.hashes, other.hashes, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one.hashes), len(other.hashes)))


@given(st.binary(max_size=6000), st.binary(max_size=3000), st.binary(max_size=3000))
def test_prompts_that_begin_alike_share_that_many_beginnings(shared: bytes, one: bytes, other: bytes):
    found = common(prefix_of(shared + one), prefix_of(shared + other))
    assert found >= len(prefix_of(shared).hashes)


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=12), st.text(max_size=400))
def test_the_next_turn_of_a_conversation_shares_all_but_its_last_words(contents: list[str], more: str):
    before, after = chat(*contents), chat(*contents, "answer", more)
    spoken = before.index(b'],"max_tokens"')
    assert common(prefix_of(before), prefix_of(after)) >= len(prefix_of(before[:spoken]).hashes)


@given(st.integers(0, 5000), st.integers(BLOCK, 8000))
def test_prompts_that_differ_share_nothing_from_there_on(where: int, length: int):
    where = min(where, length - 1)
    one = text("x", length)
    other = one[:where] + b"!" + one[where + 1 :]
    assert common(prefix_of(one), prefix_of(other)) == len(prefix_of(one[:where]).hashes)


def test_a_long_prompt_has_few_beginnings():
    assert len(prefix_of(b"x" * 10_000_000).hashes) < 100
    assert prefix_of(b"x" * (BLOCK - 1)) is NO_PREFIX


def test_a_conversation_stays_where_it_is():
    routing = PrefixAffinity()
    contents = ["x" * 1000]
    first = routing.choose(prefix_of(chat(*contents)), IDLE)
    for turn in range(5):
        prefix = prefix_of(chat(*contents))
        assert routing.choose(prefix, {**IDLE, first: 2}) == first or turn == 0
        routing.placed(prefix, first)
        contents += ["answer", f"{turn} " * 100]


def test_the_longest_match_wins():
    routing = PrefixAffinity()
    system, talk = text("system", 2000), text("talk", 2000)
    routing.placed(prefix_of(system), "a")
    routing.placed(prefix_of(system + talk), "b")
    routing.placed(prefix_of(text("other", 4000)), "c")
    assert routing.choose(prefix_of(system + talk + text("more", 1000)), IDLE) == "b"
    assert routing.known(prefix_of(system + talk))["a"] < routing.known(prefix_of(system + talk))["b"]


def test_a_replica_that_has_much_more_to_do_than_others_is_spared():
    routing = PrefixAffinity()
    prefix = prefix_of(text("prompt", 4000))
    routing.placed(prefix, "a")
    assert routing.choose(prefix, {"a": 3, "b": 0, "c": 0}) == "a"
    assert routing.choose(prefix, {"a": 9, "b": 0, "c": 0}) != "a"
    assert routing.choose(prefix, {"a": 45, "b": 30, "c": 30}) == "a", "with more to do, more of a difference is none"
    assert routing.choose(prefix, {"a": 60, "b": 30, "c": 30}) != "a"


def test_a_flood_of_one_prompt_spreads_and_stays_even():
    routing = PrefixAffinity()
    prefix = prefix_of(text("prompt", 4000))
    busy = dict.fromkeys("abcd", 0)
    for _ in range(80):
        replica = routing.choose(prefix, busy)
        routing.placed(prefix, replica)
        busy[replica] += 1
    assert max(busy.values()) <= 1.5 * sum(busy.values()) / len(busy)


def test_what_few_words_have_in_common_outweighs_no_load():
    routing = PrefixAffinity()
    routing.placed(prefix_of(text("preamble", BLOCK)), "a")
    prompt = text("preamble", BLOCK) + text("all the rest", 8000)
    assert routing.choose(prefix_of(prompt), {"a": 1, "b": 0, "c": 1}) == "b"


def test_prompts_that_nobody_knows_go_where_least_is_to_do():
    assert PrefixAffinity().choose(prefix_of(text("new", 4000)), {"a": 2, "b": 1, "c": 2}) == "b"
    assert PrefixAffinity().choose(NO_PREFIX, {"a": 2, "b": 2, "c": 1}) == "c"


def test_a_new_replica_gets_its_share_at_once():
    routing = PrefixAffinity()
    busy = {"a": 6, "b": 6, "new": 0}
    for number in range(6):
        replica = routing.choose(prefix_of(text(number, 4000)), busy)
        routing.placed(prefix_of(text(number, 4000)), replica)
        busy[replica] += 1
    assert busy["new"] == 6


def test_a_replica_that_is_gone_is_not_chosen():
    routing = PrefixAffinity()
    prefix = prefix_of(text("prompt", 4000))
    routing.placed(prefix, "a")
    assert routing.choose(prefix, {"b": 5, "c": 4}) == "c"
    routing.placed(prefix, "c")
    assert routing.choose(prefix, {"b": 0, "c": 2}) == "c"


def test_idle_replicas_share_prompts_and_short_requests_evenly():
    routing = PrefixAffinity()
    for prefixes in ([prefix_of(text(number, 1000)) for number in range(300)], [NO_PREFIX] * 300):
        chosen = Counter(routing.choose(prefix, IDLE) for prefix in prefixes)
        assert all(60 < chosen[name] < 140 for name in IDLE), chosen


def test_all_gateways_send_a_prompt_that_none_knows_to_the_same_replica():
    code = (
        "from deployments.affinity import PrefixAffinity, prefix_of\n"
        "for number in range(20):\n"
        "    prefix = prefix_of(f'{number} prompt '.encode() * 100)\n"
        "    print(PrefixAffinity().choose(prefix, {'a': 0, 'b': 0, 'c': 0}))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert set(runs[0].stdout.split()) == {"a", "b", "c"}


def test_what_was_read_long_ago_is_forgotten():
    clock = Clock()
    routing = PrefixAffinity(clock)
    prefix = prefix_of(text("prompt", 4000))
    routing.placed(prefix, "a")
    clock.now += AGE_S - 1
    assert routing.known(prefix) == {"a": 3840}
    routing.placed(prefix, "b")
    clock.now += 2
    assert routing.known(prefix) == {"b": 3840}


def test_memory_is_bounded_and_forgets_ends_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(affinity, "ENTRIES", 40)
    routing = PrefixAffinity()
    oldest, newest = prefix_of(text("first", 4096)), prefix_of(text("last", 4096))
    for prefix in (oldest, prefix_of(text("between", 4096)), newest):
        routing.placed(prefix, "a")
    assert len(routing) == 40
    assert routing.known(newest) == {"a": 4096}
    assert 0 < routing.known(oldest)["a"] < 4096


def test_only_what_generates_is_read():
    routing = PrefixAffinity()
    body = text("x", 1000)
    assert routing.read(EngineRequest("/v1/chat/completions", body, "id", "m")).hashes
    assert routing.read(EngineRequest("/v1/messages", body, "id", "m")).hashes
    assert routing.read(EngineRequest("/v1/embeddings", body, "id", "m")) is NO_PREFIX


def test_power_of_two_takes_the_less_loaded_of_two():
    chosen = Counter(PowerOfTwo().choose(NO_PREFIX, {"a": 9, "b": 0, "c": 5}) for _ in range(300))
    assert chosen["a"] == 0
    assert chosen["b"] > chosen["c"] > 0


def test_round_robin_goes_round():
    routing = RoundRobin()
    seen: list[str] = []
    for busy in (IDLE, IDLE, IDLE, IDLE, {"a": 0, "c": 0}, {**IDLE, "d": 0}, IDLE):
        seen.append(routing.choose(NO_PREFIX, busy))
        routing.placed(NO_PREFIX, seen[-1])
    assert seen == ["a", "b", "c", "a", "c", "d", "b"]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, type(None)),
        ({"autoscaling": {"max_replicas": 2}}, PrefixAffinity),
        ({"autoscaling": {"max_replicas": 2}, "routing": "round_robin"}, RoundRobin),
    ],
)
def test_where_there_is_one_replica_nothing_is_chosen(fields: dict[str, Any], kind: type):
    assert isinstance(routing_for(scripted("m", **fields)), kind)
