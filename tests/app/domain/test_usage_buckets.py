from __future__ import annotations

from typing import Any

import pytest

from app.domain.usage_buckets import BucketPage, Width
from app.domain.usage_report import UsageRow

DAY = 86_400
START = 20_000 * DAY


def page(
    limit: int = 7, cursor: str | None = None, width: Width = "1d", start: int = START, end: int = START + 3 * DAY
):
    return BucketPage.of(width, start, end, limit, cursor)


def show(row: UsageRow) -> dict[str, Any]:
    return {"requests": row.requests}


def test_buckets_are_whole_ones_also_where_the_period_is_not():
    found = page(start=START + 5, end=START + DAY + 1)
    assert (found.start_s, found.end_s) == (START, START + 2 * DAY)


def test_every_bucket_is_there_also_where_nothing_was_used():
    rows = [UsageRow((START + DAY) * 1000, requests=3), UsageRow((START + DAY) * 1000, owner="u", requests=4)]
    body = page().body(rows, show)
    assert [(each["start_time"], each["end_time"], each["results"]) for each in body["data"]] == [
        (START, START + DAY, []),
        (START + DAY, START + 2 * DAY, [{"requests": 3}, {"requests": 4}]),
        (START + 2 * DAY, START + 3 * DAY, []),
    ]
    assert (body["object"], body["has_more"], body["next_page"]) == ("page", False, None)


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_follow_each_other_without_gap_or_overlap(width: Width, limit: int):
    step = {"1m": 60, "1h": 3600, "1d": DAY}[width]
    seen: list[int] = []
    cursor = None
    while True:
        body = page(limit, cursor, width, START, START + 5 * step).body([], show)
        assert len(body["data"]) <= limit
        seen += [each["start_time"] for each in body["data"]]
        cursor = body["next_page"]
        assert body["has_more"] is (cursor is not None)
        if cursor is None:
            break
    assert seen == [START + number * step for number in range(5)]


def test_a_period_that_has_not_begun_has_no_buckets():
    for second in (START, START + 5):
        body = page(start=second, end=second).body([], show)
        assert (body["data"], body["has_more"], body["next_page"]) == ([], False, None)


@pytest.mark.parametrize(
    "cursor", ["", "page_", "x", "page_!!!!", "page_MQ", "page_w7w", "page_MTIzNDU2Nzg5MA", "é", "\0"]
)
def test_a_cursor_of_no_page_is_refused(cursor: str):
    with pytest.raises(ValueError, match="no cursor"):
        page(cursor=cursor)


def test_a_cursor_of_another_list_is_refused():
    later = page(1, None, start=START + 30 * DAY, end=START + 40 * DAY).body([], show)["next_page"]
    minute = page(1, None, "1m").body([], show)["next_page"]
    for cursor in (later, minute):
        with pytest.raises(ValueError, match="no cursor"):
            page(cursor=cursor)
