"""Simulate autoscaling policies in virtual time: replicas, queues and arrivals made up, the policies the real ones."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

from ray.serve.config import AutoscalingConfig

from app.domain.model_spec import Autoscaling, ModelSpec
from app.settings import ROOT
from deployments.autoscaling import autoscaling_config
from deployments.autoscaling.config import LOOK_BACK_S, METRICS_INTERVAL_S
from scripts.bench import tables
from scripts.bench.arrivals import EPISODE_S, SCENARIOS
from scripts.bench.control import Controller, virtual_time
from scripts.bench.fleet import Clock, Fleet, Hardware, Job
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.stats import Spread, percentile

FIRST_TOKEN_S = 5.0
PER_TOKEN_S = 0.1
"""A request is good if its first token comes by then, and its others at this pace or faster."""

SETTLE_S = 600.0
"""After the last arrival: what has not ended by then is late anyway."""

SCALING = Autoscaling(
    min_replicas=0,
    max_replicas=8,
    target_ongoing_requests=16,
    upscale_delay_s=10,
    downscale_delay_s=60,
    downscale_to_zero_delay_s=120,
)
HARDWARE = Hardware()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One episode.

    Attributes:
        good_per_1000: Good requests for each thousand replica-seconds.
        late: Share of requests over the target.
        wait_p50: Seconds to the first token.
        wait_p99: The same, of the slowest hundredth.
        replica_s: Replica-seconds.
        changes: How often the number of replicas was changed.
    """

    good_per_1000: float
    late: float
    wait_p50: float
    wait_p99: float
    replica_s: float
    changes: float


def serve_config(scaling: Autoscaling, **more: float) -> AutoscalingConfig:
    """Serve's own policy with the settings of the model's file."""
    fields = ("min_replicas", "max_replicas", "target_ongoing_requests")
    delays = ("upscale_delay_s", "downscale_delay_s", "downscale_to_zero_delay_s")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(**({name: getattr(scaling, name) for name in (*fields, *delays)} | more))


def _manta(scaling: Autoscaling) -> AutoscalingConfig:
    return autoscaling_config(ModelSpec(id="model", engine="scripted", autoscaling=scaling))


FRESH = {"metrics_interval_s": METRICS_INTERVAL_S, "look_back_period_s": LOOK_BACK_S}
ARMS: dict[str, Callable[[], AutoscalingConfig]] = {
    "Serve": lambda: serve_config(SCALING),
    "Serve, fresh": lambda: serve_config(SCALING, **FRESH),
    "Serve, fresh and quick": lambda: serve_config(SCALING, **FRESH, upscale_delay_s=SCALING.burst_window_s),
    "Manta": lambda: _manta(SCALING),
}
ABOUT = f"""\
Good: first token within {FIRST_TOKEN_S:g} s, the others at {PER_TOKEN_S * 1000:g} ms each or faster. Replica-seconds
count from the decision to start one to its end. Medians over seeds (in brackets, the lowest and the highest). *Serve*:
its default policy with the delays of the model's file, its own look-back (30 s) and metrics interval (10 s). *Fresh*:
with Manta's ({LOOK_BACK_S:g} s, {METRICS_INTERVAL_S:g} s). *Quick*: and with Manta's burst window for its upscale
delay."""


def episode(scenario: str, arm: str, seed: int) -> Outcome:
    """Run one."""
    jobs = SCENARIOS[scenario](Random(f"{scenario} {seed}"))
    clock = Clock()
    fleet = Fleet(clock, HARDWARE, Random(seed))
    with virtual_time(clock):
        controller = Controller(clock, fleet, ARMS[arm]())
        for job in jobs:
            clock.at(job.at, partial(_arrive, fleet, controller, job))
        clock.run(EPISODE_S + SETTLE_S)
    return _outcome(jobs, fleet)


def _arrive(fleet: Fleet, controller: Controller, job: Job) -> None:
    fleet.arrive(job)
    controller.queued()


def _outcome(jobs: Sequence[Job], fleet: Fleet) -> Outcome:
    waits = [(job.first - job.at) if job.first is not None else EPISODE_S for job in jobs]
    good = sum(1 for job in jobs if _good(job))
    spent = fleet.replica_seconds()
    return Outcome(
        good_per_1000=1000 * good / spent if spent else 0.0,
        late=1 - good / len(jobs),
        wait_p50=percentile(waits, 0.5),
        wait_p99=percentile(waits, 0.99),
        replica_s=spent,
        changes=fleet.changes,
    )


def _good(job: Job) -> bool:
    if job.first is None or job.end is None or job.first - job.at > FIRST_TOKEN_S:
        return False
    return (job.end - job.first) / job.output <= PER_TOKEN_S


COLUMNS = (
    ("good_per_1000", "good per 1000 replica-s", 1, 1.0),
    ("late", "% over the target", 1, 100.0),
    ("wait_p50", "first token p50 s", 2, 1.0),
    ("wait_p99", "p99 s", 1, 1.0),
    ("replica_s", "replica-s", 0, 1.0),
    ("changes", "changes", 0, 1.0),
)


def main() -> int:
    """Run all, print the table, write it with what it was made from."""
    options = _options()
    runs = [(name, arm, seed) for name in options.scenarios for arm in ARMS for seed in options.seeds]
    with ProcessPoolExecutor(options.workers) as pool:
        outcomes = list(pool.map(_run, runs))
    found: dict[tuple[str, str], list[Outcome]] = {}
    for (name, arm, _), outcome in zip(runs, outcomes, strict=True):
        found.setdefault((name, arm), []).append(outcome)
    head = ["arrivals", "policy", *[heading for _, heading, _, _ in COLUMNS]]
    rows = [[name, arm, *_cells(of)] for (name, arm), of in found.items()]
    setting = {
        "command": shlex.join(["scripts/bench/autoscaling", *sys.argv[1:]]),
        "seeds": ", ".join(map(str, options.seeds)),
        "scaling": ", ".join(f"{name} {value:g}" for name, value in SCALING.model_dump().items()),
        "a replica": ", ".join(f"{name} {value:g}" for name, value in asdict(HARDWARE).items()),
    }
    table = tables.table(head, rows)
    text = "\n\n".join(["# Autoscaling, simulated", tables.pairs({**setting, **machine(), **versions()}), table, ABOUT])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text + "\n", encoding="utf-8")
    record = {" / ".join(key): [asdict(each) for each in of] for key, of in found.items()}
    options.output.with_suffix(".json").write_text(json.dumps({**setting, "outcomes": record}, indent=1) + "\n")
    print(table, ABOUT, sep="\n\n")
    return 0


def _run(run: tuple[str, str, int]) -> Outcome:
    return episode(*run)


def _cells(outcomes: Sequence[Outcome]) -> list[str]:
    cells: list[str] = []
    for name, _, digits, scale in COLUMNS:
        spread = Spread.of([getattr(each, name) * scale for each in outcomes])
        cells.append(f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})")
    return cells


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/autoscaling", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=_seeds, default=list(range(201, 208)), help="split by commas; default: 201 to 207")
    add("--scenarios", type=_scenarios, default=list(SCENARIOS), help=f"of {', '.join(SCENARIOS)}, split by commas")
    add("--workers", type=count, default=2, help="processes")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "autoscaling.md")
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]


def _scenarios(text: str) -> list[str]:
    chosen = text.split(",")
    if wrong := [name for name in chosen if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(SCENARIOS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
