"""``manta models`` against a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from app.cli.main import build_cli
from app.cli.model_client import ModelClient
from app.cli.models import _new  # pyright: ignore[reportPrivateUsage]
from app.domain.model_state import ModelState, PullState
from app.settings import Settings
from tests.support.gateway import CHAT, STANDARD_MODELS, GatewayFactory
from tests.support.model_admin import ChangingModels
from tests.support.ports import free_port

Manta = Callable[..., Awaitable[Result]]


@pytest.fixture
def models() -> ChangingModels:
    return ChangingModels(tuple(STANDARD_MODELS.values()))


@pytest_asyncio.fixture(loop_scope="session")
async def manta(
    models: ChangingModels, new_gateway: GatewayFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Manta]:
    """Runs ``manta models`` in a thread, with the first key of the state folder."""
    monkeypatch.setenv("MANTA_STATE_DIR", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    async with new_gateway(models=models) as running:
        (tmp_path / "home" / "api-key").write_text(running.key + "\n")

        async def run(*arguments: str) -> Result:
            command = ["models", *arguments, "--url", running.url]
            return await asyncio.to_thread(CliRunner().invoke, build_cli(), command)

        yield run


def model_file(folder: Path, text: str = "id: new\nengine: scripted\n") -> str:
    path = folder / "new.yaml"
    path.write_text(text)
    return str(path)


async def test_every_model_is_listed_with_what_it_does(manta: Manta, models: ChangingModels):
    models.states[CHAT] = ModelState("ready", replicas=2, queued=3, detail="a change is on its way: loading")
    result = await manta("list")
    assert result.exit_code == 0, result.output
    assert f"{CHAT}  ready, 2 replicas, a change is on its way: loading, 3 waiting" in result.output
    assert "broken-model   failed: its weights are not there" in result.output


async def test_a_model_is_added_stopped_started_and_removed(manta: Manta, models: ChangingModels, tmp_path: Path):
    added = await manta("add", model_file(tmp_path))
    assert (added.exit_code, "new: asleep" in added.output) == (0, True), added.output
    assert "new" in models.registry.wanted
    assert "new is stopped." in (await manta("stop", "new")).output
    assert "new: ready, 1 replica" in (await manta("start", "new")).output
    assert "new is removed." in (await manta("remove", "new")).output
    assert "new" not in models.registry.wanted


async def test_a_start_is_watched_until_it_ends(manta: Manta, models: ChangingModels, tmp_path: Path):
    models.states["new"] = ModelState("starting", "loading", 0.5, "weights")
    adding = asyncio.create_task(manta("add", model_file(tmp_path)))
    await asyncio.sleep(1)
    assert not adding.done()
    models.states["new"] = ModelState("failed", detail="no memory")
    result = await adding
    assert result.exit_code == 1
    assert "new: 50% loading: weights" in result.output
    assert "error: new could not be started: no memory" in result.output


async def test_nobody_has_to_wait_for_a_start(manta: Manta, models: ChangingModels, tmp_path: Path):
    models.states["new"] = ModelState("starting", "allocating")
    result = await manta("add", model_file(tmp_path), "--no-wait")
    assert (result.exit_code, result.output) == (0, "new: allocating\n")


async def test_fetching_weights_is_shown_to_its_end(manta: Manta):
    result = await manta("pull", CHAT)
    assert result.exit_code == 0, result.output
    assert f"{CHAT} weights: in place on 1 node" in result.output


async def test_weights_that_cannot_be_had_are_an_error(
    manta: Manta, models: ChangingModels, monkeypatch: pytest.MonkeyPatch
):
    async def pull(name: str) -> object:
        models.states[CHAT] = ModelState(pull=PullState("failed", detail="no such package"))
        return models.current().get(CHAT)

    monkeypatch.setattr(models, "pull", pull)
    result = await manta("pull", CHAT)
    assert (result.exit_code, f"error: {CHAT}: no such package" in result.output) == (1, True)


async def test_logs_are_shown(manta: Manta):
    assert (await manta("logs", CHAT, "--lines", "2")).output == "line 2\nline 3\n"


def test_of_a_log_that_is_followed_only_what_is_new_is_shown():
    assert _new([], ["a", "b"]) == ["a", "b"]
    assert _new(["a", "b"], ["a", "b"]) == []
    assert _new(["a", "b"], ["b", "c"]) == ["c"]
    assert _new(["a", "b"], ["x", "y"]) == ["x", "y"]


async def test_mistakes_in_a_file_are_told_by_line(manta: Manta, tmp_path: Path):
    result = await manta("add", model_file(tmp_path, "id: new\nengine: abacus\n"))
    assert result.exit_code == 2
    assert "new.yaml:2: engine" in result.output


@pytest.mark.parametrize("command", ["remove", "start", "stop", "pull", "logs"])
async def test_what_the_service_refuses_is_told_in_its_words(manta: Manta, command: str):
    result = await manta(command, "nobody")
    assert (result.exit_code, "error: The model 'nobody' does not exist." in result.output) == (1, True)


def test_a_service_that_is_not_there_is_said_to_be_so():
    result = CliRunner().invoke(build_cli(), ["models", "list", "--url", f"http://127.0.0.1:{free_port()}"])
    assert result.exit_code == 1
    assert "does not answer" in result.output
    assert "--url" in result.output


@pytest.mark.parametrize(
    ("url", "shown"), [("http://127.0.0.1:1", True), ("http://localhost:1/v1", True), ("http://elsewhere.test", False)]
)
def test_the_first_key_is_shown_to_this_machine_alone(url: str, shown: bool, tmp_path: Path):
    (tmp_path / "api-key").write_text("sk-first\n")
    client = ModelClient.of(url, None, Settings.load(state_dir=tmp_path))
    assert ("authorization" in client._client.headers) is shown  # pyright: ignore[reportPrivateUsage]
