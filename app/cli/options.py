"""What the commands share that talk to a running service: its address, the key, and the question before a deed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, TypeVar

import typer

from app.cli.api_client import ApiClient
from app.cli.errors import CliError
from app.settings import Settings

Client = TypeVar("Client", bound=ApiClient)
Told = Callable[[], AbstractContextManager[None]]
"""Turns foreseen errors into a sentence and an exit status."""

Url = Annotated[
    str | None,
    typer.Option(help="The service. Left out: the one that runs from this state folder.", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option(help="An admin's API key. Left out: the first one, in the state folder.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def client(kind: type[Client], url: str | None, key: str | None) -> Client:
    """A client of the service that the options name."""
    return kind.of(url, key, Settings.load())


def confirm(question: str, *, yes: bool) -> None:
    """Return if it is to be done.

    Raises:
        CliError: It is not, or there is nobody to say so.
    """
    if yes:
        return
    try:
        sure = typer.confirm(question)
    except typer.Abort:
        raise CliError("Nobody answered, so nothing was done. To do it without being asked: --yes.") from None
    if not sure:
        raise CliError("Nothing was done.")
