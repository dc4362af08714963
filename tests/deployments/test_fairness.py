"""Counters of what tenants had: the smallest goes first, and a guess of an answer's length is put right."""

from __future__ import annotations

import pytest

from app.services.backend import Share
from deployments import fairness as module
from deployments.fairness import Fairness

A, B, C = (0, "a"), (0, "b"), (0, "c")


def share(tenant: str, *, priority: int = 0, weight: float = 1.0, tokens: tuple[int, int] = (10, 20)) -> Share:
    return Share(tenant, weight, priority, *tokens)


def test_a_token_that_is_written_counts_twice():
    fair = Fairness()
    fair.charge(share("a"))
    assert fair.counter(A) == 10 + 2 * 20


def test_a_heavier_tenant_is_counted_less():
    fair = Fairness()
    fair.charge(share("a", weight=4))
    assert fair.counter(A) == 50 / 4


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_none_does_no_harm(weight: float):
    fair = Fairness()
    assert 0 < fair.charge(share("a", weight=weight)).cost < 1e6


def test_who_comes_back_begins_with_the_least_of_those_who_wait():
    fair = Fairness()
    fair.counter(C)
    for tenant in "aaabb":
        fair.charge(share(tenant))
    least = fair.counter(A)
    assert fair.counter(C) < least < fair.counter(B)
    fair.lift(C, [A, B])
    assert fair.counter(C) == least
    fair.lift(B, [A, C])
    assert fair.counter(B) > least, "nobody is set back"


def test_who_comes_while_nobody_waits_begins_where_the_last_one_is():
    fair = Fairness()
    fair.lift(B, ())
    for _ in range(5):
        fair.charge(share("a"))
    fair.lift(B, ())
    assert fair.counter(B) == fair.counter(A)


def test_priorities_are_counted_apart():
    fair = Fairness()
    fair.charge(share("a", priority=1))
    fair.lift((0, "a"), [(1, "a")])
    assert fair.counter((0, "a")) == 0


def test_what_an_answer_took_is_put_right_once():
    fair = Fairness()
    charge = fair.charge(share("a", tokens=(10, 200)))
    fair.settle(charge, 12, 5)
    assert fair.counter(A) == 12 + 2 * 5
    fair.settle(charge, 1000, 1000)
    assert fair.counter(A) == 12 + 2 * 5


def test_the_next_answer_is_taken_to_be_like_the_last_ones_but_within_its_bound():
    fair = Fairness()
    assert fair.cost(share("a", tokens=(0, 10_000))) == 2 * module.GUESS
    fair.settle(fair.charge(share("a", tokens=(0, 10_000))), 0, 40)
    assert fair.cost(share("a", tokens=(0, 10_000))) == 80
    assert fair.cost(share("a", tokens=(0, 30))) == 60
    assert fair.cost(share("b", tokens=(0, 10_000))) == 80, "of a tenant that nobody knows, the model's"


def test_a_request_that_did_not_go_is_not_counted():
    fair = Fairness()
    fair.undo(charge := fair.charge(share("a")))
    assert fair.counter(A) == 0
    fair.settle(charge, 100, 100)
    assert fair.counter(A) == 0


def test_a_request_without_tokens_is_counted_too():
    assert Fairness().cost(share("a", tokens=(0, 0))) == 1


def test_tenants_are_forgotten_and_begin_as_new_ones():
    fair = Fairness(tenants=2)
    for tenant in "abcdef":
        fair.charge(share(tenant))
    assert len(fair) == 2
    late = fair.charge(share("a"))
    for tenant in "xyz":
        fair.charge(share(tenant))
    fair.settle(late, 1, 1)
    assert len(fair) == 2


def test_numbers_stay_small_and_differences_exact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "REBASE", 1000.0)
    fair = Fairness()
    fair.counter(A), fair.counter(B)
    for _ in range(200):
        fair.charge(share("a"))
        fair.charge(share("b"))
    fair.charge(share("b"))
    assert fair.counter(B) - fair.counter(A) == 50
    assert fair.counter(B) <= 1000


def test_priorities_are_forgotten_too():
    fair = Fairness(tenants=2)
    for priority in range(3 * module.PRIORITIES):
        fair.charge(share("a", priority=priority))
    assert len(fair._last) == module.PRIORITIES
