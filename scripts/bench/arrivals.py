"""When requests come and how long they are, from a seed.

Lengths are lognormal. BurstGPT (Wang et al., arXiv 2401.17644) tells of lengths with long tails and of arrivals whose
gaps are gamma distributed with a shape that changes over the day and is often far below 1. What is used here is of that
kind: its numbers are made up, and nothing is taken from the trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

from scripts.bench.fleet import Job

MINUTE = 60.0
EPISODE_S = 40 * MINUTE
PROMPT = (600.0, 1.0)
"""Mean and the sigma of the logarithm, in tokens."""
OUTPUT = (250.0, 0.7)
LONG_PROMPT = (4000.0, 0.6)
LONGEST = 12_000

Arrivals = Callable[[Random], list[Job]]


def burst(random: Random) -> list[Job]:
    """Nobody; then within five seconds everybody: a workshop begins. Half an hour of nothing between two of them."""
    jobs: list[Job] = []
    for start in (2 * MINUTE, 22 * MINUTE):
        jobs += [_job(random, start + random.uniform(0, 5)) for _ in range(100)]
        jobs += _poisson(random, start + 5, start + 6 * MINUTE, lambda _: 2.5, 2.5)
    return _sorted(jobs)


def spike(random: Random) -> list[Job]:
    """A little traffic, and now and then five times as much for two minutes."""

    def rate(at: float) -> float:
        return 3.5 if at % (10 * MINUTE) > 8 * MINUTE else 0.7

    return list(_poisson(random, 0, EPISODE_S, rate, 3.5))


def ramp(random: Random) -> list[Job]:
    """From nothing to six requests a second in twenty minutes, and back in ten."""

    def rate(at: float) -> float:
        return 6 * max(0.0, min(at / (20 * MINUTE), (32 * MINUTE - at) / (10 * MINUTE), 1.0))

    return list(_poisson(random, 0, EPISODE_S, rate, 6))


def diurnal(random: Random) -> list[Job]:
    """Two days of twenty minutes each, silent at night."""

    def rate(at: float) -> float:
        return max(0.0, 4.5 * math.sin(2 * math.pi * at / (20 * MINUTE)) - 0.5)

    return list(_poisson(random, 0, EPISODE_S, rate, 4))


def gamma(random: Random) -> list[Job]:
    """BurstGPT's kind: gaps of gamma shape 0.25, a mean rate that changes by the minute, Zipf-like."""
    jobs: list[Job] = []
    at = 0.0
    while at < EPISODE_S:
        rate = 6 / random.choices((1, 2, 3, 6, 12), weights=(1, 1, 1, 2, 2))[0]
        end = min(EPISODE_S, at + random.expovariate(1 / (2 * MINUTE)))
        while at < end:
            at += random.gammavariate(0.25, 1 / (0.25 * rate))
            jobs.append(_job(random, at))
    return [job for job in jobs if job.at < EPISODE_S]


def documents(random: Random) -> list[Job]:
    """Few requests with long prompts, in groups: what fills a cache while the count of requests stays small."""
    jobs: list[Job] = []
    at = 0.0
    while at < EPISODE_S:
        at += random.expovariate(1 / 45)
        jobs += [_job(random, at + random.uniform(0, 10), LONG_PROMPT) for _ in range(random.randint(4, 24))]
    return _sorted([job for job in jobs if job.at < EPISODE_S])


SCENARIOS: dict[str, Arrivals] = {
    "burst": burst,
    "spike": spike,
    "ramp": ramp,
    "diurnal": diurnal,
    "burstgpt": gamma,
    "documents": documents,
}


def _poisson(random: Random, start: float, end: float, rate: Callable[[float], float], most: float) -> Iterator[Job]:
    at = start
    while (at := at + random.expovariate(most)) < end:
        if random.random() * most < rate(at):
            yield _job(random, at)


def _job(random: Random, at: float, prompt: tuple[float, float] = PROMPT) -> Job:
    return Job(at, _length(random, *prompt), _length(random, *OUTPUT))


def _length(random: Random, mean: float, sigma: float) -> int:
    return min(LONGEST, max(1, round(random.lognormvariate(math.log(mean) - sigma**2 / 2, sigma))))


def _sorted(jobs: list[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: job.at)
