"""The line in front of a model: its order, its bound, and who is told to come back when."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from app.domain.model_spec import RequestLimits
from app.services.backend import Share
from deployments.outcomes import Crowded
from deployments.waiters import Waiter, Waiters
from tests.deployments.test_pace import Time

pytestmark = pytest.mark.usefixtures("clean_loop")

WIDE = RequestLimits(max_queued_requests=1000, max_queue_wait_s=1e6)


def share(tenant: str, *, priority: int = 0, weight: float = 1.0, tokens: int = 100) -> Share:
    return Share(tenant, weight, priority, tokens)


class Line:
    """Waiters that are told apart by tenant."""

    def __init__(self, limits: RequestLimits = WIDE) -> None:
        self.time = Time()
        self.limits = limits
        self.waiters: Waiters[int] = Waiters(self.time)

    def join(self, tenant: str, count: int = 1, **fields: float) -> list[Waiter[int]]:
        shares = [Share(tenant, input_tokens=int(fields.get("tokens", 100)))] * count
        return [self.waiters.join(each, self.limits) for each in shares]

    def next(self) -> str:
        found = self.waiters.next()
        assert found is not None
        found[0].turn.set_result(1)
        return found[0].share.tenant

    def order(self, count: int) -> str:
        return "".join(self.next() for _ in range(count))

    def run(self, seconds: float, per_s: float, tenant: str = "a") -> None:
        """Let places come free, with others of the same tenant coming in their place."""
        for _ in range(round(seconds * per_s)):
            self.time.now += 1 / per_s
            self.next()
            self.join(tenant)


async def test_one_tenant_is_served_in_the_order_of_its_requests():
    line = Line()
    waiting = line.join("a", 5)
    served: list[Waiter[int]] = []
    while (found := line.waiters.next()) is not None:
        served.append(found[0])
    assert served == waiting
    assert not len(line.waiters)


async def test_a_flood_does_not_go_before_everybody_else():
    line = Line()
    line.join("a", 50)
    assert line.order(10) == "a" * 10
    line.join("b", 2)
    assert line.order(5).count("b") == 2
    assert line.order(30) == "a" * 30, "and no place is left empty"


async def test_tenants_that_wait_get_the_same_in_tokens():
    line = Line()
    line.join("a", 40, tokens=300)
    line.join("b", 40, tokens=100)
    assert Counter(line.order(40)) == {"a": 10, "b": 30}


async def test_tenants_get_by_their_weights():
    line = Line()
    for _ in range(40):
        line.waiters.join(share("a", weight=3), WIDE)
        line.waiters.join(share("b"), WIDE)
    assert Counter(line.order(40)) == {"a": 30, "b": 10}


async def test_who_has_slept_gets_nothing_for_it():
    line = Line()
    line.join("b")
    line.next()
    line.join("a", 100)
    line.order(50)
    line.join("b", 50)
    assert Counter(line.order(40)) == {"a": 20, "b": 20}


async def test_a_higher_priority_goes_first_whatever_it_had():
    line = Line()
    line.join("a", 3)
    for _ in range(3):
        line.waiters.join(share("b", priority=1, tokens=10_000), WIDE)
    assert line.order(6) == "bbbaaa"


async def test_who_left_is_passed_over():
    line = Line()
    first, second, third = line.join("a", 3)
    line.waiters.leave(first)
    line.waiters.leave(first)
    second.turn.cancel()
    assert len(line.waiters) == 2
    found = line.waiters.next()
    assert found is not None
    assert found[0] is third
    assert not len(line.waiters)
    assert line.waiters.next() is None


async def test_a_full_line_refuses():
    line = Line(RequestLimits(max_queued_requests=3))
    line.join("a", 3)
    with pytest.raises(Crowded) as refused:
        line.join("a")
    assert refused.value.retry_after_s is None, "nobody has seen how fast it goes"
    assert len(line.waiters) == 3


async def test_a_flood_has_nobody_elses_requests_refused():
    line = Line(RequestLimits(max_queued_requests=10))
    flood = line.join("a", 10)
    line.join("b", 5)
    assert len(line.waiters) == 10
    assert [bool(waiter.turn.done()) for waiter in flood] == [False] * 5 + [True] * 5, "its newest ones went"
    assert isinstance(flood[5].turn.exception(), Crowded)
    with pytest.raises(Crowded):
        line.join("b")
    line.join("c")
    assert len(line.waiters) == 10
    assert sum(waiter.turn.done() for waiter in flood) == 6
    for waiter in flood[4:]:
        waiter.turn.exception()


async def test_a_line_for_nobody_still_takes_one():
    """Who comes first waits too, for the moment until there is a lease."""
    line = Line(RequestLimits(max_queued_requests=0))
    line.join("a")
    with pytest.raises(Crowded):
        line.join("a")


async def test_a_higher_priority_takes_the_place_of_a_lower_one_and_never_the_other_way():
    line = Line(RequestLimits(max_queued_requests=2))
    first, second = line.join("a", 2)
    line.waiters.join(share("b", priority=1), line.limits)
    assert second.turn.done()
    line.waiters.join(share("b", priority=1), line.limits)
    assert first.turn.done()
    with pytest.raises(Crowded):
        line.join("c")
    for waiter in (first, second):
        assert isinstance(waiter.turn.exception(), Crowded)


async def test_who_would_wait_for_too_long_is_told_so_at_once():
    line = Line(RequestLimits(max_queued_requests=1000, max_queue_wait_s=5))
    line.join("a", 40)
    line.run(10, 10)
    assert line.waiters.wait_s(share("a")) == pytest.approx(4.1, rel=0.05)
    line.join("a", 8)
    line.limits = RequestLimits(max_queued_requests=1000, max_queue_wait_s=4)
    with pytest.raises(Crowded) as refused:
        line.join("a")
    assert refused.value.retry_after_s == pytest.approx(0.9, rel=0.1)
    line.join("b", 3)


async def test_a_model_that_comes_up_has_no_pace():
    line = Line()
    line.join("a", 40)
    line.run(20, 1)
    line.limits = RequestLimits(max_queued_requests=1000, max_queue_wait_s=5)
    with pytest.raises(Crowded):
        line.join("a")
    line.waiters.join(share("a"), line.limits, cold=True)


async def test_those_told_to_come_back_come_one_after_the_other_and_never_later_than_their_turn_would_be():
    line = Line(RequestLimits(max_queued_requests=50, max_queue_wait_s=100))
    line.join("a", 50)
    line.run(10, 10)
    told: list[float] = []
    for _ in range(80):
        with pytest.raises(Crowded) as refused:
            line.join("a")
        assert refused.value.retry_after_s is not None
        told.append(refused.value.retry_after_s)
    assert told == sorted(told)
    assert told[0] == pytest.approx(0.1, rel=0.1)
    assert told[9] == pytest.approx(1.0, rel=0.1)
    assert told[-1] == pytest.approx(5.1, rel=0.1)


async def test_who_comes_when_told_is_let_in():
    line = Line()
    line.join("a", 60)
    line.run(10, 10)
    line.limits = RequestLimits(max_queued_requests=1000, max_queue_wait_s=5)
    backs: list[float] = []
    for _ in range(20):
        with pytest.raises(Crowded) as refused:
            line.join("a")
        assert refused.value.retry_after_s is not None
        backs.append(line.time.now + refused.value.retry_after_s)
    while backs:
        line.time.now += 0.1
        line.next()
        # A place's time late: the clock goes in steps.
        for back in [back for back in backs if back + 0.1 <= line.time.now]:
            backs.remove(back)
            line.join("a")


@pytest.mark.parametrize(("tenant", "tokens"), [("a", 100), ("b", 300), ("c", 50)])
async def test_the_place_in_the_line_that_is_foretold_is_the_one_that_it_gets(tenant: str, tokens: int):
    line = Line()
    line.join("a", 30, tokens=100)
    line.join("b", 10, tokens=300)
    line.order(8)
    if tenant == "c":
        line.waiters.fairness.lift((0, "c"), [(0, "a"), (0, "b")])
    foretold = line.waiters.ahead(share(tenant, tokens=tokens))
    (mine,) = line.join(tenant, tokens=tokens)
    came = 0
    while (found := line.waiters.next()) is not None and found[0] is not mine:
        came += 1
    assert came == pytest.approx(foretold, abs=2)


async def test_priorities_are_foretold_too():
    line = Line()
    line.join("a", 30)
    assert line.waiters.ahead(share("c", priority=1)) == 0
    assert line.waiters.ahead(share("a", priority=-1)) == 30


async def test_nothing_is_left_when_everybody_has_left():
    line = Line()
    waiting = [waiter for tenant in "abcdef" for waiter in line.join(tenant, 20)]
    for waiter in waiting[::2]:
        line.waiters.leave(waiter)
    while line.waiters.pop() is not None:
        pass
    assert not len(line.waiters)
    assert not line.waiters._tenants
    await asyncio.sleep(0)
