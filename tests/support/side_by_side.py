"""How tests are dealt to processes that run them side by side: a pytest plugin.

Files stay whole, so that what a file starts is started once. With ``--dist loadgroup`` the files that share something
stay together too: the running service, or an engine.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/contract/", "tests/deployments/engines/")
"""Folders whose live tests share an engine."""

ALONE = (
    "tests/e2e/test_cluster.py",
    "tests/e2e/test_faults.py",
    "tests/e2e/test_ledger.py",
    "tests/e2e/test_models_at_run_time.py",
    "tests/e2e/test_scaling.py",
    "tests/e2e/test_two_nodes.py",
)
"""Files that start a service of their own."""

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


class OneStart(LoadFileScheduling):
    """Deals files, and those that share something as if they were one; all that is not named here, the service."""

    def _split_scope(self, nodeid: str) -> str:
        named = [each for each in (*TOGETHER, *ALONE) if nodeid.startswith(each)]
        return named[0] if named else "the running service"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Ours, where it is asked for."""
    return OneStart(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, where several processes run them; ``--no-loadscope-reorder`` leaves it at that."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))
