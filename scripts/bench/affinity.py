"""Routing by what replicas have read, beside the less loaded of two and one after the other.

One Manta serves the same scripted model three times, each with several replicas and another routing; the engine reads
prompts at a set rate and keeps so many blocks of them. The loads take turns: questions behind common system prompts,
conversations, prompts with nothing in common. Writes what part of the prompts the engines had read before, the time to
the first token, the requests of the busiest replica over the mean, and requests/s to .manta/bench/affinity.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from app.domain.model_spec import ModelSpec
from app.settings import ROOT
from deployments.affinity import NO_PREFIX, PrefixAffinity, prefix_of
from scripts.bench import tables
from scripts.bench.client import Job
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.outputs import place, publish
from scripts.bench.replicas import Replicas
from scripts.bench.servers import HOST, MantaServer
from scripts.bench.session import Session, interruptible
from scripts.bench.shared_prefix import ANSWER_TOKENS, CALLERS, LOADS, REQUESTS
from scripts.bench.stats import Spread, percentile
from scripts.bench.workload import CHAT, Load

ROUTINGS = ("prefix_affinity", "power_of_two", "round_robin")
ENGINE: dict[str, Any] = {
    "tokens_per_s": 200,
    "prefill_tokens_per_s": 8000,
    # A quarter of the system prompts: what one replica alone cannot keep, four can.
    "kv_blocks": 1024,
    "block_tokens": 16,
}
TIMEOUT_S = 300.0
MS = 1e3
TIMES = 2000


class RoutedServer(MantaServer):
    """Manta with the same model once for each routing."""

    def __init__(self, specs: Sequence[ModelSpec], folder: Path, log: Path) -> None:
        super().__init__(specs[0], folder, log)
        self.specs = specs

    @property
    def ray_address(self) -> str:
        """The cluster's."""
        return (self._state / "ray-address").read_text()

    def waits_for(self) -> str | None:
        """What keeps it from answering, or None."""
        if (reason := super().waits_for()) is not None:
            return reason
        for spec in self.specs:
            answer = self._get(f"/v1/models/{spec.id}")
            model: dict[str, Any] = {} if answer is None else json.loads(answer.content)
            if model.get("replicas", 0) < spec.autoscaling.min_replicas:
                return f"{spec.id} has {model.get('replicas')} replicas"
        return None

    def _model_file(self) -> Path:
        models = self._folder / "models"
        models.mkdir(exist_ok=True)
        for spec in self.specs:
            (models / f"{spec.id}.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
        return models


@dataclass(frozen=True, slots=True)
class Found:
    """What one routing came to under one load in one round."""

    routing: str
    load: str
    values: dict[str, float]
    errors: list[str]


COLUMNS = {
    "hit": ("hit rate, %", 1),
    "ttft_p50": ("TTFT p50, ms", 0),
    "ttft_p99": ("TTFT p99, ms", 0),
    "balance": ("max/mean load", 2),
    "rate": ("requests/s", 1),
}


def main() -> int:
    """Run the benchmark; 0 if no request failed."""
    chosen = _options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    path = place(chosen.output)
    specs = [_spec(routing, chosen.replicas) for routing in ROUTINGS]
    found: list[Found] = []
    with Session(chosen.start_timeout) as session, ExitStack() as stack:
        server = RoutedServer(specs, session.folder / "manta", path.with_suffix(".log"))
        session.start(server)
        replicas = {spec.routing: stack.enter_context(Replicas(server.ray_address, spec)) for spec in specs}
        for spec in specs:
            session.drive(server, _load(server, "system prompts, equal", spec.id, "warm-up"))
        for number in range(chosen.rounds):
            for load in LOADS:
                for spec in specs if number % 2 == 0 else specs[::-1]:
                    asked = _load(server, load, spec.id, f"round {number}")
                    found.append(Found(spec.routing, load, *_measure(session, server, asked, replicas[spec.routing])))
                    session.say(f"{load}, {spec.routing}: {_told(found[-1].values)}")
    errors = [f"{each.load}, {each.routing}: {error}" for each in found for error in each.errors]
    publish(path, _markdown(chosen, about, found, errors))
    return 1 if errors else 0


def _measure(
    session: Session, server: RoutedServer, asked: Load, replicas: Replicas
) -> tuple[dict[str, float], list[str]]:
    before = replicas.generated()
    result = session.drive(server, asked)
    served = [after - earlier for earlier, after in zip(before, replicas.generated(), strict=True)]
    good = [each for each in result.requests if each.error is None]
    waits = [each.first - each.sent for each in good]
    values = {
        "hit": 100 * sum(each.cached for each in good) / sum(each.prompt for each in good),
        "ttft_p50": percentile(waits, 0.5) * MS,
        "ttft_p99": percentile(waits, 0.99) * MS,
        "balance": max(served) * len(served) / sum(served),
        "rate": len(good) / result.seconds,
    }
    return values, result.errors


def _load(server: RoutedServer, load: str, model: str, seed: str) -> Load:
    turns = LOADS[load](model, f"{model} {load} {seed}")
    job = Job(HOST, server.port, CHAT, server.headers, [], 0, ANSWER_TOKENS, TIMEOUT_S, turns=turns)
    return Load("streams", len(turns), job)


def _spec(routing: str, replicas: int) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "id": routing,
            "engine": "scripted",
            "engine_args": ENGINE,
            "autoscaling": {"min_replicas": replicas, "max_replicas": replicas},
            "resources": {"num_cpus": 0.1},
            "routing": routing,
        }
    )


def costs() -> list[tuple[str, str]]:
    """Microseconds of the gateway's work on a request, by the length of its body."""
    rows: list[tuple[str, str]] = []
    for kib in (1, 4, 16, 64, 256):
        bodies = [b"%06d" % number + b"x" * (kib * 1024 - 6) for number in range(16)]
        routing = PrefixAffinity()
        busy = {f"replica {number}": number % 2 for number in range(4)}
        began = time.perf_counter()
        prefixes = [prefix_of(bodies[number % 16]) for number in range(TIMES)]
        read = time.perf_counter()
        for prefix in prefixes:
            routing.placed(prefix, routing.choose(prefix, busy))
        chosen = time.perf_counter()
        rows.append(
            (f"{kib} KiB", f"{(read - began) / TIMES * 1e6:.1f} to hash, {(chosen - read) / TIMES * 1e6:.1f} to choose")
        )
    began = time.perf_counter()
    for _ in range(TIMES):
        routing.placed(NO_PREFIX, routing.choose(NO_PREFIX, busy))
    return [*rows, ("no prompt", f"{(time.perf_counter() - began) / TIMES * 1e6:.1f} to choose")]


def _markdown(chosen: argparse.Namespace, about: dict[str, str], found: list[Found], errors: list[str]) -> str:
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/affinity", *sys.argv[1:]]),
        "replicas of each model": str(chosen.replicas),
        "engine": json.dumps(ENGINE),
        "callers, requests of each": f"{CALLERS}, {REQUESTS}",
        "rounds": str(chosen.rounds),
    }
    head = ["load", "routing", *[heading for heading, _ in COLUMNS.values()]]
    lines: list[list[str]] = []
    for load in LOADS:
        for routing in ROUTINGS:
            here = [each.values for each in found if (each.load, each.routing) == (load, routing)]
            lines.append([load, routing, *[_cell([values[name] for values in here], name) for name in COLUMNS]])
    parts = [
        "# Routing among replicas",
        tables.pairs({**setting, **about, **versions()}),
        "Medians of the rounds, and their range.",
        tables.table(head, lines),
        "## Processor time of choosing, us",
        tables.pairs(dict(costs())),
    ]
    return "\n\n".join([*parts, *([f"{len(errors)} requests failed: {errors[0]}"] if errors else [])])


def _cell(rounds: list[float], name: str) -> str:
    spread, digits = Spread.of(rounds), COLUMNS[name][1]
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


def _told(values: dict[str, float]) -> str:
    return ", ".join(f"{COLUMNS[name][0]} {value:.{COLUMNS[name][1]}f}" for name, value in values.items())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/affinity", description=__doc__)
    add = parser.add_argument
    add("--replicas", type=count, default=4, help="of each of the three models")
    add("--rounds", type=count, default=3)
    add("--start-timeout", type=float, default=300.0, help="seconds it may take to start")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "affinity.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
