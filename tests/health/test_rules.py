"""The word for a run, from what its steps showed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from swav_ray.config import Config, replace
from swav_ray.health.rules import Evidence, Judgement, judge
from swav_ray.recipes import quickstart
from swav_ray.run.health_log import COLLAPSING, DIVERGING, HEALTHY, STARVED, STUCK, WARMING_UP

LN_K = math.log(100)
SPREAD_OUT = {"spread": 0.7, "effective_rank": 3.0, "codes_usage": 0.97, "codes_entropy": 3.8, "left_to_learn": 0.4}
SPREAD_OUT |= {"code_agreement": 0.15}
QUEUED = replace(quickstart(), queue={"length": 512, "start_epoch": 2})
STEPS_PER_EPOCH = 23
WINDOW = 50


def run_of(*losses: float | None, config: Config | None = None, **figures: Any) -> Evidence:
    """Steps from the end of the freeze on, each observed."""
    config = config or quickstart()
    evidence = Evidence(config, STEPS_PER_EPOCH)
    for number, loss in enumerate(losses):
        evidence.add(evidence.grace + number, loss, SPREAD_OUT | figures)
    return evidence


def of(*losses: float | None, config: Config | None = None, **figures: Any) -> Judgement:
    return judge(run_of(*losses, config=config, **figures))


def test_a_loss_that_falls_below_ln_k_is_healthy() -> None:
    assert of(*[4.3] * WINDOW) == Judgement(HEALTHY)


def test_nothing_is_said_before_a_whole_window_after_the_freeze() -> None:
    assert of(*[LN_K] * (WINDOW - 1)).word == WARMING_UP
    frozen = Evidence(quickstart(), STEPS_PER_EPOCH, [(step, LN_K) for step in range(WINDOW)])
    assert judge(frozen).word == WARMING_UP


def test_a_loss_that_stays_at_ln_k_is_stuck_and_says_for_how_long() -> None:
    found = of(*[LN_K] * WINDOW)
    assert found.word == STUCK
    assert "4.605 for 50 steps, ln K is 4.605" in found.why
    assert found.onset == 100


def test_uniform_codes_are_named_as_the_reason() -> None:
    assert "there is nothing to learn from them" in of(*[LN_K] * WINDOW, codes_entropy=LN_K).why


def test_a_loss_that_passes_ln_k_on_its_way_is_not_stuck() -> None:
    falling = [LN_K + 0.1 - 0.004 * step for step in range(WINDOW)]
    assert of(*falling).word == HEALTHY


def test_far_more_prototypes_than_samples_are_starved() -> None:
    config = replace(quickstart(), model={"prototypes": (3000,)})
    found = of(*[math.log(3000)] * WINDOW, config=config)
    assert found.word == STARVED
    assert "3,000 prototypes compete for 256 samples" in found.why


def test_embeddings_that_become_one_point_or_one_line_collapse() -> None:
    assert "one point" in of(*[LN_K] * WINDOW, spread=0.01).why
    assert of(*[LN_K] * WINDOW, spread=0.01).word == COLLAPSING
    assert "one line" in of(*[LN_K] * WINDOW, effective_rank=1.02).why


def test_a_loss_that_tells_prototypes_apart_proves_that_embeddings_have_not_collapsed() -> None:
    assert of(*[4.3] * WINDOW, effective_rank=1.02).word == HEALTHY


def test_codes_that_are_no_equal_partition_collapse_and_the_queue_is_named() -> None:
    found = of(*[4.8] * WINDOW, config=QUEUED, codes_usage=0.6, code_agreement=0.05)
    assert (found.word, found.by_queue) == (COLLAPSING, True)
    assert "codes use 60% of the prototypes, since the queue took part at step 48" in found.why
    assert "hardly more often than by chance (0.05)" in found.why


def test_a_batch_that_the_queue_leaves_few_prototypes_learns_while_its_crops_agree() -> None:
    """A run whose queue began early: codes used 65 to 89% of the prototypes, and it recovered by itself."""
    assert of(*[4.62, 4.66] * (WINDOW // 2), config=QUEUED, codes_usage=0.7, code_agreement=0.15).word == HEALTHY


def test_a_loss_that_stays_above_ln_k_while_crops_agree_by_chance_is_stuck_however_equal_the_codes_are() -> None:
    """The end of a run that its queue broke: codes were equal again, and kNN below that of the untrained network."""
    found = of(*[1.03 * LN_K] * WINDOW, config=QUEUED, codes_usage=0.95, code_agreement=0.02)
    assert (found.word, found.by_queue) == (STUCK, True)
    assert of(*[1.03 * LN_K] * WINDOW, codes_usage=0.95, code_agreement=0.15).word == HEALTHY
    falling = [LN_K * (1.08 - 0.001 * step) for step in range(WINDOW)]
    assert of(*falling, code_agreement=0.02).word == HEALTHY, "it may yet get below"


def test_two_observations_are_too_few_to_call_agreement_chance() -> None:
    assert run_of(4.6, 4.6, code_agreement=0.0).code_agreement == 1.0
    assert run_of(4.6, 4.6, 4.6, code_agreement=0.0).code_agreement == 0.0


def test_codes_that_are_one_collapse_however_low_the_loss_is() -> None:
    assert of(*[0.5] * WINDOW, codes_usage=0.02).word == COLLAPSING


def test_refused_steps_diverge_at_any_time() -> None:
    assert of(4.6, None, None).word == WARMING_UP
    found = of(4.6, None, None, None)
    assert (found.word, found.onset) == (DIVERGING, 101)
    assert "3 of the last 4 steps were refused" in found.why


def test_a_loss_far_above_ln_k_diverges() -> None:
    found = of(*[1.2 * LN_K] * WINDOW)
    assert (found.word, found.onset) == (DIVERGING, 100)
    assert "does not fall" in found.why


def test_a_loss_far_above_ln_k_that_falls_proves_nothing_yet() -> None:
    assert of(*[1.6 * LN_K - 0.02 * step for step in range(WINDOW)]).word == WARMING_UP
    assert of(*[1.6 * LN_K + 0.02 * step for step in range(WINDOW)]).word == DIVERGING


def test_one_strange_step_names_nothing_and_is_a_spike() -> None:
    evidence = run_of(*[4.3, 4.31] * 30)
    assert evidence.add(200, 7.0, {}) == {"spike": pytest.approx(2.695)}
    assert judge(evidence).word == HEALTHY
    assert evidence.add(201, 4.35, {}) == {}


def test_the_jump_at_the_queues_start_is_measured_once() -> None:
    evidence = Evidence(QUEUED, STEPS_PER_EPOCH)
    found = {step: evidence.add(step, 4.0 if step < 48 else 4.5, {}) for step in range(80)}
    assert {step: figures for step, figures in found.items() if figures} == {58: {"queue_jump": pytest.approx(0.5)}}


def test_a_state_is_sound_while_it_learns_and_is_spread_out() -> None:
    assert run_of(*[4.3] * 12).sound
    assert not run_of(*[LN_K] * 12).sound
    assert not run_of(*[4.3] * 12, spread=0.0).sound
    assert not run_of(*[4.3] * 11, None).sound
    assert not run_of().sound
    assert run_of(*[4.3] * 12, codes_usage=0.6).sound
    assert not run_of(*[4.3] * 12, config=QUEUED, codes_usage=0.6).sound, "the queue has bent it"


def test_a_resumed_run_judges_by_the_losses_of_before() -> None:
    earlier = [(step, LN_K) for step in range(100, 150)]
    assert judge(Evidence(quickstart(), STEPS_PER_EPOCH, earlier)).word == STUCK


def test_what_came_before_a_remedy_proves_nothing_of_it() -> None:
    earlier = [(step, LN_K) for step in range(150, 200)]
    assert judge(Evidence(quickstart(), STEPS_PER_EPOCH, earlier, since=200)).word == WARMING_UP
