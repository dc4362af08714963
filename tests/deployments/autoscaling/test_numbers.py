"""What a replica tells, and what the policy reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from app.domain.model_spec import ModelSpec
from app.domain.model_state import StartTimes
from deployments.activity import Activity
from deployments.autoscaling import METRICS
from deployments.engines.scripted import ScriptedEngine
from deployments.model import ModelReplica
from deployments.reports import PhaseReport


async def test_a_replica_tells_just_what_the_policy_reads():
    engine = ScriptedEngine(ModelSpec(id="a", engine="scripted"))
    await engine.start(lambda *_: None)
    ready = PhaseReport("a", "digest", "ready", times=StartTimes(load_s=1.5))
    replica = SimpleNamespace(_engine=engine, _app=Activity(engine.app()), _ready=ready)
    replica_class: Any = ModelReplica.func_or_class
    told = await replica_class.record_autoscaling_stats(replica)
    assert set(told) == set(METRICS)
    assert all(isinstance(value, int | float) for value in told.values())
    assert told["start_s"] == 1.5
    await engine.stop()
