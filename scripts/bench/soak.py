"""Whether a gateway's memory stays what it is, however many requests go through it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.bench.memory import Footprint, footprints
from scripts.bench.processes import GATEWAY
from scripts.bench.servers import BenchError, Server
from scripts.bench.session import Session
from scripts.bench.tables import mib
from scripts.bench.workload import Workload

PARTS = 4
CALLERS = 32


@dataclass(frozen=True, slots=True)
class Look:
    """A gateway after so many requests.

    Attributes:
        rate: Requests per second since the look before; 0 for the first.
        rss: Resident bytes.
        pss: The same with shared pages split among those who share them; None where it cannot be read.
    """

    requests: int
    rate: float
    rss: int
    pss: int | None


def soak(session: Session, server: Server, work: Workload, requests: int) -> tuple[list[Look], list[str]]:
    """Send whole answers' requests in four parts, and look at the gateway before, between and after.

    Returns:
        What was seen, and why requests failed.

    Raises:
        BenchError: It has no gateway.
    """
    looks = [_look(server, 0, 0.0)]
    errors: list[str] = []
    part = -(-requests // (PARTS * CALLERS)) * CALLERS
    for _ in range(PARTS):
        result = session.drive(server, work.unary(server, CALLERS, part))
        errors += result.errors
        session.settle()
        done = len(result.requests) - len(result.errors)
        looks.append(_look(server, looks[-1].requests + done, done / result.seconds))
        session.say(f"{server.name}'s gateway after {looks[-1].requests} requests: {mib(looks[-1].rss)} MiB")
    return looks, errors


def largest_gateway(processes: Iterable[Footprint]) -> Footprint | None:
    """The gateway among these; of several, the one that holds most."""
    return max((each for each in processes if each.name == GATEWAY), key=lambda each: each.rss, default=None)


def _look(server: Server, requests: int, rate: float) -> Look:
    gateway = largest_gateway(footprints(server.processes()))
    if gateway is None:
        raise BenchError(f"{server.name} has no gateway")
    return Look(requests, rate, gateway.rss, gateway.pss)
