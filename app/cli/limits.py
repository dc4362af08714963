"""``manta limits``: who may use how much of a running service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.admin_client import AdminClient
from app.cli.errors import CliError
from app.cli.options import Key, Told, Url, Yes, client, confirm
from app.cli.screen import Screen, table
from app.domain.limit_table import OWN, WHO
from app.services.limit_files import read_limit_file


def add_limits(cli: typer.Typer, screen: Screen, told: Told) -> None:
    """Add the commands."""
    limits = typer.Typer(no_args_is_help=True, help="Look at the limits of a running service, and change them.")
    cli.add_typer(limits, name="limits")
    _add_table(limits, screen, told)
    _add_giving(limits, screen, told)


def _add_table(limits: typer.Typer, screen: Screen, told: Told) -> None:
    @limits.command("show")
    def show(url: Url = None, key: Key = None) -> None:
        """The limits in force."""
        with told(), client(AdminClient, url, key) as service:
            found = service.limits()
            for line in table(_rows(found["limits"])):
                screen.say(line)
            screen.note("These are the file's." if found["origin"] == "file" else "An admin has set these.")

    @limits.command("set")
    def set_(
        file: Annotated[Path, typer.Argument(help="As configs/limits.yaml.", exists=True, dir_okay=False)],
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Put the limits of a file in force, for everybody and at once."""
        with told(), client(AdminClient, url, key) as service:
            service.set_limits(read_limit_file(file).to_dict())
            screen.good("The limits are in force. Back to those that the service started with: manta limits reset")

    @limits.command("reset")
    def reset(yes: Yes = False, url: Url = None, key: Key = None) -> None:
        """Go back to the limits that the service started with."""
        with told(), client(AdminClient, url, key) as service:
            confirm("Go back to the limits of the file?", yes=yes)
            service.reset_limits()
            screen.good("The limits of the file are in force.")


def _add_giving(limits: typer.Typer, screen: Screen, told: Told) -> None:
    @limits.command("give")
    def give(  # noqa: PLR0913, PLR0917 - one parameter an option
        who: Annotated[str, typer.Argument(help="A user's id or e-mail address, or a key's id.")],
        limit: Annotated[
            list[str] | None,
            typer.Option(help=f"NAME=NUMBER, again for more. Names: {', '.join(OWN)}.", show_default=False),
        ] = None,
        lift: Annotated[bool, typer.Option("--lift", help="No limits at all.")] = False,
        usual: Annotated[bool, typer.Option("--usual", help="The policy's, like everybody.")] = False,
        plan: Annotated[
            str | None, typer.Option(help="A plan of the policy's, for users; '' takes it away.", show_default=False)
        ] = None,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Give one user, or one API key, other limits than the policy's."""
        with told(), client(AdminClient, url, key) as service:
            if bool(limit) + lift + usual > 1 or not (limit or lift or usual or plan is not None):
                raise CliError("Say one of --limit, --lift and --usual, or a --plan.", exit_code=2)
            fields: dict[str, Any] = {}
            if limit or lift or usual:
                fields["limits"] = "none" if lift else None if usual else dict(map(_amount, limit or []))
            if plan is not None:
                fields["plan"] = plan or None
            if who.startswith("key_"):
                service.change_key(who, fields)
            else:
                who = service.change_user(who, **fields).id
            screen.good(f"{who} has it from now on, everywhere within ten seconds.")


def _amount(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
        whole = int(value)
    except (ValueError, OverflowError):
        raise CliError(f"--limit {text!r}: write NAME=NUMBER, such as requests_per_minute=600.", exit_code=2) from None
    if name not in OWN:
        raise CliError(f"--limit {text!r}: there is no {name!r}. Names: {', '.join(OWN)}.", exit_code=2)
    return name, whole if whole == value and name != "monthly_spend" else value


def _rows(limits: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for who in WHO:
        rows += [(who.replace("_", " "), *_told(row)) for row in limits.get(who, ())]
    for model, found in limits.get("models", {}).items():
        rows += [(f"all of {model}", *_told(row)) for row in found]
    for name, plan in limits.get("plans", {}).items():
        rows.append((f"plan {name}", f"weight {plan['weight']:g}", f"priority {plan['priority']}"))
        for who in ("user", "api_key"):
            rows += [(f"plan {name}: {who.replace('_', ' ')}", *_told(row)) for row in plan.get(who, ())]
    return rows


def _told(row: Mapping[str, Any]) -> tuple[str, str]:
    what = next(name for name in row if name not in ("per", "burst", "model"))
    time = f"per {row['per']}" if "per" in row else "at once"
    burst = f", at most {row['burst']} at once" if "burst" in row else ""
    model = f", of {row['model']}" if "model" in row else ""
    return f"{row[what]} {what.replace('_', ' ')}", f"{time}{burst}{model}"
