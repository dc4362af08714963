"""``manta usage``: what was used, by whom, and what that costs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.cli.errors import CliError
from app.cli.keys import seconds
from app.cli.options import Key, Told, Url, client
from app.cli.screen import Screen, table
from app.cli.usage_client import UsageClient, UsageReport

WORDS: Final[Mapping[str, Sequence[str]]] = {
    "day": ("date",),
    "user": ("user_id", "user_name"),
    "project": ("project_id", "project_name"),
    "key": ("key_id", "key_name"),
    "model": ("model",),
}
"""What of a row says what it is about, by what reports can be grouped by."""

OF_ALL: Final = frozenset(("user", "project"))
"""What only everybody's report tells apart."""

NUMBERS: Final[Mapping[str, str]] = {
    "requests": "requests",
    "failed_requests": "failed",
    "input_tokens": "input",
    "cached_tokens": "cached",
    "output_tokens": "output",
}
HEADS: Final[Mapping[str, str]] = {
    "date": "day",
    "user_id": "user",
    "user_name": "name",
    "project_id": "project",
    "project_name": "name",
    "key_id": "key",
    "key_name": "name",
    "model": "model",
}
"""What the columns are called, by the field of a row."""

Several = Annotated[
    list[str] | None, typer.Option(help="Of these alone; again, or split by commas.", show_default=False)
]


def add_usage(cli: typer.Typer, screen: Screen, told: Told) -> None:
    """Add the command."""

    @cli.command("usage")
    def show_usage(  # noqa: PLR0913, PLR0917 - one parameter an option
        by: Annotated[str, typer.Option(help="Of day, user, project, key, model; split by commas.")] = "day",
        everybody: Annotated[bool, typer.Option("--all", help="Everybody's, not one's own; for admins.")] = False,
        user: Annotated[
            str | None, typer.Option(help="Somebody's; an id or an e-mail address. For admins.", show_default=False)
        ] = None,
        model: Several = None,
        key_id: Several = None,
        since: Annotated[
            str | None,
            typer.Option(help="A day in UTC such as 2026-11-01, or how long ago: 12h, 30d.", show_default="30 days"),
        ] = None,
        until: Annotated[
            str | None, typer.Option(help="The last day, in UTC, or how long ago.", show_default="today")
        ] = None,
        csv: Annotated[
            str | None, typer.Option(metavar="FILE", help="Write a table for spreadsheets; - for standard output.")
        ] = None,
        json: Annotated[bool, typer.Option("--json", help="Say what the service answers, as it is.")] = False,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """What was used, and what it costs: one's own, or with an admin's key everybody's."""
        with told(), client(UsageClient, url, key) as service:
            if csv is not None and json:
                raise CliError("--csv and --json do not go together.", exit_code=2)
            groups = [part.strip() for part in by.split(",") if part.strip()]
            query: dict[str, str | int] = {"group_by": ",".join(groups), **_period(since, until)}
            filters = {
                "user": user and service.user(user).id,
                "model": ",".join(model or ()),
                "key": ",".join(key_id or ()),
            }
            query |= {name: value for name, value in filters.items() if value}
            whole = everybody or user is not None or bool(OF_ALL.intersection(groups))
            text = service.usage(query, everybody=whole, form="json" if csv is None else "csv")
            if csv is not None:
                _write(csv, text, screen)
            elif json:
                screen.say(text)
            else:
                _show(UsageReport.of(text), groups, screen)


def _period(since: str | None, until: str | None) -> dict[str, str | int]:
    """The period in the words of the API."""
    said: dict[str, str | int] = {}
    for option, name, value in (("--since", "start", since), ("--until", "end", until)):
        if value is not None and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            said[f"{name}_date"] = value
        elif value is not None:
            said[name] = int(time.time()) - seconds(value, option)
    return said


def _write(file: str, text: str, screen: Screen) -> None:
    if file == "-":
        typer.echo(text.encode(), nl=False)
        return
    try:
        # As bytes: the lines of such a table end in the same way everywhere.
        Path(file).write_bytes(text.encode())
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror}.") from None
    screen.good(f"{file} is written.")


def _show(report: UsageReport, groups: Sequence[str], screen: Screen) -> None:
    if not report.rows:
        screen.say("Nothing was used in that time.")
        return
    words = [word for name, columns in WORDS.items() if name in groups for word in columns] or ["date"]
    digits = max(2, *(_digits(row["cost"]) for row in report.rows))
    head = [*(HEADS[word] for word in words), *NUMBERS.values(), report.currency]
    rows = [[*(row[word] or "-" for word in words), *_numbers(row, digits)] for row in report.rows]
    total = ["total", *("" for _ in words[1:]), *_numbers(report.totals, digits)]
    lines = list(table([head, *rows, total], len(words)))
    for index, line in enumerate(lines):
        screen.say(line, "bold" if index in (0, len(lines) - 1) else "")


def _digits(cost: Decimal | int) -> int:
    """How many decimals it takes to write an amount."""
    exponent = Decimal(cost).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _numbers(row: Mapping[str, Any], digits: int) -> list[str]:
    return [*(f"{row[name]:,}" for name in NUMBERS), f"{Decimal(row['cost']):,.{digits}f}"]
