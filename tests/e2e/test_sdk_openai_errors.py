"""OpenAI's Python SDK: what a failure looks like there, trying again, and giving up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.support.live import CHAT, EMBEDDINGS, SCRIPTED, SLEEPER, SLOW, Live

pytestmark = pytest.mark.live

HELLO: Any = [{"role": "user", "content": "Hello"}]
ASLEEP_S = 40

Call = Callable[[openai.OpenAI], Any]

FAILURES = [
    pytest.param(
        lambda client: client.chat.completions.create(model="no-such-model", messages=HELLO),
        openai.NotFoundError,
        {"type": "not_found_error", "code": "model_not_found", "param": "model"},
        id="unknown model",
    ),
    pytest.param(
        lambda client: client.models.retrieve("no-such-model"),
        openai.NotFoundError,
        {"type": "not_found_error", "code": "model_not_found"},
        id="unknown model looked up",
    ),
    pytest.param(
        lambda client: client.chat.completions.create(model=SCRIPTED, messages=HELLO, temperature=3),
        openai.BadRequestError,
        {"type": "invalid_request_error", "param": "temperature"},
        id="value out of range",
    ),
    pytest.param(
        lambda client: client.chat.completions.create(model=SCRIPTED, messages=HELLO, extra_body={"wings": 2}),
        openai.BadRequestError,
        {"type": "invalid_request_error", "code": "unsupported_parameter", "param": "wings"},
        id="unknown parameter",
    ),
    pytest.param(
        lambda client: client.chat.completions.create(model=SCRIPTED, messages=[{"role": "pirate", "content": "Arr"}]),
        openai.BadRequestError,
        {"type": "invalid_request_error"},
        id="unknown role",
    ),
    pytest.param(
        lambda client: client.chat.completions.create(model=EMBEDDINGS, messages=HELLO),
        openai.BadRequestError,
        {"type": "invalid_request_error", "code": "unsupported_capability", "param": "model"},
        id="model without the capability",
    ),
    pytest.param(
        lambda client: client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "word " * 9000}]
        ),
        openai.BadRequestError,
        {"type": "invalid_request_error", "code": "context_length_exceeded"},
        id="prompt too long",
    ),
    pytest.param(
        lambda client: client.with_options(api_key="sk-wrong").chat.completions.create(model=SCRIPTED, messages=HELLO),
        openai.AuthenticationError,
        {"type": "authentication_error", "code": "invalid_api_key"},
        id="wrong key",
    ),
    pytest.param(
        lambda client: client.files.list(),
        openai.NotFoundError,
        {"type": "not_found_error", "code": "not_found"},
        id="unknown route",
    ),
]


@pytest.mark.parametrize(("call", "error", "members"), FAILURES)
def test_a_failure_is_the_sdk_s_own_error_with_all_that_it_knows(
    client: openai.OpenAI, call: Call, error: type[openai.APIStatusError], members: dict[str, str]
) -> None:
    with pytest.raises(error) as caught:
        call(client)
    failure = caught.value
    assert type(failure) is error
    assert failure.message
    assert {name: getattr(failure, name) for name in members} == members
    assert isinstance(failure.body, dict)
    assert set(failure.body) == {"message", "type", "param", "code"}
    assert (failure.request_id or "").startswith("req_")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_the_same_in_asyncio(async_client: openai.AsyncOpenAI, stream: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await async_client.chat.completions.create(model="no-such-model", messages=HELLO, stream=stream)
    assert caught.value.code == "model_not_found"


def test_a_failure_in_the_middle_of_a_stream_is_raised_there(client: openai.OpenAI) -> None:
    told: list[str] = []
    messages: Any = [{"role": "user", "content": "[error]"}]
    with (
        client.chat.completions.create(model=SCRIPTED, messages=messages, stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        told.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert caught.value.type == "server_error"
    assert isinstance(caught.value.code, str)
    assert caught.value.message


def test_a_sleeping_model_is_told_with_a_time_to_try_again(live: Live, client: openai.OpenAI) -> None:
    wait_until_asleep(live)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=SLEEPER, messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.type == "service_unavailable_error"
    assert caught.value.code == "model_starting"
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_the_sdk_s_own_retries_wake_a_sleeping_model(
    live: Live, client: openai.OpenAI, async_client: openai.AsyncOpenAI
) -> None:
    """With threads and with asyncio, at once: it takes a while until the model sleeps again."""
    wait_until_asleep(live)
    create = client.with_options(max_retries=10).chat.completions.with_raw_response.create
    patient = async_client.with_options(max_retries=10)
    raw, answer = await asyncio.gather(
        asyncio.to_thread(create, model=SLEEPER, messages=HELLO),
        patient.chat.completions.create(model=SLEEPER, messages=HELLO),
    )
    assert raw.retries_taken >= 1
    assert raw.parse().choices[0].message.content
    assert answer.choices[0].message.content


def test_a_caller_who_loses_patience_gets_a_timeout_and_the_service_goes_on(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(model=SLOW, messages=HELLO)
    answer = client.chat.completions.create(model=SLOW, messages=HELLO, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"


def test_a_stream_can_be_left_in_the_middle(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model=SLOW, messages=HELLO, stream=True) as stream:
        first = [next(stream) for _ in range(3)]
    assert first[0].choices[0].delta.role == "assistant"
    assert client.chat.completions.create(model=SLOW, messages=HELLO, max_tokens=2).choices


def wait_until_asleep(live: Live) -> None:
    """The sleeper goes back to sleep after a few idle seconds."""
    deadline = time.monotonic() + ASLEEP_S
    while (status := live.model(SLEEPER)["status"]) != "cold":
        assert time.monotonic() < deadline, f"{SLEEPER} does not go to sleep: {status}"
        time.sleep(0.5)
