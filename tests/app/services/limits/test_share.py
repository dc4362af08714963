"""What a process counts by itself, and what becomes of it once the database is back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.limits import Limit
from app.services.limits.share import NOWHERE, Share, share_of

LIMIT = Limit("requests", 40, "minute")


@given(st.integers(0, 10**6), st.integers(1, 64))
def test_all_shares_together_are_the_limit_unless_there_is_less_than_one_for_each(count: int, processes: int):
    share = share_of(Limit("requests", count, "minute"), processes)
    assert share * processes <= count or share == 1
    assert share >= 1 or count == 0


@given(st.lists(st.floats(0, 20), max_size=60))
def test_no_stretch_of_a_period_has_more_than_the_share(waits: list[float]):
    share, now, taken = Share("minute"), 1000.0, [0.0]
    for wait in waits:
        now += wait
        if share.left(LIMIT, 4, now) >= 1:
            share.take(1, now)
            taken.append(now)
    for begin in taken:
        assert sum(begin <= at < begin + 60 for at in taken) <= 10


def test_it_fits_again_when_it_is_said_to():
    share = Share("minute")
    for now in range(10):
        share.take(1, now)
    assert share.left(LIMIT, 4, 10) == 0
    wait_s = share.wait_s(LIMIT, 4, 1, 10)
    assert share.left(LIMIT, 4, 10 + wait_s - 0.01) == 0
    assert share.left(LIMIT, 4, 10 + wait_s) >= 1
    assert share.wait_s(LIMIT, 4, 11, 10) == float("inf")


def test_what_was_taken_is_told_once():
    share = Share("minute")
    debt = share.take(3, 0)
    assert share.take(2, 1) is debt
    assert debt.give(1) is None
    assert share.owes
    assert share.owed() == 4
    assert not share.owes
    assert share.owed() == 0


def test_what_comes_back_while_the_database_is_told_follows():
    share = Share("minute")
    debt = share.take(5, 0)
    assert share.owed() == 5
    assert debt.give(2) is None
    assert share.paid(77) == 2
    assert share.paid(78) == 0
    assert debt.give(1) == 77


def test_of_what_the_database_may_not_have_heard_nothing_comes_back_there():
    share = Share("minute")
    debt = share.take(5, 0)
    share.owed()
    share.lost()
    assert share.paid(77) == 0
    assert debt.give(5) == NOWHERE
    assert share.left(LIMIT, 4, 0) == 10
