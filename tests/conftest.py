"""Fixtures for every test: see ``tests.support``."""

from __future__ import annotations

import logging
import os

import pytest

pytest_plugins = [
    "tests.support.loop",
    "tests.support.mongo",
    "tests.support.gateway",
    "tests.support.sign_in",
    "tests.support.live",
    "tests.support.side_by_side",
    "tests.support.no_skips",
]

OTHERS_WARNINGS = (
    # Ray Serve's own models, at import
    "ignore:Using extra keyword arguments on `Field`:pydantic.warnings.PydanticDeprecatedSince20",
    # Hypothesis, of whatever else draws a random number while it draws values: threads and tasks of a gateway beside it
    "ignore:Do not use the `random` module inside strategies:hypothesis.errors.HypothesisDeprecationWarning",
)
"""Warnings that we cannot mend; every other one is an error."""

LANES = SERVICE, ENGINES = "service", "engines"


def pytest_configure(config: pytest.Config) -> None:
    for line in OTHERS_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and order the tests of services and real engines, so that ``scripts/test`` can deal them in another way.

    All who ask for the one service share a lane, as do engines in the tests' own process; services of a file's own are
    a lane each. Of several lanes that of the one service is begun first, for it is the longest.
    """
    for item in items:
        if _shares_service(item):
            item.add_marker("live")
        if item.get_closest_marker("live") is not None:
            item.add_marker(pytest.mark.xdist_group(_lane(item)))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LANES.index(lane) if (lane := _lane(item)) in LANES else len(LANES))
    else:
        items.sort(key=_shares_service)


def _lane(item: pytest.Item) -> str:
    if _shares_service(item):
        return SERVICE
    return item.path.stem if item.path.parent.name == "e2e" else ENGINES


def _shares_service(item: pytest.Item) -> bool:
    return "live" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def own_logger() -> None:
    """Every test meets the service's logger fresh: engines of earlier tests configure logging too."""
    logging.disable(logging.NOTSET)
    logger = logging.getLogger("manta")
    logger.handlers.clear()
    logger.setLevel(logging.INFO)
    logger.disabled = False
    logger.propagate = True
