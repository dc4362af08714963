"""``manta models``: the models of a running service, looked at and changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.cli.errors import CliError
from app.cli.model_client import ModelClient
from app.cli.options import Key, Told, Url, client
from app.cli.screen import Board, Screen
from app.cli.service import ModelView
from app.services.model_files import ModelFileError, read_model_file

POLL_S = 0.5
FOLLOW_S = 1.0
AT_REST = ("ready", "cold", "failed", "disabled")

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Its id, or an alias.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until it is ready, asleep or failed.")]


def add_models(cli: typer.Typer, screen: Screen, told: Told) -> None:
    """Add the commands."""
    models = typer.Typer(no_args_is_help=True, help="Look at the models of a running service, and change them.")
    cli.add_typer(models, name="models")
    _add_looking(models, screen, told)
    _add_changing(models, screen, told)


def _add_looking(models: typer.Typer, screen: Screen, told: Told) -> None:
    @models.command("list")
    def list_models(url: Url = None, key: Key = None) -> None:
        """Every model, and what it is doing."""
        with told(), client(ModelClient, url, key) as service:
            found = service.list()
            width = max((len(model.id) for model in found), default=0)
            for model in found:
                screen.say(f"{model.id:<{width}}  {_words(model)}")

    @models.command("watch")
    def watch_models(
        names: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Left out: all.")] = None,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Every model's state, until Ctrl-C."""
        with told(), client(ModelClient, url, key) as service, screen.board() as board:
            while True:
                for model in [service.get(name) for name in names] if names else service.list():
                    _show(board, model, done=None)
                time.sleep(POLL_S)

    @models.command("logs")
    def show_logs(
        name: Name,
        lines: Annotated[int, typer.Option(help="So many of each replica.", min=1, max=5000)] = 100,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """The end of what its replicas wrote, those that failed included."""
        with told(), client(ModelClient, url, key) as service:
            shown: dict[str, list[str]] = {}
            while True:
                logs = service.logs(name, lines)
                for replica, found in logs.items():
                    for line in _new(shown.get(replica, []), found):
                        screen.say(f"{replica[:8]}  {line}" if len(logs) > 1 else line)
                shown = logs
                if not follow:
                    return
                time.sleep(FOLLOW_S)


def _add_changing(models: typer.Typer, screen: Screen, told: Told) -> None:
    @models.command("add")
    def add(
        file: Annotated[Path, typer.Argument(help="A model file, as in configs/models.", exists=True, dir_okay=False)],
        wait: Wait = True,
        url: Url = None,
        key: Key = None,
    ) -> None:
        """Add a model."""
        with told(), client(ModelClient, url, key) as service:
            read = read_model_file(file)
            if read.spec is None:
                raise ModelFileError(read.file.problems)
            model = service.add(read.spec.model_dump(mode="json", exclude_unset=True))
            _settle(service, model, screen, wait=wait)

    @models.command("remove")
    def remove(name: Name, url: Url = None, key: Key = None) -> None:
        """Remove a model; requests under way end as they would have."""
        with told(), client(ModelClient, url, key) as service:
            service.remove(name)
            screen.good(f"{name} is removed.")

    @models.command("start")
    def start(name: Name, wait: Wait = True, url: Url = None, key: Key = None) -> None:
        """Let a model run, and bring it up now."""
        with told(), client(ModelClient, url, key) as service:
            _settle(service, service.start(name), screen, wait=wait, asleep=False)

    @models.command("stop")
    def stop(name: Name, url: Url = None, key: Key = None) -> None:
        """Let a model run no more; requests under way end as they would have."""
        with told(), client(ModelClient, url, key) as service:
            screen.good(f"{service.stop(name).id} is stopped.")

    @models.command("pull")
    def pull(name: Name, wait: Wait = True, url: Url = None, key: Key = None) -> None:
        """Fetch a model's weights now, on every node that could run it."""
        with told(), client(ModelClient, url, key) as service:
            model = service.pull(name)
            with screen.board() as board:
                while wait and model.pull is not None and model.pull["status"] == "running":
                    board.update(f"{model.id} weights", model.pull["detail"] or "fetching", model.pull["progress"])
                    time.sleep(POLL_S)
                    model = service.get(name)
                outcome = model.pull or {}
                if outcome.get("status") == "failed":
                    raise CliError(f"{model.id}: {outcome['detail']}")
                board.update(f"{model.id} weights", outcome.get("detail") or "", done=wait or None)


def _settle(service: ModelClient, model: ModelView, screen: Screen, *, wait: bool, asleep: bool = True) -> None:
    """Show how it comes up."""
    if not wait:
        screen.say(f"{model.id}: {_words(model)}")
        return
    rest = [status for status in AT_REST if asleep or status != "cold"]
    with screen.board() as board:
        while (model := service.get(model.id)).status not in rest:
            _show(board, model, done=None)
            time.sleep(POLL_S)
        _show(board, model, done=model.status != "failed")
    if model.status == "failed":
        raise CliError(f"{model.id} could not be started: {model.detail}")


def _show(board: Board, model: ModelView, *, done: bool | None) -> None:
    board.update(model.id, _words(model), model.progress, done=done)


def _words(model: ModelView) -> str:
    parts = [model.words]
    if model.status == "ready":
        parts = [f"ready, {model.replicas} replica{'s' if model.replicas != 1 else ''}"]
        parts += [model.detail] if model.detail else []
    parts += [f"{model.queued} waiting"] if model.queued else []
    if model.pull is not None and model.pull["status"] == "running":
        parts.append("fetching its weights")
    return ", ".join(parts)


def _new(before: Sequence[str], now: Sequence[str]) -> Sequence[str]:
    """What came after the end of ``before``."""
    for length in range(min(len(before), len(now)), 0, -1):
        if list(before[-length:]) == list(now[:length]):
            return now[length:]
    return now
