"""Every sample of the documents that define Manta works as it is written."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.services.limit_files import load_limits
from tests.seeds.documents import s0_endpoints, s1_completions, s2_builtin_server, s3_api_reference
from tests.seeds.programs import LONGEST_S, STORY_S, Answer, bash, node, python_028
from tests.seeds.sample import Sample
from tests.seeds.shape import differences
from tests.support.gateway import CHAT, GatewayFactory
from tests.support.live import Live
from tests.support.openai_schema import data_events
from tests.support.people import bearer, signed_in
from tests.support.sign_in import cookie_header, signing_in

DOCUMENTS = (s0_endpoints, s1_completions, s2_builtin_server, s3_api_reference)
SAMPLES: tuple[Sample, ...] = tuple(sample for document in DOCUMENTS for sample in document.SAMPLES)

CONDITIONS = {"healthy", "degraded", "unhealthy", "not_configured"}


def of_kind(*kinds: str, blank: bool = False) -> pytest.MarkDecorator:
    """One test for each sample of these kinds; ``blank``: only those with an empty place for a token."""
    chosen = [sample for sample in SAMPLES if sample.kind in kinds and (sample.has_blank or not blank)]
    return pytest.mark.parametrize("sample", chosen, ids=lambda sample: sample.id)


@pytest.mark.live
@of_kind("bash")
def test_a_command_line_works_with_the_token_filled_in(sample: Sample, live: Live, tmp_path: Path) -> None:
    check(sample, run(sample, sample.filled(live.url, credential_for(sample, live)), tmp_path))


@pytest.mark.live
@of_kind("bash", blank=True)
def test_a_command_line_works_with_its_token_left_blank(sample: Sample, live: Live, tmp_path: Path) -> None:
    answer = run(sample, sample.addressed(live.url), tmp_path)
    if sample.credential is None:
        check(sample, answer)
    else:
        assert answer.status == 401, answer.body
        assert json.loads(answer.body)["error"]["code"] == "missing_credentials"


@pytest.mark.live
@of_kind("body")
def test_a_body_is_answered_as_the_document_says(sample: Sample, live: Live, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(sample.text)
    command = f"curl {live.url}{sample.path} -H 'Content-Type: application/json' --data-binary @{body}"
    check(sample, run(sample, command, tmp_path))


@pytest.mark.live
@of_kind("python")
def test_a_python_program_works_with_the_openai_package_of_its_time(sample: Sample, live: Live) -> None:
    program = sample.filled(live.url, live.api_key)
    printed = python_028(f"{program}\nimport json\nprint(json.dumps(response))")
    check_answer(sample, json.loads(printed))


@pytest.mark.live
@of_kind("javascript")
def test_a_javascript_program_works(sample: Sample, live: Live) -> None:
    program = sample.filled(live.url, live.api_key)
    printed = node(f"{program}\nconsole.log(JSON.stringify(completion));")
    check_answer(sample, json.loads(printed))


@pytest.mark.live
@of_kind("url")
def test_an_address_shows_a_page(sample: Sample, live: Live) -> None:
    response = httpx.get(sample.addressed(live.url))
    assert response.status_code == sample.status
    assert response.headers["content-type"].startswith("text/html")


async def test_a_sign_in_goes_to_the_provider_and_comes_back_with_tokens(
    new_gateway: GatewayFactory, tmp_path: Path
) -> None:
    login, callback = (sample for sample in SAMPLES if sample.kind == "sign-in")
    async with signing_in(new_gateway) as world:
        url = world.gateway.url
        sent = await asyncio.to_thread(bash, login.addressed(url), tmp_path)
        assert sent.status == login.status
        assert (sent.header("location") or "").startswith(f"{world.provider.url}/authorize?")
        begun = await world.begin()
        code, state = world.provider.grant(begun.url), begun.params["state"]
        address = callback.addressed(url).replace("code=", f"code={code}").replace("state=", f"state={state}")
        response = await world.gateway.anonymous.get(address, headers=cookie_header(begun.cookies))
        assert response.status_code == callback.status, response.text
        check_answer(callback, response.json())


@of_kind("headers")
async def test_a_first_answers_headers_are_those_of_the_document(sample: Sample, new_gateway: GatewayFactory) -> None:
    async with new_gateway(limits=load_limits("configs/limits.yaml")) as gateway:
        _, pair = await signed_in(gateway)
        headers = bearer(pair.access_token)
        if sample.path.endswith("/chat/completions"):
            body = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
            answer = await gateway.anonymous.post(sample.path, json=body, headers=headers)
        else:
            answer = await gateway.anonymous.get(sample.path, headers=headers)
    assert answer.status_code == 200
    for name, value in (line.split(": ") for line in sample.text.splitlines()):
        if name == "X-RateLimit-Reset":
            assert len(answer.headers[name]) == len(value)
            assert int(answer.headers[name]) > time.time()
        else:
            assert answer.headers[name] == value


@pytest.mark.live
@pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1"])
def test_the_status_has_the_four_keys_of_s3_each_in_a_known_condition(live: Live, prefix: str) -> None:
    status = httpx.get(f"{live.url}{prefix}/status").raise_for_status().json()
    assert set(status) >= set(s3_api_reference.STATUS)
    assert set(status["external_apis"]) == {"serper"}
    conditions = [
        status["api_gateway"],
        status["inference_model"],
        status["database"],
        *status["external_apis"].values(),
    ]
    assert set(conditions) <= CONDITIONS


@pytest.mark.live
def test_the_health_timestamp_is_written_as_in_s3(live: Live) -> None:
    """``2024-01-01T12:00:00Z``: UTC, whole seconds."""
    timestamp = httpx.get(f"{live.url}/health").json()["timestamp"]
    assert len(timestamp) == len("2024-01-01T12:00:00Z")
    assert timestamp[10] == "T"
    assert timestamp.endswith("Z")


@pytest.mark.live
def test_the_models_list_knows_the_models_that_the_documents_name(live: Live) -> None:
    listed = httpx.get(f"{live.openai_url}/models").json()["data"]
    names = {name for model in listed for name in (model["id"], *model["aliases"])}
    assert names >= {sample.model for sample in SAMPLES if sample.model} | {"jan-v1-7b"}


def test_every_document_has_samples_and_no_two_share_a_name() -> None:
    ids = [sample.id for sample in SAMPLES]
    assert len(set(ids)) == len(ids)
    assert {sample.document for sample in SAMPLES} == {document.DOCUMENT for document in DOCUMENTS}


def credential_for(sample: Sample, live: Live) -> str:
    """What stands for the sample's token: the first key, or a token of a guest's session."""
    if sample.credential not in ("access token", "refresh token"):
        return live.api_key
    pair = httpx.post(f"{live.openai_url}/auth/guest-login").raise_for_status().json()
    return pair[sample.credential.replace(" ", "_")]


def run(sample: Sample, command: str, folder: Path) -> Answer:
    """Run a command line; a stream is listened to for a while only."""
    return bash(command, folder, seconds=STORY_S if sample.streams else LONGEST_S)


def check(sample: Sample, answer: Answer) -> None:
    """The answer has the sample's status, and the shape that its document shows."""
    assert answer.status == sample.status, answer.body
    if sample.streams:
        check_stream(sample, answer)
    else:
        assert answer.whole, f"no answer within {LONGEST_S} s"
        check_answer(sample, json.loads(answer.body))


def check_answer(sample: Sample, body: Any) -> None:
    """A whole answer, or one chunk, is like the document's example."""
    assert not list(differences(sample.shows, body))
    for name, value in sample.says.items():
        assert body[name] == value
    if sample.model:
        assert body.get("model", sample.model) == sample.model


def check_stream(sample: Sample, answer: Answer) -> None:
    """The stream begins with the role, ends with a reason and ``[DONE]``, and each chunk is like the example."""
    content_type = answer.header("content-type") or ""
    assert content_type.startswith("text/event-stream")
    # A story that was still being told has no end, and its last event may be half of one.
    text = answer.body if answer.whole else answer.body[: answer.body.rfind("\n\n") + 2]
    events = data_events(text)
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    for chunk in chunks:
        check_answer(sample, chunk)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert any(chunk["choices"][0]["delta"].get("content") for chunk in chunks)
    if answer.whole:
        assert events[-1] == "[DONE]"
        assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
