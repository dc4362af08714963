"""The models to measure with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from app.settings import ROOT
from deployments.weights import WeightsError, fetch

CONTEXT = 2048
QUEUE = 1024
MAKE_TINY = """
import sys
from pathlib import Path
from tests.support.tiny_model import make_tiny_model
make_tiny_model(Path(sys.argv[1]))
"""


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model as both servers get it.

    Attributes:
        spec: Its ``source`` is a local folder.
        max_tokens: Length of an answer that keeps a round at a few seconds.
        requests: Whole answers, over all callers, that do the same.
        spread_s: Seconds over which the starts of streams are spread, as those of real callers are; a crowd that comes
            at once measures the engine's queue.
    """

    spec: ModelSpec
    max_tokens: int
    requests: int = 320
    spread_s: float = 0.0


def tiny(folder: Path, streams: int, threads: int | None) -> BenchModel:
    """A random Llama of a megabyte: a real engine so fast that whatever stands before it shows.

    Raises:
        WeightsError: It cannot be made.
    """
    weights = folder / "tiny-llama"
    # In a process of its own: torch has no business in the one that measures.
    made = subprocess.run(
        [sys.executable, "-c", MAKE_TINY, str(weights)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise WeightsError(f"The tiny model could not be made: {made.stderr.strip()[-500:]}")
    spec = {
        "id": "tiny-llama",
        "source": str(weights),
        "engine_args": {"max_model_len": CONTEXT, "dtype": "float32", "enforce_eager": True},
        "resources": {
            "num_cpus": 0.5,
            "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
        },
    }
    return BenchModel(_spec(spec, streams, threads or 1), 256)


def smollm2(folder: Path, streams: int, threads: int | None) -> BenchModel:
    """The default chat model, as its file has it; its weights are fetched and converted if they are not here yet.

    Raises:
        ModelFileError: Its file is not right.
        WeightsError: Its weights cannot be had.
    """
    (default,) = load_models(str(ROOT / "configs" / "models" / "smollm2-135m-instruct.yaml"))
    assert default.source is not None
    weights = fetch(default.source, ROOT / ".manta" / "weights", _tell)
    return BenchModel(_spec(default.model_dump() | {"source": weights, "aliases": []}, streams, threads), 64, 32)


def paced(folder: Path, streams: int, threads: int | None) -> BenchModel:
    """The scripted engine at a hundred tokens a second and stream: what is not delivered is what stands before it."""
    spec: dict[str, Any] = {
        "id": "paced",
        "engine": "scripted",
        "engine_args": {"ttft_s": 0.02, "tokens_per_s": 100, "max_model_len": CONTEXT, "max_num_seqs": 1024},
        "resources": {"num_cpus": 0.5, "env": {}},
    }
    return BenchModel(_spec(spec, streams, threads), 300, 640, spread_s=1.0)


MODELS: dict[str, Callable[[Path, int, int | None], BenchModel]] = {"tiny": tiny, "smollm2": smollm2, "paced": paced}
"""By the name that ``--model`` takes: makes the model in a folder, for so many streams at once and so many threads."""


def _spec(fields: dict[str, Any], streams: int, threads: int | None) -> ModelSpec:
    resources: dict[str, Any] = fields["resources"]
    env: dict[str, str] = resources["env"]
    # Ray gives every worker process a thread for each whole core that it reserved; stated for both engines, so that
    # they are the same.
    count = str(threads or env.get("OMP_NUM_THREADS") or int(max(1, resources["num_cpus"])))
    resources = resources | {"env": env | {"OMP_NUM_THREADS": count}}
    limits = {"max_ongoing_requests": max(64, streams), "max_queued_requests": QUEUE}
    return ModelSpec.model_validate({**fields, "resources": resources, "limits": limits})


def _tell(phase: str, share: float | None, detail: str | None) -> None:
    if sys.stdout.isatty():
        print(f"\r{phase} {share or 0:4.0%} {detail or ''}\x1b[K", end="\n" if share == 1 else "", flush=True)
