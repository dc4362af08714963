"""When a model grows and when it shrinks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.autoscaling.policy import LOOKED_BACK_S, Memory, Report, Situation, decide
from tests.deployments.autoscaling.world import TARGETS, World


def test_a_queue_wakes_as_many_as_it_needs_at_once():
    assert World().run(0.5, queued=35) == 4


def test_a_single_request_wakes_one():
    assert World().run(0.5, queued=1) == 1


def test_those_who_are_woken_do_not_go_while_they_start():
    world = World(start_s=30)
    world.run(0.5, queued=35)
    assert world.run(20) == 4


def test_a_queue_that_doubles_while_they_start_wakes_more():
    world = World(start_s=30)
    world.run(5, queued=5)
    assert world.run(5, queued=15) == 1
    assert world.run(5, queued=25) == 3


def test_what_waited_for_a_replica_is_not_counted_twice_when_it_has_come():
    world = World(target=1)
    assert world.run(LOOKED_BACK_S - 0.5, sequences=9, queued=9) == 1
    assert world.run(20, sequences=9, queued=9) == 2


def test_a_burst_is_followed_within_its_window():
    world = World(target=1)
    world.run(10, sequences=5)
    assert world.run(TARGETS.burst_window_s + 3.5, sequences=60) == 6


def test_a_flash_is_no_burst():
    world = World(target=1)
    world.run(30, sequences=5)
    world.run(1, sequences=60)
    world.run(30, sequences=5)
    assert max(world.history) == 1


def test_a_slow_rise_is_followed_after_the_delay():
    world = World(target=2)
    world.run(10, sequences=15)
    assert world.run(TARGETS.upscale_delay_s - 1, sequences=28) == 2
    assert world.run(5, sequences=28) == 3


def test_a_ramp_is_followed_step_by_step():
    world = World(target=1)
    for sequences in range(5, 95):
        world.run(5, sequences=sequences)
    assert world.history == sorted(world.history)
    assert world.target in (9, 10)
    assert len(set(world.history)) > 5


def test_a_little_more_than_the_target_changes_nothing():
    world = World(target=5)
    assert world.run(120, sequences=54) == 5


def test_less_work_shrinks_it_after_the_delay_and_no_sooner():
    world = World(target=6)
    world.run(20, sequences=60)
    assert world.run(TARGETS.downscale_delay_s - 2, sequences=20) == 6
    assert world.run(6, sequences=20) == 2


def test_it_shrinks_to_the_most_that_was_needed_within_the_delay():
    world = World(target=8)
    world.run(10, sequences=80)
    world.run(30, sequences=20)
    world.run(10, sequences=50)
    assert world.run(30, sequences=20) == 5


def test_nothing_shrinks_in_a_burst():
    short = replace(TARGETS, downscale_delay_s=1)
    world = World(target=1, targets=short)
    world.run(7, sequences=60)
    assert world.run(25, sequences=20) == 6
    assert world.run(10, sequences=20) == 2


def test_the_last_one_goes_when_it_was_idle_for_its_time():
    world = World(target=1)
    world.run(10, sequences=5)
    assert world.run(TARGETS.downscale_to_zero_delay_s - 1) == 1
    assert world.run(2) == 0


def test_several_go_to_one_after_the_delay_and_then_to_none():
    world = World(target=3)
    world.run(5, sequences=30)
    assert world.run(TARGETS.downscale_delay_s - 2) == 3
    world.run(8)
    assert world.history == sorted(world.history, reverse=True)
    assert list(dict.fromkeys(world.history))[-2:] == [1, 0]


def test_a_request_now_and_then_keeps_one_awake():
    world = World(target=1)
    for _ in range(10):
        world.run(0.5, sequences=1)
        assert world.run(TARGETS.downscale_to_zero_delay_s - 2) == 1


def test_with_somebody_in_the_queue_it_is_not_idle():
    assert World(target=1).run(100, queued=1, idle_s=1000) == 1


def test_a_model_that_may_not_sleep_does_not():
    assert World(target=3, least=2).run(500) == 2


def test_a_full_cache_asks_for_more_even_where_sequences_are_few():
    assert World(target=2).run(15, sequences=6, kv_usage=1.0) == 3


def test_prompts_that_wait_longer_than_they_may_ask_for_more():
    world = World(target=1)
    taken = 0.0
    # A replica that clears 100 tokens a second and has 800 waiting lets them wait for eight seconds.
    for _ in range(60):
        world.run(0.5, sequences=5, waiting=3, waiting_tokens=800, prompt_tokens=(taken := taken + 50))
    assert world.memory is not None
    assert world.memory.clears == pytest.approx(100, rel=0.01)
    assert world.target >= 4


def test_prompts_that_a_start_would_come_too_late_for_ask_for_nothing():
    world = World(target=1)
    taken = 0.0
    for _ in range(60):
        taken += 50
        world.run(0.5, sequences=5, waiting=3, waiting_tokens=800, prompt_tokens=taken, start_s=60)
    assert world.target == 1


def test_where_replicas_say_nothing_serve_s_own_count_speaks():
    world = World(target=1, silent=True)
    assert world.run(20, sequences=40) == 4
    world.run(200)
    assert world.target == 0


def test_a_replica_that_went_silent_is_no_longer_believed():
    world = World(target=1)
    world.run(5, sequences=5)
    stale = Report(at=world.now, sequences=5)
    for _ in range(60):
        world.now += 0.5
        seen = Situation(world.now, 1, world.target, ongoing=40, reports={"0": stale}, most=10)
        world.target, world.memory = decide(TARGETS, seen, world.memory)
    assert world.target == 4


def test_after_the_controller_lost_its_memory_nothing_shrinks_before_its_time():
    world = World(target=6)
    world.run(200, sequences=60)
    world.memory = None
    assert world.run(TARGETS.downscale_delay_s - 2, sequences=20) == 6
    assert world.run(5, sequences=20) == 2


def test_after_the_controller_lost_its_memory_idleness_is_not_counted_anew():
    world = World(target=1)
    world.run(TARGETS.downscale_to_zero_delay_s - 5)
    world.memory = None
    assert world.run(6) == 0


def test_a_controller_that_sees_no_replica_yet_keeps_what_there_should_be():
    seen = Situation(now=5, ready=0, target=4, most=10)
    assert decide(TARGETS, seen, None)[0] == 4


def test_work_that_comes_and_goes_does_not_make_it_flap():
    world = World(target=2)
    for step in range(200):
        world.run(3, sequences=28 if step % 2 else 12)
    assert len([1 for a, b in zip(world.history, world.history[1:], strict=False) if a != b]) <= 2


loads = st.lists(
    st.tuples(
        st.floats(0, 500), st.floats(0, 500), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6), st.booleans()
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(loads=loads, least=st.integers(0, 3), more=st.integers(0, 20))
def test_it_never_leaves_its_bounds(loads: list[tuple[float, ...]], least: int, more: int):
    world = World(least=least, most=max(1, least + more), target=least, start_s=2)
    for sequences, queued, kv, waiting, taken, silent in loads:
        world.silent = bool(silent)
        world.run(
            1.5, sequences=sequences, queued=queued, kv_usage=kv, waiting=1, waiting_tokens=waiting, prompt_tokens=taken
        )
        assert world.least <= world.target <= world.most


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.integers(0, 90), min_size=1, max_size=20))
def test_it_always_comes_to_have_enough(steps: list[int]):
    world = World(target=10)
    for sequences in steps:
        world.run(TARGETS.upscale_delay_s + 2 * TARGETS.burst_window_s, sequences=sequences)
        assert world.target * TARGETS.sequences * 1.1 >= sequences


def test_memory_starts_empty():
    assert Memory(since=0).clears is None
