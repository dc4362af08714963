"""Loads whose prompts begin alike: what a cache of prompts is for; and one whose prompts do not."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping

Turns = list[list[str]]
"""For each caller the bodies to ask, one after the other."""

CALLERS = 16
REQUESTS = 24
"""By each caller."""

PROMPTS = 64
PROMPT_TOKENS = 1024
QUESTION_TOKENS = 96
TURNS = 8
"""Of a conversation."""

TURN_TOKENS = 160
ANSWER_TOKENS = 16


def system_prompts(model: str, seed: str) -> Turns:
    """Questions behind one of many system prompts, the n-th of which is used 1/n as often as the first (Zipf)."""
    return _behind_prompts(model, seed, [1 / (number + 1) for number in range(PROMPTS)])


def equal_prompts(model: str, seed: str) -> Turns:
    """Questions behind one of many system prompts, all used equally often: tenants of one size."""
    return _behind_prompts(model, seed, [1.0] * PROMPTS)


def _behind_prompts(model: str, seed: str, weights: list[float]) -> Turns:
    rng = random.Random(seed)
    prompts = [_says("system", _words(PROMPT_TOKENS, f"{model} {number}")) for number in range(PROMPTS)]

    def body(caller: int, each: int) -> str:
        question = _says("user", _words(QUESTION_TOKENS, f"{seed} {caller} {each}"))
        return _body(model, [*rng.choices(prompts, weights), question])

    return [[body(caller, each) for each in range(REQUESTS)] for caller in range(CALLERS)]


def conversations(model: str, seed: str) -> Turns:
    """Conversations of several turns, each with all that was said before."""

    def bodies(caller: int) -> list[str]:
        found: list[str] = []
        for talk in range(REQUESTS // TURNS):
            messages = [_says("system", _words(TURN_TOKENS, f"{seed} {caller} {talk}"))]
            for turn in range(TURNS):
                messages.append(_says("user", _words(TURN_TOKENS, f"{seed} {caller} {talk} {turn}")))
                found.append(_body(model, messages))
                messages.append(_says("assistant", _words(ANSWER_TOKENS, f"{seed} {caller} {talk} {turn} answer")))
        return found

    return [bodies(caller) for caller in range(CALLERS)]


def nothing_shared(model: str, seed: str) -> Turns:
    """Questions that have nothing in common."""

    def body(caller: int, each: int) -> str:
        return _body(model, [_says("user", _words(PROMPT_TOKENS // 2, f"{seed} {caller} {each}"))])

    return [[body(caller, each) for each in range(REQUESTS)] for caller in range(CALLERS)]


LOADS: Mapping[str, Callable[[str, str], Turns]] = {
    "system prompts, Zipf": system_prompts,
    "system prompts, equal": equal_prompts,
    "conversations": conversations,
    "nothing shared": nothing_shared,
}


def _words(tokens: int, seed: str) -> str:
    """Text of so many of the scripted engine's tokens."""
    rng = random.Random(seed)
    letters = iter(lambda: "".join(rng.choices("abcdefghijklmnop", k=4)), None)
    return " ".join(itertools.islice(letters, tokens))


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _body(model: str, messages: list[dict[str, str]]) -> str:
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": ANSWER_TOKENS,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(body)
