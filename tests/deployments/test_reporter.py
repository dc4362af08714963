from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from deployments import reporter as module
from deployments.reporter import Reporter
from deployments.states import PhaseReport
from tests.support.gateway import scripted

pytestmark = pytest.mark.usefixtures("clean_loop")

SPEC = scripted("m")


class Manager:
    """Stands for the manager's handle."""

    def __init__(self) -> None:
        self.heard: list[PhaseReport] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.report = SimpleNamespace(remote=self._report)

    async def _report(self, report: PhaseReport) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.heard.append(report)


@pytest.fixture
async def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    manager = Manager()

    def handle(name: str, app_name: str) -> Any:
        assert (name, app_name) == ("ModelManager", "gateway")
        return manager

    monkeypatch.setattr(module.serve, "get_deployment_handle", handle)
    return manager


def ready() -> PhaseReport:
    return PhaseReport(SPEC.id, SPEC.digest, "ready", max_model_len=10, start_s=1.0)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_phases_are_reported_without_waiting(manager: Manager):
    Reporter(SPEC, "gateway")("loading", 0.5, "half")
    assert manager.heard == []
    await settled()
    assert manager.heard == [PhaseReport("m", SPEC.digest, "loading", 0.5, "half")]


async def test_a_worker_thread_reports_its_steps_as_a_phase(manager: Manager):
    report = Reporter(SPEC, "gateway").threadsafe("fetching")
    await asyncio.to_thread(report, "download", 0.25, None)
    await asyncio.to_thread(report, "download", 0.5, "1 of 2 MB")
    await settled()
    assert [(heard.phase, heard.progress, heard.detail) for heard in manager.heard] == [
        ("fetching", 0.25, "download"),
        ("fetching", 0.5, "1 of 2 MB"),
    ]


async def test_the_last_word_comes_last(manager: Manager):
    reporter = Reporter(SPEC, "gateway")
    manager.open.clear()
    reporter("warming", None, None)
    last = asyncio.create_task(reporter.ready(ready()))
    await settled()
    manager.open.set()
    await last
    assert [heard.phase for heard in manager.heard] == ["warming", "ready"]


async def test_a_failure_is_reported_with_its_reason(manager: Manager):
    await Reporter(SPEC, "gateway").failed("no memory")
    assert manager.heard == [PhaseReport("m", SPEC.digest, "failed", detail="no memory")]


async def test_a_manager_that_does_not_answer_holds_no_start_up(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "FAREWELL_S", 0.05)
    manager.open.clear()
    reporter = Reporter(SPEC, "gateway")
    reporter("loading", None, None)
    await reporter.ready(ready())
    assert manager.heard == []
    assert "could not report ready of m" in caplog.text


async def test_a_manager_that_fails_fails_no_start(manager: Manager, caplog: pytest.LogCaptureFixture):
    manager.error = RuntimeError("gone")
    await Reporter(SPEC, "gateway").ready(ready())
    assert "could not report ready of m: gone" in caplog.text


async def test_without_a_manager_nothing_is_reported_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def missing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Serve is not running")

    monkeypatch.setattr(module.serve, "get_deployment_handle", missing)
    with caplog.at_level(logging.WARNING):
        reporter = Reporter(SPEC, "gateway")
    reporter("loading", None, None)
    await reporter.ready(ready())
    assert "Serve is not running" in caplog.text
