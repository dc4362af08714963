"""In which order tests are dealt to processes that run them side by side: a pytest plugin."""

from __future__ import annotations

import pytest

LONG = (
    "tests/app/cli/test_serve.py",
    "tests/app/services/limits/test_exactness.py",
    "tests/app/services/usage/test_ledger.py",
    "tests/app/services/usage/test_reports.py",
    "tests/app/test_limits_of_several.py",
    "tests/app/test_replicas.py",
    "tests/browser/test_sign_in.py",
    "tests/deployments/prewarm/test_environment.py",
    "tests/deployments/prewarm/test_vllm_prewarmed.py",
    "tests/deployments/test_local.py",
    "tests/deployments/weights/test_resolve.py",
    "tests/scripts/",
)
"""Files that take long, with few tests: begun last, one of them would keep everybody waiting."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, where several processes run them; ``--no-loadscope-reorder`` leaves it at that."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))
