"""OpenAI's Python SDK: embeddings, the models themselves, and what an answer says of itself."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise

import openai
import pytest
from httpx2 import Headers

from tests.support.live import CHAT, CHAT_ALIAS, EMBEDDINGS, SCRIPTED

pytestmark = pytest.mark.live

DIMENSIONS = 384


def test_texts_become_vectors_whose_likeness_is_that_of_the_texts(client: openai.OpenAI) -> None:
    texts = ["A cat sits on the mat.", "A kitten is sitting on a rug.", "The stock market fell sharply today."]
    answer = client.embeddings.create(model=EMBEDDINGS, input=texts)
    cat, kitten, market = (item.embedding for item in answer.data)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert len(cat) == DIMENSIONS
    assert dot(cat, kitten) > 0.5 > dot(cat, market)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_vectors_come_the_same_as_numbers_and_as_base64(client: openai.OpenAI) -> None:
    """The SDK asks for base64 by itself and decodes it; asked for by name, it is the caller's to decode."""
    numbers = client.embeddings.create(model=EMBEDDINGS, input="Hello", encoding_format="float").data[0].embedding
    default = client.embeddings.create(model=EMBEDDINGS, input="Hello").data[0].embedding
    packed = client.embeddings.create(model=EMBEDDINGS, input="Hello", encoding_format="base64").data[0].embedding
    assert isinstance(packed, str)
    unpacked = struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(packed))
    assert default == pytest.approx(numbers, abs=1e-5)
    assert unpacked == pytest.approx(numbers, abs=1e-5)


async def test_texts_become_vectors_in_asyncio(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.embeddings.create(model=EMBEDDINGS, input="Hello")
    assert len(answer.data[0].embedding) == DIMENSIONS


def test_tokens_can_be_given_in_place_of_text(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=EMBEDDINGS, input=[[101, 7592, 102], [101, 2088, 102]])
    assert len(answer.data) == 2


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {CHAT, EMBEDDINGS, SCRIPTED} <= set(listed)
    assert all(model.object == "model" and model.created > 0 and model.owned_by for model in listed.values())


async def test_the_models_are_listed_in_asyncio(async_client: openai.AsyncOpenAI) -> None:
    assert CHAT in {model.id async for model in async_client.models.list()}


@pytest.mark.parametrize("name", [CHAT, CHAT_ALIAS, "scripted/alias"])
def test_a_model_is_found_by_its_id_and_by_its_aliases(client: openai.OpenAI, name: str) -> None:
    assert client.models.retrieve(name).id == name


def test_raw_headers_say_which_request_it_was_and_how_long_it_took(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=SCRIPTED, messages=[{"role": "user", "content": "Hello"}]
    )
    check_headers(raw.headers)
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse()._request_id == raw.request_id


def test_two_requests_have_two_ids(client: openai.OpenAI) -> None:
    ids = [client.models.with_raw_response.list().request_id for _ in range(3)]
    assert all(ids)
    assert all(one != other for one, other in pairwise(ids))


def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it_back(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=SCRIPTED, messages=[{"role": "user", "content": "Hello"}], stream=True
    ) as raw:
        check_headers(raw.headers)
        assert raw.headers["cache-control"] == "no-cache"
        assert raw.headers["x-accel-buffering"] == "no"
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert list(raw.iter_lines())[-2:] == ["data: [DONE]", ""]


def check_headers(headers: Headers) -> None:
    """Exactly one request id, and a whole number of milliseconds."""
    assert len(headers.get_list("x-request-id")) == 1
    assert headers["x-request-id"].startswith("req_")
    assert len(headers.get_list("openai-processing-ms")) == 1
    assert int(headers["openai-processing-ms"]) >= 0


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
