"""Fixtures for every test: see ``tests.support``."""

from __future__ import annotations

import logging

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


def pytest_configure(config: pytest.Config) -> None:
    for line in OTHERS_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the whole service come last: its engines look like theirs.

    Whoever asks for the service is marked ``live``, so that ``scripts/test`` can deal them in another way.
    """
    for item in items:
        if "live" in getattr(item, "fixturenames", ()):
            item.add_marker("live")
    items.sort(key=lambda item: "live" in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def own_logger() -> None:
    """Every test meets the service's logger fresh: engines of earlier tests configure logging too."""
    logging.disable(logging.NOTSET)
    logger = logging.getLogger("manta")
    logger.handlers.clear()
    logger.setLevel(logging.INFO)
    logger.disabled = False
    logger.propagate = True
