"""Leases over their age end one by one, each when the last one has been made good."""

from __future__ import annotations

import pytest

from deployments.places import MAX_AGE_S
from deployments.turnover import MADE_GOOD_S, Turnover
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turnover(clock: Clock) -> Turnover:
    return Turnover(clock)


def test_the_first_ends_and_the_second_goes_on(turnover: Turnover):
    assert turnover.take_turn()
    assert not turnover.take_turn()


def test_the_next_ends_when_one_has_come_and_each_has_had_its_time(turnover: Turnover, clock: Clock):
    assert turnover.take_turn()
    turnover.made_good(busy=99)
    assert not turnover.take_turn()
    clock.now += MAX_AGE_S / 100
    assert turnover.take_turn()


def test_where_another_gateway_gets_the_place_the_next_ends_after_a_while(turnover: Turnover, clock: Clock):
    assert turnover.take_turn()
    clock.now += MADE_GOOD_S
    assert turnover.take_turn()


def test_a_lease_that_comes_late_puts_nothing_off(turnover: Turnover, clock: Clock):
    assert turnover.take_turn()
    clock.now += MADE_GOOD_S
    turnover.made_good(busy=0)
    assert turnover.take_turn()
