"""What is kept until it is on record, is bounded."""

from __future__ import annotations

import pytest

from deployments.link.unwritten import Unwritten
from deployments.slate.slate import Line


def accounts(left: list[Line]) -> list[bytes]:
    return [each.account for each in left]


def test_a_lost_link_leaves_its_own_alone():
    left: list[Line] = []
    unwritten = Unwritten(left.extend)
    for link in ("one", "other"):
        for stream in (1, 2):
            unwritten.keep(link, stream, Line(f"{link} {stream}".encode()))
    unwritten.written("one", 1)
    unwritten.written("one", 7)
    unwritten.lost("one")
    assert accounts(left) == [b"one 2"]
    unwritten.lost("one")
    assert accounts(left) == [b"one 2"]
    assert len(unwritten) == 2


def test_beyond_its_capacity_the_oldest_are_forgotten_and_the_log_says_so(caplog: pytest.LogCaptureFixture):
    left: list[Line] = []
    unwritten = Unwritten(left.extend, capacity=2)
    for stream in (1, 2, 3):
        unwritten.keep("link", stream, Line(b"%d" % stream))
    assert "forgot the oldest" in caplog.text
    unwritten.lost("link")
    assert accounts(left) == [b"2", b"3"]


async def test_it_can_be_waited_for_but_not_for_ever():
    unwritten = Unwritten(lambda _: None)
    await unwritten.settle(60)
    unwritten.keep("link", 1, Line(b"a"))
    await unwritten.settle(0.01)
    assert len(unwritten) == 1
