"""A pytest plugin: with ``CI=true`` a skipped test fails the run, and is named.

A machine that builds has everything that the tests need; a skip there means that something was not tested.
"""

from __future__ import annotations

import os

import pytest

SKIPPED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start with nothing skipped."""
    config.stash[SKIPPED] = []
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(NoSkips(config.stash[SKIPPED]), "no-skips")


class NoSkips:
    """Collects skips, and turns the run's outcome."""

    def __init__(self, skipped: list[str]) -> None:
        self._skipped = skipped

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that was skipped; one that failed as expected was not."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.append(f"{report.nodeid}: {_reason(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that was skipped as a whole."""
        if report.skipped:
            self._skipped.append(f"{report.nodeid}: {_reason(report)}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run."""
        if self._skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name them."""
        if self._skipped:
            terminalreporter.section("skipped, which CI=true forbids", red=True, bold=True)
            for line in self._skipped:
                terminalreporter.line(line)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
