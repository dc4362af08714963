"""``manta usage`` against a gateway."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from app.cli.main import build_cli
from app.domain.user import ADMIN_ID, User
from tests.support.gateway import CHAT, EMBEDDER, Gateway, new_key, new_user, running_gateway
from tests.support.mongo import MongoServer
from tests.support.ports import free_port
from tests.support.used import DAY_MS, event, keep

Manta = Callable[..., Awaitable[Result]]
FIRST = (int(time.time() * 1000) // DAY_MS - 2) * DAY_MS


def day(number: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(FIRST / 1000 + 86_400 * number))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(mongodb: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A service, whose first key is in the state folder."""
    home = tmp_path_factory.mktemp("home")
    async with running_gateway(tmp_path_factory.mktemp("state"), mongodb.uri, "usage_cli") as running:
        (home / "api-key").write_text(running.key + "\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MANTA_STATE_DIR", str(home))
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ada(service: Gateway) -> User:
    """A user who used two models on two days, beside an admin who used one on one."""
    user = await new_user(service.services, name="Ada", email="ada@example.com")
    await keep(
        service,
        event(user.id, FIRST, input_tokens=1000, cached_tokens=400, output_tokens=234, cost_nano=1_500_000_001),
        event(user.id, FIRST + DAY_MS, model=EMBEDDER, input_tokens=5, key_id="key_x", status="failed"),
        event(ADMIN_ID, FIRST + DAY_MS, input_tokens=7, cost_nano=250_000_000),
    )
    return user


@pytest.fixture
def manta(service: Gateway) -> Manta:
    """Runs ``manta usage`` in a thread, as a command of its own."""

    async def run(*arguments: str, key: str | None = None) -> Result:
        command = ["usage", *arguments, "--url", service.url, *(("--key", key) if key else ())]
        return await asyncio.to_thread(CliRunner().invoke, build_cli(), command)

    return run


def cells(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()]


async def test_ones_own_days_are_a_table_with_totals(manta: Manta, service: Gateway, ada: User):
    key = await new_key(service.services, "read", owner=ada.id)
    assert cells(await manta(key=key)) == [
        ["day", "requests", "failed", "input", "cached", "output", "usd"],
        [day(0), "1", "0", "1,000", "400", "234", "1.500000001"],
        [day(1), "1", "1", "5", "0", "0", "0.000000000"],
        ["total", "2", "1", "1,005", "400", "234", "1.500000001"],
    ]


async def test_an_admin_sees_their_own_unless_they_ask_for_all(manta: Manta, ada: User):
    assert cells(await manta()) == [
        ["day", "requests", "failed", "input", "cached", "output", "usd"],
        [day(1), "1", "0", "7", "0", "0", "0.25"],
        ["total", "1", "0", "7", "0", "0", "0.25"],
    ]
    assert [row[:2] for row in cells(await manta("--all"))[1:]] == [[day(0), "1"], [day(1), "2"], ["total", "3"]]


async def test_everybody_is_told_apart(manta: Manta, ada: User):
    head, *rows, _ = cells(await manta("--by", "user,model,day"))
    assert head[:4] == ["day", "user", "name", "model"]
    assert sorted(row[:4] for row in rows) == sorted(
        [
            [day(0), ada.id, "Ada", CHAT],
            [day(1), ada.id, "Ada", EMBEDDER],
            [day(1), ADMIN_ID, "Admin", CHAT],
        ]
    )


async def test_numbers_stand_below_each_other(manta: Manta, ada: User):
    lines = (await manta("--by", "model", "--all")).output.splitlines()
    assert len({len(line) for line in lines}) == 1, "they end where the last number does"


@pytest.mark.parametrize("who", ["id", "ada@example.com"])
async def test_somebody_is_asked_for_by_id_or_address(manta: Manta, ada: User, who: str):
    rows = cells(await manta("--user", ada.id if who == "id" else who, "--by", "key"))
    assert [row[:3] for row in rows[1:]] == [["-", "-", "1"], ["key_x", "-", "1"], ["total", "2", "1"]]


@pytest.mark.parametrize(
    ("arguments", "requests"),
    [
        (("--since", day(1)), "2"),
        (("--until", day(0)), "1"),
        (("--since", day(0), "--until", day(0)), "1"),
        (("--since", "4w"), "3"),
        (("--until", "3d"), None),
        (("--since", "1s"), None),
        (("--model", EMBEDDER), "1"),
        (("--model", EMBEDDER, "--model", CHAT), "3"),
        (("--key-id", "key_x,key_y"), "1"),
    ],
)
async def test_a_part_can_be_asked_for(manta: Manta, ada: User, arguments: tuple[str, ...], requests: str | None):
    result = await manta("--all", *arguments)
    assert result.exit_code == 0, result.output
    if requests is None:
        assert result.output == "Nothing was used in that time.\n"
    else:
        assert cells(result)[-1][:2] == ["total", requests]


async def test_a_table_for_spreadsheets_goes_to_a_file_or_on(manta: Manta, ada: User, tmp_path: Path):
    file = tmp_path / "usage.csv"
    written = await manta("--by", "user,day", "--csv", str(file))
    assert (written.exit_code, f"{file} is written." in written.output) == (0, True)
    shown = await manta("--by", "user,day", "--csv", "-")
    assert shown.stdout_bytes == file.read_bytes()
    rows = list(csv.DictReader(io.StringIO(file.read_bytes().decode(), newline=""), strict=True))
    assert [(row["user_name"], row["cost"]) for row in rows if row["date"] == day(0)] == [("Ada", "1.500000001")]
    refused = await manta("--csv", str(tmp_path / "nowhere" / "x.csv"))
    assert (refused.exit_code, "cannot be written" in refused.stderr) == (1, True)


async def test_the_answer_is_said_as_it_is(manta: Manta, ada: User):
    result = await manta("--all", "--json")
    body: dict[str, Any] = json.loads(result.stdout)
    assert (body["object"], body["totals"]["requests"]) == ("list", 3)
    assert '"cost":1.750000001' in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--by", "color"), 1, "`group_by` must be of day, model, key"),
        (("--by", "color", "--all"), 1, "`group_by` must be of day, user, project, key, model"),
        (("--since", "2026-02-30"), 1, "`start_date` must be a day"),
        (("--since", "yesterday"), 2, "--since 'yesterday' is no span of time"),
        (("--until", "x"), 2, "--until 'x' is no span of time"),
        (("--since", "2000d"), 1, "at most 366 days"),
        (("--user", "nobody@example.com"), 1, "Nobody here has the e-mail address"),
        (("--csv", "-", "--json"), 2, "do not go together"),
    ],
)
async def test_what_cannot_be_asked_is_told(manta: Manta, arguments: tuple[str, ...], code: int, words: str):
    result = await manta(*arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.output
    assert result.stdout == ""


async def test_a_key_that_is_no_admins_sees_nobody_else(manta: Manta, service: Gateway, ada: User):
    key = await new_key(service.services, "read", owner=ada.id)
    for arguments in (("--all",), ("--by", "user"), ("--user", ADMIN_ID)):
        result = await manta(*arguments, key=key)
        assert (result.exit_code, "Only an admin may do this" in result.output) == (1, True)


def test_a_service_that_is_not_there_is_said_to_be_so():
    result = CliRunner().invoke(build_cli(), ["usage", "--url", f"http://127.0.0.1:{free_port()}"])
    assert (result.exit_code, "does not answer" in result.output) == (1, True)
