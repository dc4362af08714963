"""The policy table: what may be in it, and what it says of what may not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.limit_table import LimitRow, LimitTable, own_rows
from app.domain.limits import Limit
from app.services.limit_files import LimitFileError, load_limits, read_limit_file
from app.settings import ROOT


def row(**fields: Any) -> LimitRow:
    return LimitRow.model_validate(fields)


def test_the_shipped_table_holds_the_documented_limits() -> None:
    table = load_limits(str(ROOT / "configs/limits.yaml"))
    assert [each.limit for each in table.user] == [
        Limit("inference_requests", 60, "minute"),
        Limit("requests", 1000, "hour"),
    ]
    assert [each.limit for each in table.guest] == [
        Limit("inference_requests", 10, "minute"),
        Limit("requests", 1000, "hour"),
    ]
    assert [each.limit for each in table.anonymous] == [
        Limit("inference_requests", 10, "minute"),
        Limit("requests", 100, "hour"),
    ]
    assert [each.limit for each in table.api_key] == [Limit("requests", 1000, "hour")]
    assert table.project == table.organization == ()


def test_spend_is_kept_in_billionths_without_rounding() -> None:
    assert row(spend=25.5, per="month").limit == Limit("spend", 25_500_000_000, "month")
    assert row(spend="0.000000001", per="day").limit.count == 1


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"requests": 0, "per": "hour"}, "greater than or equal to 1"),
        ({"requests": -1, "per": "hour"}, "greater than or equal to 1"),
        ({"requests": 10**13, "per": "hour"}, "less than or equal to"),
        ({"requests": 1.5, "per": "hour"}, "valid integer"),
        ({"requests": True, "per": "hour"}, "valid integer"),
        ({"requests": "60", "per": "hour"}, "valid integer"),
        ({"tokens": float("nan"), "per": "hour"}, "valid integer"),
        ({"spend": float("inf"), "per": "month"}, "finite"),
        ({"spend": -1, "per": "month"}, "greater than 0"),
        ({"spend": 0, "per": "month"}, "greater than 0"),
        ({"requests": 1, "per": "fortnight"}, "'second', 'minute'"),
        ({"requests": 1}, "requests per what"),
        ({"per": "hour"}, "names none"),
        ({"requests": 1, "tokens": 1, "per": "hour"}, "names requests and tokens"),
        ({"concurrent_requests": 2, "per": "hour"}, "no per, no burst"),
        ({"requests": 5, "per": "minute", "burst": 6}, "at most the limit"),
        ({"tokens": 5, "per": "month", "burst": 5}, "not for months"),
        ({"requests": 5, "per": "minute", "model": "m"}, "name inference_requests"),
        ({"inference_requests": 5, "per": "minute", "model": ""}, "match pattern"),
        ({"reqests": 5, "per": "minute"}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        row(**fields)


def test_two_limits_of_one_kind_are_a_mistake() -> None:
    rows = [{"requests": 5, "per": "hour"}, {"requests": 6, "per": "hour"}]
    with pytest.raises(ValidationError, match="user: two limits of requests per hour"):
        LimitTable.model_validate({"user": rows})


def test_a_limit_of_a_model_names_no_other_one() -> None:
    with pytest.raises(ValidationError, match=r"models\.m: these are of one model already"):
        LimitTable.model_validate({"models": {"m": [{"tokens": 5, "per": "hour", "model": "n"}]}})


@pytest.mark.parametrize("plan", [{"weight": 0}, {"weight": -1}, {"weight": float("inf")}, {"priority": 1000}])
def test_a_plan_of_absurd_weight_is_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LimitTable.model_validate({"plans": {"pro": plan}})


def test_mistakes_in_a_file_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("user:\n  - { inference_requests: -1, per: minute }\ngueest: []\n")
    with pytest.raises(LimitFileError) as raised:
        read_limit_file(file)
    assert [line.replace(str(tmp_path), "") for line in raised.value.problems] == [
        "/limits.yaml:2: user[0].inference_requests: Input should be greater than or equal to 1",
        "/limits.yaml:3: gueest: there is no such field",
    ]


@pytest.mark.parametrize("text", ["", "[]", "60", "user: {"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    with pytest.raises(LimitFileError, match=r"limits\.yaml"):
        read_limit_file(file)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(LimitFileError, match=r"nowhere\.yaml: no such file"):
        load_limits("nowhere.yaml")


def test_a_table_survives_being_stored() -> None:
    table = load_limits(str(ROOT / "configs/limits.yaml"))
    assert LimitTable.model_validate(table.to_dict()) == table
    spend = LimitTable.model_validate({"user": [{"spend": 0.1, "per": "month"}]})
    assert LimitTable.model_validate(spend.to_dict()).user[0].spend == Decimal("0.1")


@pytest.mark.parametrize(
    ("spend", "text"), [(1e-9, "0.000000001"), ("1E-9", "0.000000001"), ("1E+3", "1000"), (25.5, "25.5")]
)
def test_money_is_shown_digit_by_digit(spend: Any, text: str) -> None:
    table = LimitTable.model_validate({"user": [{"spend": spend, "per": "month"}]})
    assert table.to_dict()["user"] == [{"spend": text, "per": "month"}]


def test_what_one_key_is_held_to_are_rows_like_others() -> None:
    rows = own_rows({"requests_per_minute": 5, "monthly_spend": 2.5, "concurrent_requests": 3, "unheard_of": 1})
    assert [each.limit for each in rows] == [
        Limit("inference_requests", 5, "minute"),
        Limit("spend", 2_500_000_000, "month"),
        Limit("concurrent_requests", 3, None),
    ]


@pytest.mark.parametrize("name", ["", "a\x00b", "$set", "x" * 500, "a b"])
def test_what_could_be_no_models_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        LimitTable.model_validate({"models": {name: []}})
    with pytest.raises(ValidationError):
        LimitTable.model_validate({"user": [{"tokens": 1, "per": "hour", "model": name}]})
