"""A model that grows and shrinks under load loses no request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest

from tests.support.live import Live
from tests.support.ports import free_port

pytestmark = pytest.mark.live

GROWN_S = 60
SHRUNK_S = 90
CALLERS = 9
ELASTIC = """
id: elastic
engine: scripted
engine_args: {tokens_per_s: 50, default_tokens: 50}
autoscaling:
  min_replicas: 1
  max_replicas: 3
  target_ongoing_requests: 3
  upscale_delay_s: 0.5
  downscale_delay_s: 2
resources: {num_cpus: 0.1}
limits: {max_ongoing_requests: 4}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service of one model, for which three callers are as many as a replica should have."""
    folder = tmp_path_factory.mktemp("scaling")
    models = folder / "models"
    models.mkdir()
    (models / "elastic.yaml").write_text(ELASTIC)
    service = Live(f"http://127.0.0.1:{free_port()}", folder / "state", (models,), {})
    service.start()
    yield service
    service.stop()


def wait_for_replicas(service: Live, count: int, patience_s: float) -> None:
    """Return when the model has so many replicas."""
    deadline = time.monotonic() + patience_s
    while (model := service.model("elastic"))["replicas"] != count:
        assert time.monotonic() < deadline, f"not {count} replicas: {model}"
        time.sleep(0.5)


def ask(service: Live, client: httpx.Client) -> str | None:
    """One streamed answer; what was wrong with it, if anything was."""
    body = {"model": "elastic", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    url = f"{service.openai_url}/chat/completions"
    with client.stream("POST", url, json=body, headers=service.auth, timeout=60) as response:
        if response.status_code != 200:
            return f"{response.status_code}: {response.read().decode()}"
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    return None if lines[-1] == "data: [DONE]" else lines[-1]


def keep_asking(service: Live, over: Event) -> list[str | None]:
    """Ask again and again."""
    outcomes: list[str | None] = []
    with httpx.Client() as client:
        while not over.is_set():
            outcomes.append(ask(service, client))
    return outcomes


def test_one_replica_becomes_three_and_one_again_and_no_request_fails(service: Live) -> None:
    """Nine callers at once, then one that goes on while the others are gone."""
    crowd_over, over = Event(), Event()
    with ThreadPoolExecutor(CALLERS) as pool:
        try:
            last = pool.submit(keep_asking, service, over)
            crowd = [pool.submit(keep_asking, service, crowd_over) for _ in range(CALLERS - 1)]
            wait_for_replicas(service, 3, GROWN_S)
            time.sleep(5)
            crowd_over.set()
            outcomes = [outcome for caller in crowd for outcome in caller.result()]
            wait_for_replicas(service, 1, SHRUNK_S)
        finally:
            crowd_over.set()
            over.set()
        outcomes += last.result()
    assert len(outcomes) > CALLERS
    assert [outcome for outcome in outcomes if outcome is not None] == []
