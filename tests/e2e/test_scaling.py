"""Replicas come and go before and behind two gateways: no request is lost that did not go through what died."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import psutil
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
NARROW = """
id: narrow
engine: scripted
engine_args: {tokens_per_s: 100, default_tokens: 20}
resources: {num_cpus: 0.1}
limits: {max_ongoing_requests: 2, cold_start_timeout_s: 10}
"""
LONG_TOKENS = 400
LONG = f"""
id: long
engine: scripted
engine_args: {{tokens_per_s: 40, default_tokens: {LONG_TOKENS}}}
resources: {{num_cpus: 0.1}}
"""
STREAMS = 6
UNDER_WAY_S = 2
BACK_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with two gateways, and a model for which three callers are as many as a replica should have."""
    folder = tmp_path_factory.mktemp("scaling")
    models = folder / "models"
    models.mkdir()
    for name, text in {"elastic": ELASTIC, "narrow": NARROW, "long": LONG}.items():
        (models / f"{name}.yaml").write_text(text)
    settings = {"MANTA_GATEWAY_REPLICAS": "2"}
    service = Live(f"http://127.0.0.1:{free_port()}", folder / "state", (models,), {}, settings)
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


def wait_until(true: Callable[[], bool], complaint: str) -> None:
    """Return when it is."""
    deadline = time.monotonic() + BACK_S
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.2)


def gateways(service: Live) -> list[psutil.Process]:
    """The gateways' processes."""
    return [process for process in below(service) if _title(process).startswith("ray::ServeReplica:gateway:Gateway")]


def haproxies(service: Live) -> set[int]:
    """The processes of HAProxy: one that takes connections, and those that end what they have."""
    return {process.pid for process in below(service) if "haproxy.cfg" in _title(process)}


def below(service: Live) -> list[psutil.Process]:
    """The service's processes."""
    return psutil.Process(service.pid).children(recursive=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def door_of(gateway: psutil.Process) -> str:
    """Where a gateway itself is reached, past HAProxy."""
    ports = {each.laddr.port for each in gateway.net_connections("tcp4") if each.status == psutil.CONN_LISTEN}
    for port in sorted(ports):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=2).status_code == 200:
                return f"http://127.0.0.1:{port}"
        except httpx.HTTPError:
            continue
    raise AssertionError(f"no port of {ports} is a gateway's")


def narrow(service: Live, url: str) -> int:
    """The status of one answer of the narrow model, asked for at one of the gateways."""
    body = {"model": "narrow", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=service.auth, timeout=60).status_code


def long_stream(service: Live) -> str | None:
    """What a long stream ends with; None where it breaks."""
    body = {"model": "long", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    events: list[str] = []
    try:
        url = f"{service.openai_url}/chat/completions"
        with httpx.stream("POST", url, json=body, headers=service.auth, timeout=60) as response:
            events += [line for line in response.iter_lines() if line.startswith("data: ")]
    except httpx.HTTPError:
        return None
    assert len(events) >= LONG_TOKENS
    return events[-1]


def test_leases_that_rest_at_one_gateway_do_not_keep_the_other_waiting(service: Live) -> None:
    """All places of a model were used by one gateway a moment ago: the other gets one before its patience ends."""
    first, second = [door_of(gateway) for gateway in gateways(service)]
    for here, there in ((first, second), (second, first)):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda _, url=here: narrow(service, url), range(2))) == [200, 200]
        assert narrow(service, there) == 200


def test_reloads_of_haproxy_cut_no_stream_and_leave_nothing(service: Live) -> None:
    """A gateway dies in the middle of many streams, and is replaced: those through the other one arrive whole."""
    (before,) = haproxies(service)
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(long_stream, service) for _ in range(STREAMS)]
        time.sleep(UNDER_WAY_S)
        gateways(service)[0].kill()
        wait_until(lambda: len(haproxies(service)) > 1, "HAProxy was not reloaded")
        assert before in haproxies(service), "streams go through the old one still"
        wait_until(lambda: len(gateways(service)) == 2, "the gateway did not come back")
        ends = [stream.result() for stream in streams]
    broken = [end for end in ends if end is None]
    assert 0 < len(broken) < STREAMS, "the streams of one gateway of two had to end"
    assert ends.count("data: [DONE]") == STREAMS - len(broken)
    wait_until(lambda: len(haproxies(service)) == 1, "an old HAProxy outlived its streams")
    assert before not in haproxies(service)
    assert narrow(service, service.url) == 200
