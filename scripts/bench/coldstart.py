"""Cold starts: three models of a node, one after the other, with pre-warmed processes and without.

Each is asked for one token while it has no replica. When that began and ended is this program's own clock; the phases
between come from the replica's process (its birth) and from vLLM's log, whose lines have a resolution of a second.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
import psutil
import yaml

from app.domain.model_spec import ModelSpec
from app.settings import ROOT
from scripts.bench.machine import machine, versions
from scripts.bench.memory import footprints
from scripts.bench.models import MODELS
from scripts.bench.processes import command_of
from scripts.bench.servers import HOST, BenchError, MantaServer

ARMS = {"plain": "off", "pre-warmed": "auto"}
COUNT = 3
START_S = 240.0
IMPORT_S = 60.0
PHASES = (
    # what ends with the line that holds this
    ("imports, configuration", r"Initializing a V1 LLM engine"),
    ("worker", r"Starting to load model"),
    ("weights", r"Loading weights took|Explicitly set"),
    ("KV cache, warm-up", r"init engine .* took"),
)
ENGINE = ("load_s", "warm_s")
REPLICA = ("process_s", "fetch_s", *ENGINE)
OUTSIDE = {"all of it but the engine's start": ENGINE, "all of it but the replica's start": REPLICA}
"""What is not in the service's own account of a start: these parts of it left out."""

STAMP = re.compile(r"(?:INFO|WARNING) (\d\d-\d\d \d\d:\d\d:\d\d) ")


@dataclass(frozen=True, slots=True)
class Start:
    """One start, in seconds: until the first token, and by phase."""

    total: float
    phases: dict[str, float]


class ColdServer(MantaServer):
    """Manta with several models that sleep."""

    def __init__(self, specs: list[ModelSpec], folder: Path, log: Path, prewarm: str) -> None:
        super().__init__(specs[0], folder, log)
        self.specs = specs
        self._prewarm = prewarm

    def environment(self) -> dict[str, str]:
        models = self._folder / "models"
        models.mkdir(exist_ok=True)
        for spec in self.specs:
            (models / f"{spec.id}.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
        return super().environment() | {"MANTA_MODELS": str(models), "MANTA_PREWARM": self._prewarm}

    def waits_for(self) -> str | None:
        answer = self._get(f"/v1/models/{self._spec.id}")
        if answer is None or answer.status_code != 200 or not self.headers:
            return "starting Ray and the gateway"
        return None if answer.json()["status"] == "cold" else f"the model is {answer.json()['status']}"

    def wait_for_imports(self) -> None:
        """Return when the node's server has imported: a service that has run for a moment is what is measured."""
        deadline = time.monotonic() + IMPORT_S
        while self._prewarm == "auto" and not self._imported():
            if time.monotonic() > deadline:
                raise BenchError(f"no pre-warmed server after {IMPORT_S:.0f} s")
            time.sleep(0.5)

    def start_model(self, spec: ModelSpec) -> Start:
        """Ask a sleeping model for a token."""
        known = {process.pid for process in self.processes()}
        began = time.time()
        body = {"model": spec.id, "prompt": "a", "max_tokens": 1}
        url = f"http://{HOST}:{self.port}/v1/completions"
        answer = httpx.post(url, json=body, headers=self.headers, timeout=START_S, trust_env=False)
        ended = time.time()
        if answer.status_code != 200:
            raise BenchError(f"{spec.id} is answered {answer.status_code}: {answer.text}")
        phases = self._phases(spec, known, began, ended)
        last = self._last_start(spec)
        phases |= {name: ended - began - sum(last[part] for part in parts) for name, parts in OUTSIDE.items()}
        return Start(ended - began, phases)

    def _last_start(self, spec: ModelSpec) -> dict[str, float]:
        """What the parts of the start took, by the service's account of it."""
        answer = self._get(f"/v1/models/{spec.id}")
        last = answer.json()["last_start"] if answer is not None else None
        if not last:
            raise BenchError(f"the service does not say what the start of {spec.id} took")
        return last

    def _phases(self, spec: ModelSpec, known: set[int], began: float, ended: float) -> dict[str, float]:
        found: dict[str, float] = {}
        born = [each for each in self.processes() if each.pid not in known and f"model-{spec.id}@" in command_of(each)]
        last = began
        if born:
            found["allocate, process"] = (last := max(began, born[0].create_time())) - began
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if f"model-{spec.id}@" in line]
        for name, pattern in PHASES:
            stamps = [STAMP.search(line) for line in lines if re.search(pattern, line)]
            if moments := [_moment(stamp[1]) for stamp in stamps if stamp]:
                found[name] = max(0.0, max(moments) - last)
                last = max(last, *moments)
        found["first answer"] = ended - last
        return found

    def _imported(self) -> bool:
        return any("imported in" in line for path in self._logs() for line in path.read_text().splitlines())

    def _logs(self) -> list[Path]:
        hosts = [each for each in self.processes() if "prewarm/host.py" in command_of(each)]
        sessions = {
            Path(argument.partition("=")[2]).parent.parent
            for each in hosts
            for argument in each.cmdline()
            if argument.startswith("--object-store-name=")
        }
        return [path for session in sessions for path in (session / "logs").glob("manta-prewarm-*.log")]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="scripts/bench/coldstart", description=__doc__)
    parser.add_argument("--model", choices=("tiny", "smollm2"), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / ".manta" / "bench" / "coldstart.md")
    options = parser.parse_args()
    starts: dict[str, list[list[Start]]] = {arm: [] for arm in ARMS}
    memory: dict[str, list[tuple[int, int]]] = {arm: [] for arm in ARMS}
    facts = {**machine(), **versions()}
    with tempfile.TemporaryDirectory(prefix="coldstart-") as name:
        folder = Path(name)
        model = MODELS[options.model](folder, 8, 2).spec
        for turn in range(options.rounds):
            for arm, prewarm in ARMS.items():
                one, held = _measure(_sleeping(model), folder / f"{arm}-{turn}", prewarm)
                starts[arm].append(one)
                memory[arm].append(held)
                print(arm, " ".join(f"{start.total:.1f}" for start in one), flush=True)
    report = "\n".join([*_facts(facts), "", *_table(starts), "", *_memory(memory)])
    print(report)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(report + "\n")


def _sleeping(model: ModelSpec) -> list[ModelSpec]:
    scaling = {"min_replicas": 0, "max_replicas": 1}
    fields = model.model_dump() | {"autoscaling": scaling, "aliases": []}
    return [ModelSpec.model_validate(fields | {"id": f"{model.id}-{index + 1}"}) for index in range(COUNT)]


def _measure(specs: list[ModelSpec], folder: Path, prewarm: str) -> tuple[list[Start], tuple[int, int]]:
    folder.mkdir(parents=True)
    server = ColdServer(specs, folder, folder / "log", prewarm)
    try:
        server.start(START_S, lambda text: print(text, flush=True))
        server.wait_for_imports()
        found = [server.start_model(spec) for spec in specs]
        held = footprints(server.processes())
        return found, (sum(each.rss for each in held), sum(each.pss or 0 for each in held))
    finally:
        server.stop()


def _moment(stamp: str) -> float:
    # vLLM leaves out the year.
    year = datetime.now().astimezone().year
    return datetime.strptime(f"{year}-{stamp}", "%Y-%m-%d %H:%M:%S").astimezone().timestamp()


def _facts(facts: dict[str, str]) -> list[str]:
    return [f"- {name}: {value}" for name, value in facts.items()]


def _table(starts: dict[str, list[list[Start]]]) -> list[str]:
    lines = ["| seconds, median | " + " | ".join([*ARMS, "ratio"]) + " |", "|---" * (len(ARMS) + 2) + "|"]
    for index in range(COUNT):
        medians = [statistics.median(turn[index].total for turn in starts[arm]) for arm in ARMS]
        lines.append(_line(f"model {index + 1}, to the first token", medians))
    for phase in ("allocate, process", *(name for name, _ in PHASES), "first answer", *OUTSIDE):
        seen = [[one.phases[phase] for turn in starts[arm] for one in turn if phase in one.phases] for arm in ARMS]
        if all(seen):
            lines.append(_line(phase, [statistics.median(each) for each in seen]))
    return lines


def _memory(memory: dict[str, list[tuple[int, int]]]) -> list[str]:
    lines = [f"| GiB, all processes, {COUNT} models up | " + " | ".join([*ARMS, "ratio"]) + " |", "|---" * 4 + "|"]
    for index, name in enumerate(("resident", "proportional (PSS)")):
        lines.append(_line(name, [statistics.median(each[index] for each in memory[arm]) / 1024**3 for arm in ARMS]))
    return lines


def _line(name: str, values: list[float]) -> str:
    plain, warm = values
    return f"| {name} | {plain:.2f} | {warm:.2f} | {warm / plain if plain else 0:.2f} |"


if __name__ == "__main__":
    psutil.cpu_percent()
    main()
