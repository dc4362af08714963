"""``manta users``: who may come in to a running service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import typer

from app.cli.admin_client import AdminClient, UserView, limits_told
from app.cli.options import Key, Told, Url, Yes, client, confirm
from app.cli.screen import Screen, table, when

Who = Annotated[str, typer.Argument(metavar="USER", help="Their id, or their e-mail address.")]


def add_users(cli: typer.Typer, screen: Screen, told: Told) -> None:
    """Add the commands."""
    users = typer.Typer(no_args_is_help=True, help="Look at the users of a running service, and change them.")
    cli.add_typer(users, name="users")
    _add_looking(users, screen, told)
    _add_changing(users, screen, told)
    _add_ending(users, screen, told)


def _add_looking(users: typer.Typer, screen: Screen, told: Told) -> None:
    @users.command("list")
    def list_users(
        role: Annotated[
            Literal["admin", "user", "guest"] | None, typer.Option(help="Those alone.", show_default=False)
        ] = None,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Everybody whom the service knows, the newest first."""
        with told(), client(AdminClient, url, key) as service:
            rows = [(user.id, _role(user), user.status, user.email or "-", user.name) for user in service.users(role)]
            for line in table(rows):
                screen.say(line)

    @users.command("show")
    def show_user(who: Who, url: Url = None, key: Key = None) -> None:
        """One of them, and how many API keys they have."""
        with told(), client(AdminClient, url, key) as service:
            user = service.user(who)
            keys = len(list(service.keys(user.id)))
            rows = [
                ("id", user.id),
                ("name", user.name),
                ("e-mail", user.email or "-"),
                ("role", _role(user)),
                ("status", user.status),
                ("signs in at", user.issuer or "-"),
                ("limits", limits_told(user.limits) or "the policy's"),
                ("plan", user.plan or "-"),
                ("API keys", str(keys)),
                ("since", when(user.created_at)),
            ]
            for line in table(rows):
                screen.say(line)


def _add_changing(users: typer.Typer, screen: Screen, told: Told) -> None:
    @users.command("add")
    def add_user(
        name: Annotated[str, typer.Option(help="What they are called.")],
        email: Annotated[str | None, typer.Option(help="Their e-mail address.", show_default=False)] = None,
        admin: Annotated[bool, typer.Option("--admin", help="They may change what everybody uses.")] = False,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Add somebody who gets API keys from you and does not sign in."""
        with told(), client(AdminClient, url, key) as service:
            user = service.add_user(name, email, "admin" if admin else "user")
            screen.good(f"{user.id} is added. An API key for them: manta keys create --user {user.id} --name NAME")

    def change(command: str, told_as: str, help_: str, **fields: str) -> None:
        @users.command(command, help=help_)
        def run(who: Who, url: Url = None, key: Key = None) -> None:
            with told(), client(AdminClient, url, key) as service:
                user = service.change_user(who, **fields)
                screen.good(f"{_named(user)} {told_as}.")

    change("promote", "is an admin", "Make somebody an admin.", role="admin")
    change("demote", "is no admin any more", "Make an admin a user like others.", role="user")
    change("disable", "is disabled", "Sign somebody out, and let them and their keys in no more.", status="disabled")
    change("enable", "is enabled", "Let somebody in again who was disabled.", status="active")


def _add_ending(users: typer.Typer, screen: Screen, told: Told) -> None:
    @users.command("revoke")
    def revoke_user(who: Who, yes: Yes = False, url: Url = None, key: Key = None) -> None:
        """End every session and every API key of somebody."""
        with told(), client(AdminClient, url, key) as service:
            user = service.user(who)
            confirm(f"End every session and API key of {_named(user)}?", yes=yes)
            screen.good(f"Ended: {_counted(service.revoke_user(user))}.")

    @users.command("delete")
    def delete_user(who: Who, yes: Yes = False, url: Url = None, key: Key = None) -> None:
        """Delete somebody and all that is theirs."""
        with told(), client(AdminClient, url, key) as service:
            user = service.user(who)
            confirm(f"Delete {_named(user)} and all that is theirs? This cannot be undone.", yes=yes)
            removed = service.delete_user(user)
            screen.good(f"{_named(user)} is deleted. With them went: {_counted(removed)}.")


def _named(user: UserView) -> str:
    return f"{user.name} ({user.id})"


def _role(user: UserView) -> str:
    return user.role if user.service_project is None else f"program of {user.service_project}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing"
