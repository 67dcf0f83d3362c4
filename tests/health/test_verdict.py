"""What a run has learned, in words: with its noise, and what to change if it is nothing."""

from __future__ import annotations

from typing import Any

from swav_ray.health.rules import Judgement
from swav_ray.health.verdict import LEARNED, NOTHING, UNCLEAR, UNKNOWN, Verdict, verdict
from swav_ray.recipes import quickstart
from swav_ray.run.health_log import HEALTHY, STUCK

OTHERS = [30.4, 28.1, 30.8, 26.1]


def of(trained: float, word: str = HEALTHY, **given: Any) -> Verdict:
    knn = {"trained": trained, "untrained": 34.9, "pixels": 24.2, "chance": 11.2} | given.pop("knn", {})
    arguments: dict[str, Any] = {"queries": 1000, "others": OTHERS, "steps": 552} | given
    return verdict(quickstart(), Judgement(word, "at ln K"), knn, **arguments)


def test_a_run_that_beats_its_baseline_by_more_than_the_noise_has_learned() -> None:
    found = of(54.4)
    assert found.word == LEARNED
    assert found.line.startswith(
        "it learned: +24.3 points against the mean of 5 untrained networks (30.1%); noise is 7.9 "
    )
    assert "1,000 held-out images, and untrained networks differ by 3.3" in found.line
    assert found.remedy == ""


def test_a_gain_within_the_noise_of_initialisations_shows_nothing_and_says_what_to_try() -> None:
    found = of(36.0)
    assert found.word == UNCLEAR
    assert "552 steps are few" in found.remedy


def test_few_held_out_images_make_more_noise() -> None:
    assert of(54.4, queries=159).noise > 1.3 * of(54.4).noise


def test_raw_pixels_may_be_what_a_run_must_beat() -> None:
    found = of(53.7, queries=3000, knn={"untrained": 58.2, "pixels": 59.5}, others=[])
    assert found.word == NOTHING
    assert "-5.8 points against raw pixels (59.5%)" in found.line
    assert found.remedy.startswith("try ")


def test_the_weights_that_a_run_started_from_may_be_what_it_must_beat() -> None:
    assert "against the weights that it started from (80.0%)" in of(54.4, knn={"init": 80.0}).line


def test_a_run_that_ends_at_ln_k_learned_nothing_whatever_its_knn_is() -> None:
    found = of(54.4, word=STUCK)
    assert (found.word, found.line) == (NOTHING, "it learned nothing that lasts: stuck: at ln K")
    assert "freeze_prototypes_steps" in found.remedy


def test_without_labels_nothing_can_be_compared() -> None:
    found = verdict(quickstart(), Judgement(HEALTHY), {}, queries=0, others=[], steps=552)
    assert (found.word, found.noise) == (UNKNOWN, 0.0)
