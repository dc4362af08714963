"""A model that sleeps: a burst wakes as many replicas as it needs, and when all is quiet nothing of them is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.support.live import Live
from tests.support.ports import free_port

pytestmark = pytest.mark.live

IDLE_S = 4
ASLEEP_S = 20
"""After the last answer: the delay, two seconds until the controller hears of it, and the end of a process."""

CALLERS = 6
SLEEPY = f"""
id: sleepy
engine: scripted
engine_args: {{start_s: 4, tokens_per_s: 50, default_tokens: 150}}
autoscaling:
  min_replicas: 0
  max_replicas: 3
  target_ongoing_requests: 2
  downscale_delay_s: 2
  downscale_to_zero_delay_s: {IDLE_S}
resources: {{num_cpus: 0.1}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with nothing but that model."""
    folder = tmp_path_factory.mktemp("autoscaling")
    (folder / "models").mkdir()
    (folder / "models" / "sleepy.yaml").write_text(SLEEPY)
    service = Live(f"http://127.0.0.1:{free_port()}", folder / "state", (folder / "models",), {"sleepy": "cold"})
    service.start()
    yield service
    service.stop()


def ask(service: Live) -> int:
    """The status of one answer."""
    body = {"model": "sleepy", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(
        f"{service.openai_url}/chat/completions", json=body, headers=service.auth, timeout=120
    ).status_code


def replicas(service: Live) -> list[psutil.Process]:
    """The model's processes."""
    found: list[psutil.Process] = []
    for process in psutil.Process(service.pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::ServeReplica:model-sleepy"):
            found.append(process)
    return found


def seconds_until_asleep(service: Live) -> float:
    """How long it takes until the model is cold."""
    began = time.monotonic()
    while service.model("sleepy")["status"] != "cold":
        assert time.monotonic() - began < ASLEEP_S, f"it does not go to sleep: {service.model('sleepy')}"
        time.sleep(0.2)
    return time.monotonic() - began


def test_a_burst_wakes_several_and_quiet_takes_them_all(service: Live) -> None:
    assert service.model("sleepy")["status"] == "cold"
    assert not replicas(service)
    with ThreadPoolExecutor(CALLERS) as pool:
        asked = [pool.submit(ask, service) for _ in range(CALLERS)]
        most = 0
        while not all(each.done() for each in asked):
            most = max(most, len(replicas(service)))
            time.sleep(0.2)
        assert [each.result() for each in asked] == [200] * CALLERS
    # Three, if the controller hears of all six at once; of those that come a moment later it hears later.
    assert 1 < most <= 3
    assert seconds_until_asleep(service) > IDLE_S / 2
    psutil.wait_procs(replicas(service), timeout=10)
    assert not replicas(service), "its processes hold their memory still"


def test_it_wakes_again_for_one_and_sleeps_again(service: Live) -> None:
    assert ask(service) == 200
    assert len(replicas(service)) == 1
    assert seconds_until_asleep(service) > IDLE_S / 2
