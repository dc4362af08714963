"""What a request to vLLM took, read at its end from what vLLM keeps of each of its sequences anyway.

How many tokens have come is counted as they come, and so is what still comes for a request that was given up, until its
engine core has heard of that (``Counters``). A prompt counts from its first token of an answer on: before that nobody
here knows whether it waits or is read.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from app.domain.usage import NOTHING, Usage


class Sequences:
    """A request's, of which there is one for each prompt and choice, and what reads their thoughts.

    Attributes:
        overtime: Tokens that came for some after they had been given up, by their ids.
    """

    __slots__ = ("_parsers", "_states", "overtime")

    def __init__(self) -> None:
        self._states: list[Any] = []
        self._parsers: list[Any] = []
        self.overtime: dict[str, int] = {}

    def add(self, state: Any) -> None:
        """Another sequence: vLLM's ``RequestState``."""
        self._states.append(state)

    def parse_with(self, parser: Any) -> None:
        """Another of vLLM's parsers: one a choice, and perhaps one before those that nobody uses."""
        self._parsers.append(parser)

    def among(self, ids: Container[str]) -> list[str]:
        """The ids of those that are among these."""
        return [state.request_id for state in self._states if state.request_id in ids]

    def usage(self) -> Usage:
        """What they took so far."""
        begun = [state for state in self._states if not state.is_prefilling or self.overtime.get(state.request_id)]
        if not begun:
            return NOTHING
        # Choices of the same prompt are children of one request: it is read for the first, and found there by the rest.
        prompts: dict[int, Any] = {}
        for state in begun:
            prompts.setdefault(id(state if state.parent_req is None else state.parent_req), state)
        return Usage(
            sum(state.prompt_len for state in prompts.values()),
            sum(map(_generated, begun)) + sum(self.overtime.values()),
            sum(state.num_cached_tokens for state in prompts.values()),
            self._reasoning(),
        )

    def _reasoning(self) -> int:
        if not self._parsers:
            return 0
        parsers = self._parsers[-len(self._states) :]
        parsers += parsers[-1:] * (len(self._states) - len(parsers))
        return sum(
            parser.count_reasoning_tokens(tuple(state.detokenizer.output_token_ids))
            for state, parser in zip(self._states, parsers, strict=True)
            if _generated(state)
        )


def _generated(state: Any) -> int:
    return state.detokenizer.num_output_tokens() if state.detokenizer is not None else 0
