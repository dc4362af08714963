"""How an attempt to reach a replica can end, in Serve's and Ray's words and in ours."""

from __future__ import annotations

import logging

import ray.exceptions
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError

from app.domain.model_spec import ModelSpec
from app.errors import ApiError, EngineCrashed, ServerError, ServiceUnavailable
from deployments.engines.base import EngineDead

logger = logging.getLogger("manta")

DEATHS = (
    EngineDead,
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ReplicaUnavailableError,
)
"""How Ray says that whoever had the request is gone."""


class Died(Exception):
    """The replica died before the answer's first byte.

    Attributes:
        replica: Its id, or None if it had nothing of the request.
    """

    def __init__(self, replica: str | None) -> None:
        super().__init__(replica)
        self.replica = replica


class Moved(Exception):
    """The application that ran the spec is gone or going: the model was changed, removed or put to sleep."""


class NoReplicaYet(Exception):
    """No replica took the request. The text says why, to follow the model's name."""


class Crowded(Exception):
    """Too many wait already, or for too long.

    Attributes:
        retry_after_s: When a place in the line comes free; None where nobody can say.
    """

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


def died_midway() -> EngineCrashed:
    """What a stream under way ends with when its replica dies."""
    return EngineCrashed(
        "The model's engine died in the middle of this answer. What came before is all there is; try again."
    )


def crashed_by_request() -> EngineCrashed:
    """The answer to a request that the engine did not survive twice."""
    return EngineCrashed(
        "The model's engine died twice while working on this request, so it is not tried again. "
        "Something in the request kills it: change the request, and report it.",
        code="engine_crashed_by_request",
        headers={"x-should-retry": "false"},
    )


def timed_out(spec: ModelSpec, *, accepted: bool) -> Exception:
    """What becomes of a request that waited too long."""
    if accepted:
        return ServiceUnavailable(
            f"The model {spec.id!r} did not answer within {spec.limits.request_timeout_s:g} s.", code="request_timeout"
        )
    return NoReplicaYet(f"had no free replica within {spec.limits.cold_start_timeout_s:g} s")


def translate(error: Exception, spec: ModelSpec) -> Exception:
    """Serve's and Ray's exceptions in our words: the one table of this seam."""
    if isinstance(error, ApiError | Moved | Crowded):
        return error
    if isinstance(error, BackPressureError):
        return ServiceUnavailable(f"Too many requests are waiting for the model {spec.id!r}. Try again shortly.")
    logger.error("a request to %s failed in a way that nobody foresaw", spec.id, exc_info=error)
    return ServerError(f"The request to the model {spec.id!r} failed on our side.")
