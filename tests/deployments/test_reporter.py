from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.model_state import StartTimes
from app.domain.usage import Usage
from deployments import reporter as module
from deployments.reporter import Reporter
from deployments.reports import ActivityReport, LogPlace, Orphan, PhaseReport, Remains
from tests.support.gateway import scripted

pytestmark = pytest.mark.usefixtures("clean_loop")

SPEC = scripted("m")
PLACE = LogPlace("0a", "0b", ("/logs/worker.out",))
TIMES = StartTimes(load_s=1.0)


class Manager:
    """Stands for the manager's handle."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.report = SimpleNamespace(remote=self._report)
        self.orphans = SimpleNamespace(remote=self._report)
        self.remains = SimpleNamespace(remote=self._keep)
        self.keeps = True

    async def _keep(self, slate: str, remains: list[Remains]) -> bool:
        self.heard.append((slate, remains))
        return self.keeps

    async def _report(self, report: PhaseReport | ActivityReport) -> None:
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


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_phases_are_reported_without_waiting(manager: Manager):
    Reporter(SPEC, "gateway", PLACE)("loading", 0.5, "half")
    assert manager.heard == []
    await settled()
    (heard,) = manager.heard
    assert (heard.model, heard.digest, heard.phase) == ("m", SPEC.digest, "loading")
    assert (heard.progress, heard.detail, heard.place) == (0.5, "half", PLACE)
    assert heard.age_s > 0


async def test_a_worker_thread_reports_its_steps_as_a_phase(manager: Manager):
    report = Reporter(SPEC, "gateway", PLACE).threadsafe("fetching")
    await asyncio.to_thread(report, "download", 0.25, None)
    await asyncio.to_thread(report, "download", 0.5, "1 of 2 MB")
    await settled()
    assert [(heard.phase, heard.progress, heard.detail) for heard in manager.heard] == [
        ("fetching", 0.25, "download"),
        ("fetching", 0.5, "1 of 2 MB"),
    ]


async def test_the_last_word_comes_last(manager: Manager):
    reporter = Reporter(SPEC, "gateway", PLACE)
    manager.open.clear()
    reporter("warming", None, None)
    last = asyncio.create_task(reporter.ready(10, TIMES))
    await settled()
    manager.open.set()
    await last
    assert [heard.phase for heard in manager.heard] == ["warming", "ready"]


async def test_a_failure_is_reported_with_its_reason(manager: Manager):
    await Reporter(SPEC, "gateway", PLACE).failed("no memory")
    assert [(heard.phase, heard.detail) for heard in manager.heard] == [("failed", "no memory")]


async def test_a_manager_that_does_not_answer_holds_no_start_up(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "FAREWELL_S", 0.05)
    manager.open.clear()
    reporter = Reporter(SPEC, "gateway", PLACE)
    reporter("loading", None, None)
    await reporter.ready(10, TIMES)
    assert manager.heard == []
    assert "the model manager did not hear of m" in caplog.text


async def test_a_manager_that_fails_fails_no_start(manager: Manager, caplog: pytest.LogCaptureFixture):
    manager.error = RuntimeError("gone")
    await Reporter(SPEC, "gateway", PLACE).ready(10, TIMES)
    assert "the model manager did not hear of m: gone" in caplog.text


async def test_without_a_manager_nothing_is_reported_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def missing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Serve is not running")

    monkeypatch.setattr(module.serve, "get_deployment_handle", missing)
    with caplog.at_level(logging.WARNING):
        reporter = Reporter(SPEC, "gateway", PLACE)
    reporter("loading", None, None)
    await reporter.ready(10, TIMES)
    assert "Serve is not running" in caplog.text


async def test_what_a_replica_has_to_do_is_reported_with_its_place(manager: Manager):
    await Reporter(SPEC, "gateway", PLACE).activity(2.5)
    assert manager.heard == [ActivityReport("m", SPEC.digest, "0a", "0b", 2.5)]


async def test_orphans_are_handed_over_and_a_failure_is_the_senders_to_mend(manager: Manager):
    orphans = [Orphan(b"account", Usage(1, 2), 3)]
    reporter = Reporter(SPEC, "gateway", PLACE)
    manager.error = RuntimeError("not now")
    with pytest.raises(RuntimeError, match="not now"):
        await reporter.orphans(orphans)
    manager.error = None
    await reporter.orphans(orphans)
    assert manager.heard == [orphans]


async def test_what_gateways_were_told_goes_where_slates_go_and_counts_once_it_is_kept(manager: Manager):
    reporter = Reporter(SPEC, "gateway", PLACE)
    ended = [Orphan(b"account", Usage(7, 5), 1)]
    await reporter.told("slate", ended)
    manager.keeps = False
    with pytest.raises(RuntimeError, match="not kept"):
        await reporter.told("slate", ended)
    assert manager.heard == 2 * [("slate", [Remains(b"account", Usage(7, 5))])]
