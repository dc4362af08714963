"""``manta keys``: the API keys of a running service."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Final

import typer

from app.cli.admin_client import AdminClient, KeyView, limits_told
from app.cli.errors import CliError
from app.cli.options import Key, Told, Url, client
from app.cli.screen import Screen, table, when

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

Id = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `manta keys list` shows it: key_...")]


def add_keys(cli: typer.Typer, screen: Screen, told: Told) -> None:
    """Add the commands."""
    keys = typer.Typer(no_args_is_help=True, help="Look at the API keys of a running service, make and revoke them.")
    cli.add_typer(keys, name="keys")
    _add_looking(keys, screen, told)
    _add_changing(keys, screen, told)


def _add_looking(keys: typer.Typer, screen: Screen, told: Told) -> None:
    @keys.command("list")
    def list_keys(
        user: Annotated[
            str | None, typer.Option(help="Theirs alone; an id or an e-mail address.", show_default=False)
        ] = None,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Every API key, the newest first."""
        with told(), client(AdminClient, url, key) as service:
            rows = [
                (each.id, each.owner, "+".join(each.permissions), f"used {when(each.last_used_at)}", each.name)
                for each in service.keys(user)
            ]
            for line in table(rows):
                screen.say(line)

    @keys.command("show")
    def show_key(key_id: Id, url: Url = None, key: Key = None) -> None:
        """One API key: everything but the key."""
        with told(), client(AdminClient, url, key) as service:
            for line in table(_rows(service.key(key_id))):
                screen.say(line)


def _add_changing(keys: typer.Typer, screen: Screen, told: Told) -> None:
    @keys.command("create")
    def create_key(  # noqa: PLR0913, PLR0917 - one parameter an option
        user: Annotated[str, typer.Option(help="Whom it stands for; an id or an e-mail address.")],
        name: Annotated[str, typer.Option(help="What it will be known by.")],
        permission: Annotated[
            list[str] | None,
            typer.Option(help="read, write or admin; again for more.", show_default="read and write"),
        ] = None,
        model: Annotated[
            list[str] | None, typer.Option(help="A model that it may use; again for more.", show_default="all")
        ] = None,
        expires_in: Annotated[
            str | None, typer.Option(help="When it ends: 12h, 30d, 8w.", show_default="never")
        ] = None,
        project: Annotated[
            str | None, typer.Option(help="Id of the project it belongs to.", show_default="the default one")
        ] = None,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Make an API key for a user. The key is the only line on standard output."""
        with told(), client(AdminClient, url, key) as service:
            fields: dict[str, Any] = {
                "name": name,
                "permissions": permission,
                "models": model,
                "expires_at": None if expires_in is None else int(time.time()) + seconds(expires_in),
                "project_id": project,
            }
            owner = service.user(user)
            said = {field: value for field, value in fields.items() if value not in (None, [])}
            made = service.create_key(owner, said)
            screen.say(made.value)
            screen.note(f"This is {made.id}, for {owner.name}. It is shown now and not again: keep it somewhere safe.")

    @keys.command("revoke")
    def revoke_key(key_id: Id, url: Url = None, key: Key = None) -> None:
        """End an API key: it opens nothing any more within seconds."""
        with told(), client(AdminClient, url, key) as service:
            service.revoke_key(key_id)
            screen.good(f"{key_id} is revoked.")


def seconds(span: str, option: str = "--expires-in") -> int:
    """A span of time such as ``30d``.

    Raises:
        CliError: It is none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhdw])", span)
    if match is None:
        raise CliError(f"{option} {span!r} is no span of time. Write 90m, 12h, 30d or 8w.", exit_code=2)
    return int(match[1]) * SECONDS[match[2]]


def _rows(key: KeyView) -> list[tuple[str, ...]]:
    return [
        ("id", key.id),
        ("name", key.name),
        ("key", key.redacted_value),
        ("user", key.owner),
        ("project", key.project),
        ("may", ", ".join(key.permissions)),
        ("models", "all" if key.models is None else ", ".join(key.models)),
        ("limits", limits_told(key.limits) or "its user's"),
        ("made", when(key.created_at)),
        ("ends", when(key.expires_at)),
        ("last used", when(key.last_used_at)),
    ]
