"""Things die: a replica in the middle of a stream, before the first token, by a payload's doing, again and again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any

import httpx
import psutil
import pytest

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from tests.support.inside import Inside
from tests.support.live import Live
from tests.support.ports import free_port
from tests.support.response_events import valid_events
from tests.support.responses import text_of

pytestmark = pytest.mark.live

RESTART_S = 60
ENGINE_STOPS_S = 1
STALLED_S = 5
STALLED_READERS = 6
MOST_MEMORY = 48 * 1024 * 1024
"""What the gateway may need for all readers that do not read: a fraction of one of their answers each."""
LOG_S = 3
"""What a line of a replica or the controller may take to the log of the service."""

PAIR = """
id: pair
engine: scripted
engine_args: {tokens_per_s: 40, default_tokens: 400}
autoscaling: {min_replicas: 2, max_replicas: 2}
resources: {num_cpus: 0.1}
"""
BYSTANDER = """
id: bystander
engine: scripted
engine_args: {tokens_per_s: 40, default_tokens: 120}
resources: {num_cpus: 0.1}
"""
KILLABLE = """
id: killable
engine: scripted
engine_args: {die_on: "[kill]"}
resources: {num_cpus: 0.1}
"""
DIES_ONCE = """
id: dies-once
engine: scripted
engine_args: {die_on: "[kill]", die_once_file: %s}
resources: {num_cpus: 0.1}
"""
NEVER_STARTS = """
id: never-starts
engine: scripted
engine_args: {fail_start: "the dog ate the weights"}
resources: {num_cpus: 0.1}
"""
SLEEPY = """
id: sleepy
engine: scripted
engine_args: {start_s: 2, tokens_per_s: 50}
autoscaling: {min_replicas: 0, max_replicas: 1}
resources: {num_cpus: 0.1}
"""
CROWDED = """
id: crowded
engine: scripted
engine_args: {ttft_s: 3}
limits: {max_ongoing_requests: 1, max_queued_requests: 1}
resources: {num_cpus: 0.1}
"""
TORRENT_TOKENS = 120_000
TORRENT = f"""
id: torrent
engine: scripted
engine_args: {{max_model_len: 1000000, default_tokens: {TORRENT_TOKENS}}}
resources: {{num_cpus: 0.1}}
"""
"""Thirty megabytes an answer, as fast as anybody takes them."""


SETTLED = {"never-starts": "failed", "sleepy": "cold"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service of scripted models, each with its fault."""
    folder = tmp_path_factory.mktemp("faults")
    models = folder / "models"
    models.mkdir()
    texts = (PAIR, BYSTANDER, KILLABLE, DIES_ONCE % (folder / "died"), NEVER_STARTS, SLEEPY, CROWDED, TORRENT)
    for number, text in enumerate(texts):
        (models / f"{number}.yaml").write_text(text)
    service = Live(f"http://127.0.0.1:{free_port()}", folder / "state", (models,), SETTLED)
    service.start()
    yield service
    service.stop()


def chat(service: Live, model: str, text: str = "hello", **fields: Any) -> httpx.Response:
    """One unary chat completion."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return httpx.post(f"{service.openai_url}/chat/completions", json=body, headers=service.auth, timeout=120)


def events(service: Live, model: str, text: str = "hello", **fields: Any) -> Iterator[str]:
    """The data of each event of a streamed chat completion."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
    url = f"{service.openai_url}/chat/completions"
    with httpx.stream("POST", url, json=body, headers=service.auth, timeout=120) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: "):
                yield line.removeprefix("data: ")


def last_event(stream: Iterator[str]) -> str:
    """What a stream ends with."""
    return list(stream)[-1]


def spec_of(service: Live, model: str) -> ModelSpec:
    """The model's spec, as the running service has it."""
    (spec,) = [spec for spec in load_models(str(service.models[0])) if spec.id == model]
    return spec


def answers(service: Live) -> bool:
    """Whether there is a gateway that knows its models."""
    try:
        return httpx.get(f"{service.openai_url}/models/bystander").status_code == 200
    except httpx.HTTPError:
        return False


def wait_until_it_answers(service: Live, killed: str) -> None:
    """Return when what was killed is there again."""
    deadline = time.monotonic() + RESTART_S
    while not answers(service):
        assert time.monotonic() < deadline, f"{killed} did not come back"
        time.sleep(0.2)


def replicas(service: Live, model: str) -> list[psutil.Process]:
    """The processes of a model's replicas."""
    return processes(service, f"ray::ServeReplica:model-{model}@")


def processes(service: Live, title: str) -> list[psutil.Process]:
    """The service's processes whose title begins so."""
    below = psutil.Process(service.pid).children(recursive=True)
    return [process for process in below if _title(process).startswith(title)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def deaths(service: Live, model: str) -> int:
    """How many of the model's replicas Serve has found dead."""
    log = (service.state_dir / "logs" / "serve.log").read_text()
    return len(re.findall(rf"app='model-{model}@\w+'\) crashed, marking it unhealthy", log))


def wait_until_ready(service: Live, model: str, count: int) -> None:
    """Return when the model has ``count`` replicas again."""
    deadline = time.monotonic() + RESTART_S
    while service.model(model)["replicas"] != count:
        assert time.monotonic() < deadline, f"{model} did not come back: {service.model(model)}"
        time.sleep(0.2)


def error_of(data: str) -> dict[str, Any] | None:
    """The error that an event carries, if it carries one."""
    return None if data == "[DONE]" else json.loads(data).get("error")


def test_a_replica_killed_in_mid_stream_ends_its_streams_with_an_error_and_no_others(service: Live) -> None:
    """Of two streams on two replicas, and one of another model, only the victim's ends, with an error event."""
    wait_until_ready(service, "pair", 2)
    with ThreadPoolExecutor(5) as pool:
        bystander = pool.submit(lambda: list(events(service, "bystander")))
        # One after the other is under way: Serve gives each to the replica that has fewer.
        streams = [events(service, "pair") for _ in range(4)]
        for stream in streams:
            next(stream)
        replicas(service, "pair")[0].kill()
        ends = list(pool.map(last_event, streams))
        assert bystander.result()[-1] == "[DONE]"
    broken = [error for end in ends if (error := error_of(end))]
    assert {error["code"] for error in broken} == {"engine_crashed"}
    assert 0 < len(broken) < 4, f"the streams of one replica of two had to end: {ends}"
    assert ends.count("[DONE]") == 4 - len(broken)
    wait_until_ready(service, "pair", 2)
    assert chat(service, "pair", max_tokens=3).status_code == 200


def test_a_replica_killed_while_a_response_streams_leaves_what_its_reader_saw(service: Live) -> None:
    """Its reader is told what went wrong; what came before is the response that is kept, once, and in its turn."""
    wait_until_ready(service, "bystander", 1)
    conversation = httpx.post(f"{service.openai_url}/conversations", json={}, headers=service.auth).json()["id"]
    body = {"model": "bystander", "input": "hello", "conversation": conversation, "stream": True}
    url, seen = f"{service.openai_url}/responses", ""
    with httpx.stream("POST", url, json=body, headers=service.auth, timeout=120) as response:
        parts = response.iter_text()
        while seen.count("event: response.output_text.delta") < 3:
            seen += next(parts)
        replicas(service, "bystander")[0].kill()
        seen += "".join(parts)
    told = valid_events(seen)
    said = "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
    last = told[-1]["response"]
    assert (last["status"], last["error"]["code"]) == ("failed", "server_error")
    assert text_of(last) == said
    assert httpx.get(f"{url}/{last['id']}", headers=service.auth).json() == last
    items = f"{service.openai_url}/conversations/{conversation}/items"
    kept = httpx.get(items, params={"order": "asc"}, headers=service.auth).json()["data"]
    assert kept[1:] == last["output"]
    wait_until_ready(service, "bystander", 1)


def test_a_replica_killed_before_the_first_token_costs_its_caller_nothing(service: Live) -> None:
    """The engine dies of the request, once; the request is answered by the restarted replica."""
    (before,) = replicas(service, "dies-once")
    response = chat(service, "dies-once", "please [kill] yourself")
    assert response.status_code == 200, response.text
    (after,) = replicas(service, "dies-once")
    assert before.pid != after.pid, "the replica was to die"


def test_a_payload_that_kills_twice_is_named_and_not_tried_a_third_time(service: Live) -> None:
    """Two replicas die; the third lives on, and the same payload is refused at once."""
    (first,) = replicas(service, "killable")
    response = chat(service, "killable", "please [kill] yourself")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "engine_crashed_by_request"
    assert "twice" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"
    assert chat(service, "killable", "an innocent question").status_code == 200
    time.sleep(LOG_S)
    assert deaths(service, "killable") == 2
    (third,) = replicas(service, "killable")
    assert third.pid != first.pid
    again = chat(service, "killable", "please [kill] yourself")
    assert again.json()["error"]["code"] == "engine_crashed_by_request"
    assert chat(service, "killable", "another innocent question").status_code == 200
    assert [third] == replicas(service, "killable"), "nobody may die of it again"


def test_a_stream_that_dies_before_its_first_token_is_tried_again_like_any_other(service: Live) -> None:
    """A killer asked for as a stream is refused: with a status, or in the stream if waiting comments went ahead."""
    body = {"model": "killable", "messages": [{"role": "user", "content": "stream and [kill]"}], "stream": True}
    response = httpx.post(f"{service.openai_url}/chat/completions", json=body, headers=service.auth, timeout=120)
    if response.status_code == 200:
        comments, _, event = response.text.partition("data: ")
        assert set(comments.split("\n")) == {": waiting for the model", ""}
    else:
        assert response.status_code == 500
        event = response.text
    error = error_of(event)
    assert error is not None
    assert error["code"] == "engine_crashed_by_request"
    assert chat(service, "killable", "an innocent question").status_code == 200


def test_a_gateway_that_dies_takes_its_work_along_and_comes_back(service: Live) -> None:
    """Its streams break, the engine stops working for them, and Serve brings a new one."""
    with Inside(service.ray_address) as loads, ThreadPoolExecutor(2) as pool:
        spec = spec_of(service, "bystander")
        stream = events(service, "bystander", max_tokens=400)
        next(stream)
        gateway = processes(service, "ray::ServeReplica:gateway:Gateway")[0]
        gateway.kill()
        with pytest.raises(httpx.HTTPError):
            pool.submit(list, stream).result()
        time.sleep(ENGINE_STOPS_S)
        assert loads.of(spec)["running"] == 0
    wait_until_it_answers(service, "the gateway")
    assert chat(service, "bystander", max_tokens=3).status_code == 200


def test_a_model_that_cannot_start_says_why(service: Live) -> None:
    """Its state is failed, with the reason in words; a request to it is told the same at once."""
    deadline = time.monotonic() + RESTART_S
    # Now and then it is tried again.
    while (model := service.model("never-starts"))["status"] != "failed":
        assert time.monotonic() < deadline, model
        time.sleep(0.2)
    assert "the dog ate the weights" in model["detail"]
    response = chat(service, "never-starts")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_failed"
    assert "the dog ate the weights" in response.json()["error"]["message"]
    assert "Retry-After" in response.headers
    status = httpx.get(f"{service.openai_url}/status", headers=service.auth).json()
    assert status["inference_model"] == "degraded"


def test_a_sleeping_model_wakes_for_a_request(service: Live) -> None:
    """It is cold, and listed; the first request waits for it and is answered."""
    assert service.model("sleepy")["status"] == "cold"
    assert chat(service, "sleepy").status_code == 200
    wait_until_ready(service, "sleepy", 1)
    assert service.model("sleepy")["status"] == "ready"


def test_a_full_queue_is_answered_503_with_the_time_to_come_back(service: Live) -> None:
    """One runs, one waits, the rest hear that there is no room."""
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: chat(service, "crowded"), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}, statuses
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["Retry-After"]) >= 1


def test_the_database_killed_comes_back_and_warm_keys_never_notice(service: Live) -> None:
    """A known key works while the database is away; the database is restarted by its replica's end."""
    assert chat(service, "bystander", max_tokens=1).status_code == 200
    below = psutil.Process(service.pid).children(recursive=True)
    (database,) = [process for process in below if "secantus" in _title(process)]
    anybody = {"model": "bystander", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    database.kill()
    assert chat(service, "bystander", max_tokens=1).status_code == 200
    deadline = time.monotonic() + RESTART_S
    while httpx.get(f"{service.url}/readyz").status_code != 200:
        assert time.monotonic() < deadline, "the database did not come back"
        # The first key has no limits; those of an address are counted, and soon asked for.
        assert httpx.post(f"{service.openai_url}/chat/completions", json=anybody, timeout=60).status_code == 200
        time.sleep(0.5)
    assert httpx.get(f"{service.openai_url}/status").json()["database"] == "healthy"
    with Inside(service.ray_address) as inside:
        # Limits were counted without it meanwhile, and operators can see that they were, and are no more.
        deadline = time.monotonic() + RESTART_S
        while not (inside.mode_changes("degraded") and inside.mode_changes("exact")):
            assert time.monotonic() < deadline, "no change of mode was counted"
            time.sleep(0.5)


def test_serve_cannot_be_steered_by_a_clients_headers(service: Live) -> None:
    """A time-out of nothing and a foreign request id are ignored."""
    headers = {**service.auth, "x-request-timeout-seconds": "0.001", "x-request-id": "mine", "x-session-id": "a"}
    body = {"model": "bystander", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
    response = httpx.post(f"{service.openai_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert response.status_code == 200
    ids = response.headers.get_list("x-request-id")
    assert len(ids) == 1
    assert ids[0].startswith("req_")


def torrent(service: Live) -> HTTPConnection:
    """A client that has asked for one."""
    client = HTTPConnection(service.host, timeout=60)
    body = {"model": "torrent", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {**service.auth, "Content-Type": "application/json", "Connection": "close"}
    client.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return client


def test_readers_that_stop_reading_cost_little_and_harm_nobody(service: Live) -> None:
    """The engine waits for them, the gateway's memory stays; others get their answers, and who reads on gets all."""
    gateway = processes(service, "ray::ServeReplica:gateway:Gateway")[0]
    (replica,) = replicas(service, "torrent")
    spec = spec_of(service, "torrent")
    assert chat(service, "torrent", max_tokens=3).status_code == 200
    before = [process.memory_info().rss for process in (gateway, replica)]
    with Inside(service.ray_address) as inside, ExitStack() as clients:
        readers = [clients.enter_context(closing(torrent(service))) for _ in range(STALLED_READERS)]
        answers = [clients.enter_context(closing(reader.getresponse())) for reader in readers]
        assert list(events(service, "bystander"))[-1] == "[DONE]"
        time.sleep(STALLED_S)
        assert inside.of(spec)["running"] == STALLED_READERS
        after = [process.memory_info().rss for process in (gateway, replica)]
        grown = [now - then for now, then in zip(after, before, strict=True)]
        assert max(grown) < MOST_MEMORY, grown
        assert chat(service, "torrent", max_tokens=3).status_code == 200
        whole = answers[0].read()
        assert whole.count(b'"content":') == TORRENT_TOKENS + 1
        assert whole.endswith(b"data: [DONE]\n\n")
        clients.close()
        inside.wait_until_running(spec, 0, RESTART_S)


def test_haproxy_killed_breaks_what_went_through_it_and_is_started_anew(service: Live) -> None:
    """Clients see the end of their connections at once, engines stop, and Serve brings another HAProxy."""
    (before,) = [process for process in processes(service, "") if process.name() == "haproxy"]
    spec = spec_of(service, "bystander")
    with Inside(service.ray_address) as inside:
        stream = events(service, "bystander", max_tokens=4000, ignore_eos=True)
        next(stream)
        inside.wait_until_running(spec, 1, RESTART_S)
        before.kill()
        with pytest.raises(httpx.HTTPError):
            list(stream)
        time.sleep(ENGINE_STOPS_S)
        assert inside.of(spec)["running"] == 0
    wait_until_it_answers(service, "HAProxy")
    assert chat(service, "bystander", max_tokens=3).status_code == 200
    assert before.pid not in [process.pid for process in processes(service, "") if process.name() == "haproxy"]
