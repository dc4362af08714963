"""``manta limits``: what is said of limits, and what is no limit."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from app.cli.admin_client import limits_told
from app.cli.main import build_cli
from tests.support.ports import free_port


def test_limits_are_told_digit_by_digit():
    limits = {
        "monthly_tokens": 10_000_000,
        "tokens_per_day": 1_234_567,
        "monthly_spend": 1e-9,
        "requests_per_hour": None,
    }
    assert limits_told(limits) == "10000000 monthly tokens, 1234567 tokens per day, 0.000000001 monthly spend"


@pytest.mark.parametrize("limit", ["requests_per_minute=many", "requests_per_minute=inf", "monthly_spend=nan", "x"])
def test_what_is_no_number_is_told_before_anybody_is_asked(limit: str):
    service = ["--url", f"http://127.0.0.1:{free_port()}", "--key", "none"]
    result = CliRunner().invoke(build_cli(), ["limits", "give", "user_1", "--limit", limit, *service])
    assert (result.exit_code, "write NAME=NUMBER" in result.stderr) == (2, True), result.output
