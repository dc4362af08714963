"""A short round of the benchmark of who is calling, beside the tests' database."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench.auth import Found, main, markdown, measure, misses, options
from scripts.bench.database import database
from scripts.bench.servers import BenchError
from tests.support.mongo import MongoServer

CALLERS = [
    "key",
    *(f"token, {algorithm}" for algorithm in ("HS256", "HS512", "ES256", "EdDSA", "RS256")),
    "anonymous",
    "a made-up key",
    "a made-up token, HS256",
]


async def test_every_caller_is_measured_and_only_cold_ones_ask_the_database(mongodb: MongoServer, tmp_path: Path):
    chosen = options(["--rounds", "2", "--requests", "20", "--cold", "3"])
    found = await measure(mongodb.uri, tmp_path, chosen)
    assert [each.caller for each in found] == CALLERS + CALLERS[::-1]
    for each in found:
        known = each.caller == "key" or each.caller.startswith("token")
        # The key's first use is written down, too; the next may have been read before that.
        assert (2 <= each.calls["cold"] <= 3) if known else each.calls["cold"] == 0, each
        assert not [name for name, calls in each.calls.items() if calls and name != "cold"], each
        assert all(us > 0 for us in each.us.values())
        assert ("authenticator" in each.us) == (each.caller != "anonymous")
    assert misses(found, 10**9) == []
    text = markdown(found, chosen, {"processor": "x"})
    assert [line.split(" | ")[0].strip("| ") for line in text.splitlines()[-len(CALLERS) :]] == CALLERS


def found(us: float, calls: float, caller: str = "key") -> Found:
    return Found(caller, {"dependency": us, "cold": 500.0}, {"dependency": calls, "cold": 2.0})


def test_what_is_too_slow_or_asks_the_database_is_named():
    assert misses([found(30, 0), found(50, 0), found(39, 0)], 40) == []
    assert misses([found(41, 0)], 40) == ["key: 41.0 us a warm request, over the target of 40"]
    assert misses([found(5, 0.001)], 40) == ["key: a warm request asked the database"]
    assert misses([found(500, 0, "a made-up key")], 40) == []


def test_a_database_of_ones_own_is_started_and_stopped_and_the_command_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "found" / "auth.md"
    arguments = ["auth", "--rounds", "1", "--requests", "5", "--cold", "1", "--target", "1e9", "--output", str(path)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("scripts.bench.auth.interruptible", lambda run: run())
    assert main() == 0
    assert "| key |" in path.read_text()
    assert path.with_suffix(".json").exists()
    monkeypatch.setattr("sys.argv", [*arguments, "--target", "0"])
    assert main() == 1
    assert "over the target of 0" in capsys.readouterr().err


def test_a_database_that_does_not_start_is_told(tmp_path: Path):
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(BenchError, match="the database did not start"), database(tmp_path):
        pass
