"""A plain stream's tokens take the short way while their reader keeps up, and vLLM's way while it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines.vllm_lane import Lane


class Upper:
    """Chunks that can be told from texts."""

    def event(self, text: str) -> bytes:
        if text == "bad":
            raise ValueError(text)
        return text.upper().encode()


class Reader:
    def __init__(self) -> None:
        self.keeps_up = True
        self.got: list[bytes] = []

    def ready(self) -> bool:
        return self.keeps_up

    def write(self, body: bytes) -> None:
        self.got.append(body)


class State:
    """What a lane touches of vLLM's ``RequestState``."""

    def __init__(self, **differs: Any) -> None:
        self.queue: Any = SimpleNamespace(output=None, aggregate=True, put=self._put)
        self.parent_req = None
        self.detokenizer = SimpleNamespace(get_next_output_text=lambda finished, delta: self.text)
        self.stream_interval = 1
        self.streaming_input = False
        self.sampling_mask_chunks: list[Any] = []
        self.text = ""
        self.errors: list[Exception] = []
        vars(self).update(differs)

    def make_request_output(self, new_token_ids: list[int], pooling_output: Any, finish_reason: Any, *_: Any) -> Any:
        return ("result", self.text, finish_reason)

    def step(self, text: str, finish_reason: str | None = None) -> Any:
        """As vLLM does for a new token."""
        self.text = text
        result = self.make_request_output([1], None, finish_reason, None)
        if result is not None:
            self.queue.output = result
        return result

    def _put(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def find(state: State, reader: Reader | None, *, skips_empty: bool = False) -> Lane | None:
    processor = SimpleNamespace(request_states={"inner": state}, external_req_ids={"outer": ["inner"]})
    return Lane.find(processor, "outer", Upper(), reader, skips_empty=skips_empty)


def lane_of(state: State, reader: Reader, *, skips_empty: bool = False) -> Lane:
    lane = find(state, reader, skips_empty=skips_empty)
    assert lane is not None
    return lane


def test_until_it_is_opened_all_goes_vllms_way(reader: Reader):
    state = State()
    lane_of(state, reader)
    assert state.step("a") == ("result", "a", None)
    assert reader.got == []


def test_tokens_are_written_at_once_and_counted(reader: Reader):
    state = State()
    lane = lane_of(state, reader)
    lane.open()
    assert [state.step("a"), state.step("b")] == [None, None]
    assert reader.got == [b"A", b"B"]
    assert lane.tokens == 2


def test_it_does_not_open_before_what_is_queued(reader: Reader):
    state = State()
    lane = lane_of(state, reader)
    state.step("a")
    lane.open()
    assert state.step("b") is not None
    assert reader.got == []


def test_the_end_goes_vllms_way(reader: Reader):
    state = State()
    lane_of(state, reader).open()
    assert state.step("a", "stop") == ("result", "a", "stop")
    assert reader.got == []


def test_a_reader_who_is_behind_closes_it_until_vllms_way_is_empty(reader: Reader):
    state = State()
    lane = lane_of(state, reader)
    lane.open()
    state.step("a")
    reader.keeps_up = False
    assert state.step("b") is not None
    reader.keeps_up = True
    assert state.step("c") is not None, "b has not been sent yet"
    state.queue.output = None
    lane.open()
    assert state.step("d") is None
    assert reader.got == [b"A", b"D"]
    assert lane.tokens == 2


@pytest.mark.parametrize("skips_empty", [True, False])
def test_a_token_without_text_has_a_chunk_where_vllm_makes_one(reader: Reader, skips_empty: bool):
    state = State()
    lane = lane_of(state, reader, skips_empty=skips_empty)
    lane.open()
    assert state.step("") is None
    assert reader.got == ([] if skips_empty else [b""])
    assert lane.tokens == 1


def test_a_chunk_that_cannot_be_made_is_the_one_requests_failure(reader: Reader):
    state = State()
    lane_of(state, reader).open()
    assert state.step("bad") is None
    assert [str(error) for error in state.errors] == ["bad"]
    assert state.step("a") is not None, "and nothing comes after it on the short way"


def test_a_closed_one_leaves_the_state_as_it_was(reader: Reader):
    state = State()
    lane = lane_of(state, reader)
    lane.open()
    lane.close()
    assert "make_request_output" not in vars(state)
    assert state.step("a") is not None
    lane.close()


@pytest.mark.parametrize(
    "differs",
    [
        {"parent_req": object()},
        {"detokenizer": None},
        {"stream_interval": 4},
        {"streaming_input": True},
        {"sampling_mask_chunks": [object()]},
        {"queue": None},
        {"queue": SimpleNamespace(output=None, aggregate=False)},
    ],
    ids=lambda differs: next(iter(differs)),
)
def test_a_request_that_says_more_than_text_has_none(reader: Reader, differs: dict[str, Any]):
    assert find(State(**differs), reader) is None


def test_a_reader_of_messages_alone_has_none():
    assert find(State(), None) is None


def test_a_request_that_is_over_has_none(reader: Reader):
    processor = SimpleNamespace(request_states={}, external_req_ids={})
    assert Lane.find(processor, "outer", Upper(), reader, skips_empty=False) is None
