from __future__ import annotations

from dataclasses import replace

import pytest

from app.services.backend import EngineRequest
from deployments import quarantine as module
from deployments.quarantine import SENTENCE_S, Quarantine
from tests.support.clock import Clock

REQUEST = EngineRequest("/v1/chat/completions", b'{"a": 1}', "id-1", "name")


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def quarantine(clock: Clock) -> Quarantine:
    return Quarantine(clock)


@pytest.fixture
def payload(quarantine: Quarantine) -> bytes:
    return quarantine.fingerprint("m", REQUEST)


def test_a_payload_is_known_by_model_route_and_body_alone(quarantine: Quarantine, payload: bytes):
    same = replace(REQUEST, request_id="id-2", model="alias")
    assert quarantine.fingerprint("m", same) == payload
    for other in (replace(REQUEST, body=b"{}"), replace(REQUEST, path="/v1/completions")):
        assert quarantine.fingerprint("m", other) != payload
    assert quarantine.fingerprint("n", REQUEST) != payload


def test_nobody_is_suspect_at_first(quarantine: Quarantine, payload: bytes):
    assert not quarantine.is_suspect(payload)
    assert not quarantine.is_fatal(payload)


def test_one_death_makes_a_suspect_and_two_a_culprit(quarantine: Quarantine, payload: bytes):
    quarantine.died(payload, "replica-1")
    assert quarantine.is_suspect(payload)
    assert not quarantine.is_fatal(payload)
    quarantine.died(payload, "replica-2")
    assert quarantine.is_fatal(payload)


def test_several_callers_with_the_same_payload_at_one_death_count_once(quarantine: Quarantine, payload: bytes):
    for _ in range(5):
        quarantine.died(payload, "replica-1")
    assert not quarantine.is_fatal(payload)


def test_whoever_survives_is_cleared(quarantine: Quarantine, payload: bytes):
    quarantine.died(payload, "replica-1")
    quarantine.survived(payload)
    assert not quarantine.is_suspect(payload)
    quarantine.survived(payload)


def test_a_sentence_ends(quarantine: Quarantine, clock: Clock, payload: bytes):
    quarantine.died(payload, "replica-1")
    quarantine.died(payload, "replica-2")
    clock.now += SENTENCE_S
    assert quarantine.is_fatal(payload)
    clock.now += 0.1
    assert not quarantine.is_fatal(payload)
    assert not quarantine.is_suspect(payload)


def test_after_its_sentence_a_payload_has_two_tries_again(quarantine: Quarantine, clock: Clock, payload: bytes):
    quarantine.died(payload, "replica-1")
    clock.now += SENTENCE_S + 1
    quarantine.died(payload, "replica-2")
    assert not quarantine.is_fatal(payload)


def test_the_memory_is_bounded_and_the_oldest_is_forgotten_first(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    payloads = [bytes([n]) for n in range(5)]
    for known in payloads:
        quarantine.died(known, "replica-1")
    assert [quarantine.is_suspect(known) for known in payloads] == [False, False, True, True, True]


async def test_suspects_of_one_model_are_apart_and_those_of_two_are_not(quarantine: Quarantine):
    async with quarantine.alone("m"):
        assert quarantine.alone("m").locked()
        assert not quarantine.alone("n").locked()
    assert not quarantine.alone("m").locked()
