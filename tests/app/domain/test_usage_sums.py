from __future__ import annotations

from app.domain.usage_report import UsageRow
from app.domain.usage_sums import regrouped, total

ROWS = [
    UsageRow(0, owner="u1", model="a", requests=1, failed_requests=1, input_tokens=2, output_tokens=3, cost_nano=7),
    UsageRow(0, owner="u1", model="b", requests=10, cached_tokens=20, reasoning_tokens=30, cost_nano=70),
    UsageRow(0, owner="u2", model="a", requests=100),
    UsageRow(60_000, owner="u1", model="a", requests=1000),
]


def test_all_is_added_up():
    assert total(ROWS, 5) == UsageRow(
        5,
        requests=1111,
        failed_requests=1,
        input_tokens=2,
        output_tokens=3,
        cached_tokens=20,
        reasoning_tokens=30,
        cost_nano=77,
    )
    assert total([]) == UsageRow(0)


def test_what_is_told_apart_no_more_is_added_up_bucket_by_bucket():
    found = [(row.start_ms, row.owner, row.model, row.requests) for row in regrouped(ROWS, ["owner"])]
    assert found == [(0, "u1", None, 11), (0, "u2", None, 100), (60_000, "u1", None, 1000)]
    assert [row.requests for row in regrouped(ROWS, [])] == [111, 1000]
    assert regrouped(ROWS, ["owner", "model"]) == ROWS
