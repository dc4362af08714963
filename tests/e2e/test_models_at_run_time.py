"""Models come and go, sleep, wake, change and fail, while others answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import psutil
import pytest

from tests.support.live import Live
from tests.support.ports import free_port

pytestmark = pytest.mark.live

STEADY_TOKENS = 1500
FILES = {
    "steady": f"""
id: steady
engine: scripted
engine_args: {{tokens_per_s: 50, default_tokens: {STEADY_TOKENS}}}
resources: {{num_cpus: 0.1}}
""",
    "sleeper": """
id: sleeper
engine: scripted
engine_args: {start_s: 3, default_tokens: 5}
autoscaling: {min_replicas: 0, downscale_to_zero_delay_s: 600}
resources: {num_cpus: 0.1}
limits: {max_ongoing_requests: 16, max_queued_requests: 40, cold_start_timeout_s: 60}
""",
    "big-one": """
id: big-one
engine: scripted
engine_args: {default_tokens: 5}
autoscaling: {min_replicas: 0, downscale_to_zero_delay_s: 600}
resources: {num_cpus: 2.5}
""",
    "big-two": """
id: big-two
engine: scripted
engine_args: {default_tokens: 5}
autoscaling: {min_replicas: 0, downscale_to_zero_delay_s: 600}
resources: {num_cpus: 2.5}
""",
}
GUEST = {
    "id": "guest/model",
    "engine": "scripted",
    "engine_args": {"default_tokens": 20},
    "resources": {"num_cpus": 0.1},
}
PATIENCE_S = 60
GAP_S = 0.25
"""The longest pause that a stream of fifty tokens a second may have."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service on a cluster of four CPUs: the big models do not fit side by side."""
    folder = tmp_path_factory.mktemp("models")
    models = folder / "models"
    models.mkdir()
    for name, text in FILES.items():
        (models / f"{name}.yaml").write_text(text)
    asleep = dict.fromkeys(("sleeper", "big-one", "big-two"), "cold")
    service = Live(f"http://127.0.0.1:{free_port()}", folder / "state", (models,), asleep)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def admin(service: Live) -> Iterator[httpx.Client]:
    """The admin's client."""
    with httpx.Client(base_url=f"{service.openai_url}/", headers=service.auth, timeout=90) as client:
        yield client


@pytest.fixture
def guests(service: Live, admin: httpx.Client) -> Iterator[Callable[..., None]]:
    """Adds models that are gone after the test."""
    added: list[str] = []

    def add(**fields: Any) -> None:
        spec = {**GUEST, **fields}
        answer = admin.post("models", json=spec)
        assert answer.status_code == 200, answer.text
        added.append(spec["id"])

    yield add
    for id_ in added:
        admin.delete(f"models/{id_}")
        wait_until(lambda id_=id_: not replicas(service, id_), f"{id_} is still there")


def wait_until(true: Callable[[], bool], complaint: str) -> None:
    """Return when it is."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


def wait_for(service: Live, model: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The model, as soon as this is true of it."""
    deadline = time.monotonic() + PATIENCE_S
    while not true(found := service.model(model)):
        assert time.monotonic() < deadline, f"{model} is {found['status']}, {found['phase']}, {found['detail']}"
        time.sleep(0.1)
    return found


def is_ready(model: dict[str, Any]) -> bool:
    return model["status"] == "ready"


def chat(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
    return client.post("chat/completions", json=body)


def replicas(service: Live, model: str) -> list[psutil.Process]:
    """The processes of a model's replicas."""
    title = f"ray::ServeReplica:model-{model.replace('/', '~')}@"
    below = psutil.Process(service.pid).children(recursive=True)
    return [process for process in below if _title(process).startswith(title)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class Stream:
    """A long stream of the steady model, read in a thread: when its events came, and what they were."""

    def __init__(self, service: Live, pool: ThreadPoolExecutor, tokens: int = STEADY_TOKENS) -> None:
        self._service = service
        self._tokens = tokens
        self.times: list[float] = []
        self.events: list[str] = []
        self.done = pool.submit(self._read)

    def _read(self) -> None:
        body = {"model": "steady", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        body |= {"max_tokens": self._tokens}
        url = f"{self._service.openai_url}/chat/completions"
        with httpx.stream("POST", url, json=body, headers=self._service.auth, timeout=60) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.times.append(time.monotonic())
                    self.events.append(line)

    def check_whole(self) -> None:
        """Wait for its end; fail if anything is missing."""
        self.done.result(PATIENCE_S)
        assert self.events[-1] == "data: [DONE]"
        assert sum('"content":"' in event and '"content":""' not in event for event in self.events) == self._tokens

    def longest_pause(self) -> float:
        """In seconds."""
        return max(later - sooner for sooner, later in zip(self.times, self.times[1:], strict=False))


def test_a_model_is_added_used_changed_and_removed_beside_a_stream_that_does_not_notice(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    (before,) = replicas(service, "steady")
    with ThreadPoolExecutor(1) as pool:
        stream = Stream(service, pool)
        guests()
        wait_for(service, "guest/model", is_ready)
        assert chat(admin, "guest/model").json()["usage"]["completion_tokens"] == 20
        changed = admin.patch("models/guest/model", json={"engine_args": {"default_tokens": 7}, "aliases": ["visitor"]})
        assert changed.json()["spec"]["engine_args"] == {"default_tokens": 7}
        deadline = time.monotonic() + PATIENCE_S
        while (tokens := chat(admin, "visitor").json()["usage"]["completion_tokens"]) != 7:
            assert tokens == 20
            assert time.monotonic() < deadline
        assert admin.delete("models/visitor").json()["deleted"] is True
        assert chat(admin, "guest/model").status_code == 404
        assert not stream.done.done(), "the stream was over before all this was"
        stream.check_whole()
    assert stream.longest_pause() < GAP_S
    assert replicas(service, "steady") == [before]


def test_numbers_change_in_place(service: Live, admin: httpx.Client) -> None:
    (before,) = replicas(service, "steady")
    assert admin.patch("models/steady", json={"autoscaling": {"downscale_delay_s": 77}}).status_code == 200
    time.sleep(3)
    assert replicas(service, "steady") == [before]
    assert service.model("steady")["status"] == "ready"


def test_a_change_rolls_over_without_a_failed_request(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    guests()
    wait_for(service, "guest/model", is_ready)
    over = Event()

    def ask() -> list[int]:
        statuses: list[int] = []
        with httpx.Client(base_url=f"{service.openai_url}/", headers=service.auth, timeout=60) as client:
            while not over.is_set():
                statuses.append(chat(client, "guest/model").status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for length in (5, 6):
            admin.patch("models/guest/model", json={"engine_args": {"default_tokens": length, "start_s": 1}})
            wait_for(service, "guest/model", lambda model: model["detail"] is None and is_ready(model))
        wait_until(lambda: len(replicas(service, "guest/model")) == 1, "the versions before are still there")
        over.set()
        statuses = [status for answers in asking for status in answers.result()]
    assert set(statuses) == {200}


def test_a_change_that_cannot_start_leaves_what_ran(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    guests()
    wait_for(service, "guest/model", is_ready)
    admin.patch("models/guest/model", json={"engine_args": {"fail_start": "no luck"}})
    model = wait_for(service, "guest/model", lambda model: "failed" in (model["detail"] or ""))
    assert (model["status"], model["detail"]) == ("ready", "it goes on as it was, since the change failed: no luck")
    assert chat(admin, "guest/model").status_code == 200
    admin.patch("models/guest/model", json={"engine_args": {"fail_start": None, "default_tokens": 3}})
    wait_for(service, "guest/model", lambda model: model["detail"] is None)
    assert chat(admin, "guest/model").json()["usage"]["completion_tokens"] == 3


def test_a_model_that_fails_says_why_is_tried_again_and_holds_nobody_up(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    guests(id="broken", engine_args={"fail_start": "no memory here"})
    model = wait_for(service, "broken", lambda model: model["status"] == "failed")
    assert model["detail"] == "no memory here"
    assert model["retry_at"] > time.time()
    refused = chat(admin, "broken")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_failed")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert "no memory here" in refused.json()["error"]["message"]
    guests()
    wait_for(service, "guest/model", is_ready)
    wait_for(service, "broken", lambda model: model["status"] == "starting")


def test_the_managers_death_costs_no_request(service: Live, admin: httpx.Client) -> None:
    (before,) = replicas(service, "steady")
    (manager,) = [
        process
        for process in psutil.Process(service.pid).children(recursive=True)
        if _title(process).startswith("ray::ServeReplica:gateway:ModelManager")
    ]
    with ThreadPoolExecutor(1) as pool:
        stream = Stream(service, pool, tokens=600)
        time.sleep(0.5)
        manager.kill()
        assert [chat(admin, "steady", max_tokens=3).status_code for _ in range(5)] == [200] * 5
        added = admin.post("models", json=GUEST)
        assert added.status_code in (200, 503)
        while added.status_code == 503:
            time.sleep(float(added.headers["retry-after"]))
            added = admin.post("models", json=GUEST)
        assert added.status_code == 200, added.text
        wait_for(service, "guest/model", is_ready)
        stream.check_whole()
    assert replicas(service, "steady") == [before]
    admin.delete("models/guest/model")


def test_requests_that_come_while_a_model_sleeps_are_all_answered_or_refused(
    service: Live, admin: httpx.Client
) -> None:
    """Fifty of them, ten of whom leave; more than may wait are told when to come again."""
    wait_for(service, "sleeper", lambda model: model["status"] == "cold")

    def ask(number: int) -> int:
        timeout = 1.5 if number % 5 == 0 else 60
        body = {"model": "sleeper", "messages": [{"role": "user", "content": "hello"}]}
        try:
            url = f"{service.openai_url}/chat/completions"
            answer = httpx.post(url, json=body, headers=service.auth, timeout=timeout)
        except httpx.ReadTimeout:
            return 0
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
        return answer.status_code

    with ThreadPoolExecutor(50) as pool:
        asking = [pool.submit(ask, number) for number in range(50)]
        waking = wait_for(service, "sleeper", lambda model: model["status"] == "starting" and model["queued"] > 0)
        assert waking["queued"] <= 50
        statuses = [answer.result() for answer in asking]
    assert set(statuses) <= {0, 200, 503}
    assert 0 < statuses.count(0) <= 10
    assert statuses.count(200) >= 30
    model = wait_for(service, "sleeper", lambda model: is_ready(model) and not model["queued"])
    assert model["last_start"]["load_s"] >= 3
    assert model["last_start"]["total_s"] < 15


def test_a_stream_that_waits_for_its_model_is_kept_alive_and_leaves_its_place_when_it_goes(
    service: Live, guests: Callable[..., None]
) -> None:
    guests(id="slow-start", engine_args={"start_s": 12}, autoscaling={"min_replicas": 0})
    wait_for(service, "slow-start", lambda model: model["status"] == "cold")
    body = {"model": "slow-start", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    url = f"{service.openai_url}/chat/completions"
    with httpx.stream("POST", url, json=body, headers=service.auth, timeout=30) as response:
        lines = response.iter_lines()
        assert next(lines).startswith(":")
        assert service.model("slow-start")["queued"] == 1
    assert wait_for(service, "slow-start", lambda model: not model["queued"])["status"] == "starting"


def test_a_model_can_be_asked_at_once_whatever_was_just_done_to_it(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    """Added, changed while it sleeps, stopped and started: whoever asks meanwhile waits and is answered."""
    guests(autoscaling={"min_replicas": 0})
    assert chat(admin, "guest/model").json()["usage"]["completion_tokens"] == 20
    admin.post("models/guest/model/stop")
    admin.patch("models/guest/model", json={"engine_args": {"default_tokens": 4}})
    assert admin.post("models/guest/model/start").status_code == 200
    deadline = time.monotonic() + PATIENCE_S
    while (tokens := chat(admin, "guest/model").json()["usage"]["completion_tokens"]) != 4:
        # Stopped and started within a moment, it was never away.
        assert tokens == 20
        assert time.monotonic() < deadline


def test_who_waits_for_a_model_that_is_changed_or_stopped_goes_on_or_is_told(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    guests(autoscaling={"min_replicas": 0}, engine_args={"start_s": 60})
    wait_for(service, "guest/model", lambda model: model["status"] == "cold")

    def ask() -> httpx.Response:
        with httpx.Client(base_url=f"{service.openai_url}/", headers=service.auth, timeout=50) as client:
            return chat(client, "guest/model")

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask) for _ in range(3)]
        wait_for(service, "guest/model", lambda model: model["queued"] == 3)
        admin.patch("models/guest/model", json={"engine_args": {"start_s": 0, "default_tokens": 6}})
        assert [answer.result().json()["usage"]["completion_tokens"] for answer in waiting] == [6, 6, 6]
        admin.post("models/guest/model/stop")
        wait_until(lambda: not replicas(service, "guest/model"), "it is still there")
        admin.patch("models/guest/model", json={"engine_args": {"start_s": 60}})
        admin.post("models/guest/model/start")
        waiting = [pool.submit(ask) for _ in range(3)]
        wait_for(service, "guest/model", lambda model: model["queued"] == 3)
        admin.post("models/guest/model/stop")
        assert [answer.result().json()["error"]["code"] for answer in waiting] == ["model_disabled"] * 3


def test_a_model_that_sleeps_and_cannot_wake_says_why(
    service: Live, admin: httpx.Client, guests: Callable[..., None]
) -> None:
    guests(id="broken", autoscaling={"min_replicas": 0}, engine_args={"fail_start": "no memory here"})
    refused = chat(admin, "broken")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_failed")
    assert "no memory here" in refused.json()["error"]["message"]
    assert service.model("broken")["status"] == "failed"
    admin.patch("models/broken", json={"engine_args": {"fail_start": None}})
    assert chat(admin, "broken").status_code == 200


def test_two_models_that_do_not_fit_together_take_turns(service: Live, admin: httpx.Client) -> None:
    for name, other in (("big-one", "big-two"), ("big-two", "big-one"), ("big-one", "big-two")):
        assert chat(admin, name).status_code == 200
        wait_for(service, name, is_ready)
        wait_for(service, other, lambda model: model["status"] == "cold")


def test_a_stopped_model_is_off_and_gone_from_memory_until_it_is_started(service: Live, admin: httpx.Client) -> None:
    assert admin.post("models/stop", json={"model": "sleeper"}).json()["status"] == "disabled"
    refused = chat(admin, "sleeper")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_disabled")
    assert refused.headers["x-should-retry"] == "false"
    wait_until(lambda: not replicas(service, "sleeper"), "its replica is still there")
    assert admin.post("models/sleeper/start").status_code == 200
    wait_for(service, "sleeper", is_ready)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"id": "steady"}, "id"),
        ({"aliases": ["sleeper"]}, "aliases[0]"),
        ({"id": "../../x"}, "id"),
        ({"colour": "grey"}, "colour"),
        ({"engine_args": {"ttft": 1}}, "engine_args.ttft"),
        ({"engine": "vllm", "source": "/no/such/folder"}, "source"),
        ({"engine": "vllm", "source": "pypi://a==1/../../b"}, "source"),
        ({"engine": "vllm", "source": "hf://a/b", "engine_args": {"api_key": "x"}}, "engine_args.api_key"),
        ({"resources": {"num_gpus": 1}}, "resources.num_gpus"),
        ({"resources": {"num_cpus": 4000}}, "resources.num_cpus"),
        ({"resources": {"accelerator_type": "H100"}}, "resources.accelerator_type"),
    ],
)
def test_a_spec_that_cannot_work_here_is_refused_by_its_field_and_deploys_nothing(
    service: Live, admin: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    known = {model["id"] for model in admin.get("models").json()["data"]}
    refused = admin.post("models", json={**GUEST, **fields})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == param
    assert {model["id"] for model in admin.get("models").json()["data"]} == known


def test_what_was_said_of_models_outlives_the_service(service: Live, admin: httpx.Client) -> None:
    admin.post("models", json={**GUEST, "autoscaling": {"min_replicas": 0}})
    admin.delete("models/big-two")
    admin.post("models/steady/stop")
    service.stop()
    service.settled |= {"guest/model": "cold", "steady": "disabled"}
    service.start()
    states = {model["id"]: model["status"] for model in admin.get("models").json()["data"]}
    assert states == {"guest/model": "cold", "steady": "disabled", "sleeper": "cold", "big-one": "cold"}
    assert chat(admin, "guest/model").status_code == 200
