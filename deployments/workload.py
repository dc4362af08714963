"""What the manager knows of work: which requests wait at gateways, which replicas have nothing to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.reports import ActivityReport

HEARD_S = 45.0
"""How long the word of a gateway or a replica counts: they repeat themselves more often than that."""


@dataclass(frozen=True, slots=True)
class _Heard:
    at: float
    report: ActivityReport


class Workload:
    """The newest words of gateways and replicas; times by the manager's clock."""

    def __init__(self) -> None:
        self._queues: dict[str, tuple[float, Mapping[str, int]]] = {}
        self._replicas: dict[str, _Heard] = {}

    def gateway(self, name: str, queued: Mapping[str, int], now: float) -> None:
        """Hear how many requests wait at a gateway, by model."""
        self._queues[name] = (now, queued)
        self._queues = {gateway: heard for gateway, heard in self._queues.items() if now - heard[0] < HEARD_S}

    def replica(self, report: ActivityReport, now: float) -> None:
        """Hear whether a replica has anything to do."""
        self._replicas[report.replica] = _Heard(now, report)
        self._replicas = {id_: heard for id_, heard in self._replicas.items() if now - heard.at < HEARD_S}

    def queued(self, model: str, now: float) -> int:
        """Requests that wait for a model, at all gateways."""
        return sum(queued.get(model, 0) for at, queued in self._queues.values() if now - at < HEARD_S)

    def idle(self, model: str, digest: str, replicas: int, now: float) -> float:
        """For how long, in seconds, all of so many replicas have had nothing to do; 0 if one is not known to."""
        heard = self._of(model, digest, now)
        if len(heard) < replicas or any(each.report.idle_s == 0.0 for each in heard):
            return 0.0
        return min((now - each.at + each.report.idle_s for each in heard), default=0.0)

    def nodes(self, model: str, digest: str, now: float) -> list[str]:
        """The node of each replica that was heard of."""
        return [heard.report.node for heard in self._of(model, digest, now)]

    def _of(self, model: str, digest: str, now: float) -> list[_Heard]:
        return [
            heard
            for heard in self._replicas.values()
            if now - heard.at < HEARD_S and (heard.report.model, heard.report.digest) == (model, digest)
        ]
