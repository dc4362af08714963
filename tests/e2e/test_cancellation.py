"""A client that leaves: the engine stops working for it within a second, by the engine's own counters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from tests.support.inside import Inside
from tests.support.live import CHAT, SLOW, Live

pytestmark = pytest.mark.live

PROMISE_S = 1.0
START_S = 30.0
LONG = {"messages": [{"role": "user", "content": "Tell me a very long story."}], "ignore_eos": True}


@pytest.fixture(scope="module")
def loads(live: Live) -> Iterator[Inside]:
    """The engines' counters."""
    with Inside(live.ray_address) as loads:
        yield loads


def spec_of(live: Live, model: str) -> ModelSpec:
    """The model's spec, as the running service has it."""
    (spec,) = [spec for spec in load_models(",".join(map(str, live.models))) if spec.id == model]
    return spec


def assert_stopped(loads: Inside, spec: ModelSpec) -> None:
    """Fail unless the engine, a second after the client left, does nothing for it any more."""
    time.sleep(PROMISE_S)
    after_a_second = loads.of(spec)
    assert (after_a_second["running"], after_a_second["waiting"]) == (0, 0)
    time.sleep(PROMISE_S)
    assert loads.of(spec)["generated_tokens"] == after_a_second["generated_tokens"]


@pytest.mark.parametrize("model", [CHAT, SLOW])
def test_leaving_a_stream_stops_the_engine(live: Live, loads: Inside, model: str) -> None:
    """The client reads a few events of a long answer and goes."""
    spec = spec_of(live, model)
    loads.wait_until_running(spec, 0, START_S)
    body = {"model": model, "stream": True, "max_tokens": 2000, **LONG}
    with httpx.stream("POST", f"{live.openai_url}/chat/completions", json=body, headers=live.auth) as response:
        lines = response.iter_lines()
        while not next(lines).startswith("data: {"):
            pass
        assert loads.of(spec)["running"] == 1
    assert_stopped(loads, spec)


@pytest.mark.parametrize("model", [CHAT, SLOW])
def test_leaving_a_plain_request_stops_the_engine(live: Live, loads: Inside, model: str) -> None:
    """The client asks for a long answer in one piece and loses patience before a byte of it came."""
    spec = spec_of(live, model)
    loads.wait_until_running(spec, 0, START_S)
    body = {"model": model, "max_tokens": 2000, **LONG}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{live.openai_url}/chat/completions", json=body, headers=live.auth, timeout=2)
    assert_stopped(loads, spec)
    assert loads.of(spec)["generated_tokens"] > 0


def test_others_go_on_when_one_leaves(live: Live, loads: Inside) -> None:
    """Of two streams of one engine, the one that stays gets all of its answer."""
    url = f"{live.openai_url}/chat/completions"
    leaver = {"model": CHAT, "stream": True, "max_tokens": 2000, **LONG}
    stayer = {**leaver, "max_tokens": 40}
    with httpx.stream("POST", url, json=stayer, headers=live.auth, timeout=60) as staying:
        with httpx.stream("POST", url, json=leaver, headers=live.auth, timeout=60) as leaving:
            next(leaving.iter_lines())
        lines = [line for line in staying.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    loads.wait_until_running(spec_of(live, CHAT), 0, START_S)


def test_the_services_folder_names_its_cluster(live: Live) -> None:
    """Operators reach the local Ray by the address that the service leaves in its folder."""
    assert Path(live.state_dir / "ray-address").read_text().count(":") == 1
