"""A model that sleeps: a burst wakes as many replicas as it needs, and when all is quiet nothing of them is left."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.support.live import BURSTS, Live

pytestmark = pytest.mark.live

IDLE_S = 4
"""The model's ``downscale_to_zero_delay_s``."""

ASLEEP_S = 20
"""After the last answer: the delay, two seconds until the controller hears of it, and the end of a process."""

CALLERS = 6


def ask(live: Live) -> int:
    """The status of one answer."""
    body = {"model": BURSTS, "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(f"{live.openai_url}/chat/completions", json=body, headers=live.auth, timeout=120).status_code


def replicas(live: Live) -> list[psutil.Process]:
    """The model's processes."""
    found: list[psutil.Process] = []
    for process in psutil.Process(live.pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith(f"ray::ServeReplica:model-{BURSTS}"):
            found.append(process)
    return found


def seconds_until_asleep(live: Live) -> float:
    """How long it takes until the model is cold."""
    began = time.monotonic()
    while live.model(BURSTS)["status"] != "cold":
        assert time.monotonic() - began < ASLEEP_S, f"it does not go to sleep: {live.model('sleepy')}"
        time.sleep(0.2)
    return time.monotonic() - began


def test_a_burst_wakes_several_and_quiet_takes_them_all(live: Live) -> None:
    assert live.model(BURSTS)["status"] == "cold"
    assert not replicas(live)
    with ThreadPoolExecutor(CALLERS) as pool:
        asked = [pool.submit(ask, live) for _ in range(CALLERS)]
        most = 0
        while not all(each.done() for each in asked):
            most = max(most, len(replicas(live)))
            time.sleep(0.2)
        assert [each.result() for each in asked] == [200] * CALLERS
    # Three, if the controller hears of all six at once; of those that come a moment later it hears later.
    assert 1 < most <= 3
    assert seconds_until_asleep(live) > IDLE_S / 2
    psutil.wait_procs(replicas(live), timeout=10)
    assert not replicas(live), "its processes hold their memory still"


def test_it_wakes_again_for_one_and_sleeps_again(live: Live) -> None:
    assert ask(live) == 200
    assert len(replicas(live)) == 1
    assert seconds_until_asleep(live) > IDLE_S / 2
