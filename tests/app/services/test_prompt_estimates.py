"""Guesses of how long prompts are."""

from __future__ import annotations

from app.services.prompt_estimates import PromptEstimates


def test_a_first_guess_errs_on_the_high_side_for_english() -> None:
    text = "What is the capital of France, and why is it not Lyon? " * 20
    assert PromptEstimates().of("model", len(text)) > len(text) / 4


def test_a_denser_script_is_learned_at_once() -> None:
    estimates = PromptEstimates()
    estimates.learn("model", 1000, 900)
    assert estimates.of("model", 1000) >= 900


def test_one_dense_prompt_is_forgotten_in_time() -> None:
    estimates = PromptEstimates()
    estimates.learn("model", 1000, 900)
    for _ in range(300):
        estimates.learn("model", 1000, 200)
    assert 200 <= estimates.of("model", 1000) < 300


def test_models_are_learned_apart_and_answers_without_a_count_teach_nothing() -> None:
    estimates = PromptEstimates()
    before = estimates.of("other", 1000)
    estimates.learn("model", 1000, 1128)
    estimates.learn("other", 1000, 0)
    assert estimates.of("other", 1000) == before
