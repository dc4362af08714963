"""What was read while importing decides whom a process fits; a few variables have their say later all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deployments.prewarm.environment import Baseline, recorded_reads

LATE = """
import os, sys
import torch, torch._dynamo.config, torch._inductor.config, huggingface_hub.constants
from deployments.prewarm.environment import apply_late
apply_late({"OMP_NUM_THREADS": sys.argv[1], "HF_HUB_OFFLINE": "1", "TORCH_COMPILE_DISABLE": "1",
            "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1"})
first = (torch.get_num_threads(), torch._dynamo.config.disable, torch._inductor.config.cpp.dynamic_threads,
         huggingface_hub.constants.HF_HUB_OFFLINE)
apply_late({})
print(first, torch._dynamo.config.disable, torch._inductor.config.cpp.dynamic_threads,
      huggingface_hub.constants.is_offline_mode())
"""


def test_reads_are_recorded_and_looking_through_all_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "1")
    kind = type(os.environ)
    with recorded_reads() as read:
        os.environ.get("THERE")
        os.getenv("NOT_THERE")
        _ = "ASKED" in os.environ
        dict(os.environ)
    assert read == {"THERE", "NOT_THERE", "ASKED"}
    assert type(os.environ) is kind


def test_only_what_was_read_has_to_be_the_same() -> None:
    baseline = Baseline({"READ": "1", "UNREAD": "1"}, {"READ": "1", "UNREAD": "1"}, {"READ", "ABSENT"})
    assert baseline.misfit({"READ": "1", "UNREAD": "2", "OTHER": "3"}) is None
    assert baseline.misfit({"READ": "2"}) == "READ"
    assert baseline.misfit({}) == "READ"
    assert baseline.misfit({"READ": "1", "ABSENT": ""}) == "ABSENT"


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "OMP_PROC_BIND", "MALLOC_ARENA_MAX", "PYTHONHASHSEED", "TZ"])
def test_what_native_code_reads_counts_unseen(name: str) -> None:
    assert Baseline({}, {}, set()).misfit({name: "1"}) == name


def test_what_the_imports_set_is_set_in_those_that_are_born() -> None:
    baseline = Baseline({"A": "1", "GONE": "1"}, {"A": "1", "SET": "2"}, {"SET"})
    assert baseline.imported({"A": "1", "GONE": "1"}) == {"A": "1", "SET": "2"}
    assert baseline.misfit({"SET": "2"}) is None
    assert baseline.misfit({"SET": "3"}) == "SET"


def test_threads_that_are_no_number_do_not_fit() -> None:
    baseline = Baseline({}, {}, set())
    assert baseline.misfit({"OMP_NUM_THREADS": "2"}) is None
    assert baseline.misfit({"OMP_NUM_THREADS": "2,1"}) == "OMP_NUM_THREADS"


def test_a_library_to_load_first_fits_only_where_it_is_loaded() -> None:
    assert Baseline({}, {}, set()).misfit({"LD_PRELOAD": "/no/such/library.so"}) == "LD_PRELOAD"


def test_late_variables_have_the_say_that_they_have_at_import() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    done = subprocess.run([sys.executable, "-c", LATE, "1"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "(1, True, True, True) False False False", done.stderr
