"""Whether usage is what the engine gave out, while everything around it fails.

One Manta with two gateways serves a scripted model of two replicas that keeps books of its own of what leaves it. Many
callers ask for answers of all lengths, whole and streamed, and a part of them leaves before the end; meanwhile replicas
and gateways are killed (-9), also both at once, and the database stands still for a while. In the end every request
that an engine began has to have exactly one event, and the events' tokens have to be those in the books. Writes what
was found to .manta/bench/ledger.md; ends with 1 if that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import yaml

from app.domain.model_spec import ModelSpec
from app.settings import ROOT
from scripts.bench import tables
from scripts.bench.audit import Audit, Ledger
from scripts.bench.faults import DATABASE, REPLICA, Fault, Faults, spread
from scripts.bench.machine import machine, versions
from scripts.bench.memory import Footprint, footprints
from scripts.bench.options import count
from scripts.bench.outputs import place, publish
from scripts.bench.passers_by import ask_all, questions
from scripts.bench.processes import GATEWAY
from scripts.bench.servers import HOST
from scripts.bench.session import Session, interruptible
from scripts.bench.tenants import SharedServer

MODEL = "counted"
REPLICAS = GATEWAYS = 2
ENGINE: dict[str, Any] = {"ttft_s": 0.03, "tokens_per_s": 60}
GRACE_S = 20.0
SLOTS = 1000
FREE_S = 30.0
POLL_S = 0.5
SHOWN = 5
MIB = 1024**2
LIMITS = {"user": [{"concurrent_requests": SLOTS}], "api_key": [], "guest": [], "anonymous": []}


class LedgerServer(SharedServer):
    """Manta with several gateways, and somebody whose requests under way are counted."""

    def __init__(self, counted: ModelSpec, folder: Path, log: Path, data_path: str) -> None:
        super().__init__([counted], folder, log)
        self.data_path = data_path

    @property
    def state_dir(self) -> Path:
        """Its state folder."""
        return self._state

    def environment(self) -> dict[str, str]:
        limits = self._folder / "limits.yaml"
        limits.write_text(yaml.safe_dump(LIMITS))
        return {
            **super().environment(),
            "MANTA_GATEWAY_REPLICAS": str(GATEWAYS),
            "MANTA_LIMITS": str(limits),
            "MANTA_USAGE_GRACE_S": str(GRACE_S),
        }

    def limited(self) -> dict[str, str]:
        """What somebody new has to send, whom limits hold."""
        user = self._ask("POST", "users", {"name": "passer-by"})["id"]
        return {"authorization": f"Bearer {self._ask('POST', 'api-keys', {'owner': user, 'name': 'key'})['key']}"}


@dataclass(frozen=True, slots=True)
class Run:
    """What was done, and what came of it."""

    ends: Counter[str]
    done: Counter[str]
    load_s: float
    settle_s: float
    slots_s: float | None
    before: Sequence[Footprint]
    after: Sequence[Footprint]


def main() -> int:
    """Run the check; 0 if usage is exact."""
    chosen = _options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    path = place(chosen.output)
    with Session(chosen.start_timeout) as session:
        books = session.folder / "books"
        server = LedgerServer(spec(books), session.folder / "manta", path.with_suffix(".log"), chosen.data_path)
        session.start(server)
        run, found = _checked(session, server, Ledger(server.state_dir, books), chosen)
    publish(path, _markdown(chosen, about, run, found))
    return 1 if found.faults or run.slots_s is None else 0


def _checked(session: Session, server: LedgerServer, ledger: Ledger, chosen: argparse.Namespace) -> tuple[Run, Audit]:
    headers, random = server.limited(), Random(chosen.seed)
    faults = Faults(server.processes, {REPLICA: REPLICAS, GATEWAY: GATEWAYS}, random)
    plan = spread(
        chosen.requests,
        replicas=chosen.replica_kills,
        gateways=chosen.gateway_kills,
        both=chosen.double_kills,
        pause_s=chosen.pause,
    )
    before, began = footprints(server.processes()), time.monotonic()
    ends = asyncio.run(_load(session, server.port, headers, faults, plan, chosen))
    load_s = time.monotonic() - began
    session.say(f"all asked: {_told(ends)}")
    slots_s = free_after(f"http://{HOST}:{server.port}", headers)
    found = ledger.settled(chosen.settle_timeout)
    settle_s = time.monotonic() - began - load_s
    return Run(ends, faults.done, load_s, settle_s, slots_s, before, footprints(server.processes())), found


async def _load(  # noqa: PLR0913, PLR0917 - called in one place
    session: Session,
    port: int,
    headers: dict[str, str],
    faults: Faults,
    plan: Sequence[Fault],
    chosen: argparse.Namespace,
) -> Counter[str]:
    asked = questions(MODEL, chosen.requests, Random(chosen.seed), chosen.leavers)
    asking = asyncio.create_task(ask_all(port, headers, asked, chosen.callers, faults.progress))
    failing = asyncio.create_task(faults.run(plan, session.say))
    ends = await asking
    await failing
    await faults.whole()
    return ends


def spec(books: Path, **engine: Any) -> ModelSpec:
    """The model that is counted."""
    return ModelSpec.model_validate(
        {
            "id": MODEL,
            "engine": "scripted",
            "engine_args": {**ENGINE, **engine, "books": str(books)},
            "autoscaling": {"min_replicas": REPLICAS, "max_replicas": REPLICAS},
            "resources": {"num_cpus": 0.1},
        }
    )


def free_after(url: str, headers: dict[str, str]) -> float | None:
    """Seconds until none of a caller's places for requests under way is taken; None if that takes too long."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < FREE_S:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{url}/v1/limits", headers=headers, timeout=5, trust_env=False)
            limits = answer.json()["data"] if answer.status_code == 200 else []
            if limits and all(each["remaining"] == each["count"] for each in limits):
                return waited
        time.sleep(POLL_S)
    return None


def _markdown(chosen: argparse.Namespace, about: dict[str, str], run: Run, found: Audit) -> str:
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/ledger", *sys.argv[1:]]),
        "engine": json.dumps(ENGINE),
        "gateways, replicas": f"{GATEWAYS}, {REPLICAS}",
        "callers at once": str(chosen.callers),
    }
    done = {
        "requests": f"{chosen.requests} in {run.load_s:.0f} s",
        "for their callers": _told(run.ends),
        "killed (-9)": ", ".join(f"{kind}: {times}" for kind, times in run.done.items() if kind != DATABASE),
        "database stood still": f"{run.done[DATABASE]} times for {chosen.pause:g} s",
        "settled": f"{run.settle_s:.0f} s after the last request",
        "places for requests under way": f"all free after {run.slots_s:.1f} s" if run.slots_s is not None else "TAKEN",
        "largest gateway and replica before, MiB": _largest(run.before),
        "and after": _largest(run.after),
    }
    parts = [
        "# Usage against the engine's own books",
        tables.pairs({**setting, **about, **versions()}),
        tables.pairs(done),
        tables.pairs(findings(found)),
        *[f"{len(them)} {name}: {'; '.join(them[:SHOWN])}" for name, them in found.faults.items()],
    ]
    return "\n\n".join(parts)


def findings(found: Audit) -> dict[str, str]:
    """What an audit says, in words."""
    left, leaving = found.emitted
    return {
        "requests that an engine began": str(found.begun),
        "of them with exactly one event": str(found.begun - len(found.missing) - len(found.doubles)),
        "tokens that left the engine": f"{left}" if left == leaving else f"{left} to {leaving}",
        "tokens of all events": str(found.told),
        "of a replica killed as they left": f"{found.unsure} requests, {leaving - left} tokens",
        "lost with all who knew of them": f"{found.lost[0]} requests, {found.lost[1]} tokens",
        "events of another number": str(len(found.wrong)),
        "events of what no engine began": _told(found.unbegun) or "none",
        "events by status": _told(found.statuses),
    }


def _told(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))


def _largest(processes: Sequence[Footprint]) -> str:
    return ", ".join(
        f"{max((each.rss for each in processes if each.name == kind), default=0) / MIB:.0f}"
        for kind in (GATEWAY, REPLICA)
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/ledger", description=__doc__)
    add = parser.add_argument
    add("--requests", type=count, default=10_000)
    add("--callers", type=count, default=64, help="at once")
    add("--leavers", type=float, default=0.3, help="the share of callers who leave early")
    add("--replica-kills", type=int, default=8)
    add("--gateway-kills", type=int, default=4)
    add("--double-kills", type=int, default=2, help="a replica and a gateway in the same moment")
    add("--data-path", choices=("link", "handle"), default="link", help="what carries bytes to replicas")
    add("--pause", type=float, default=10.0, help="seconds that the database stands still")
    add("--seed", type=int, default=1, help="of all that is random here")
    add("--start-timeout", type=float, default=300.0, help="seconds it may take to start")
    add("--settle-timeout", type=float, default=180.0, help="seconds until everything has to be in the database")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "ledger.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
