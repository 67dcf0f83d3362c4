"""The health of a run while it trains, on rank 0: observes steps, keeps the word, and asks for what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from swav_ray.health.advice import advice
from swav_ray.health.observer import Observer
from swav_ray.health.rules import Evidence, Judgement, judge
from swav_ray.run import health_log
from swav_ray.run.messages import HealthChanged
from swav_ray.training.control import Request
from swav_ray.training.learner import Learner, StepResult

Loss = tuple[int, float | None]  # a step, and its loss; None if it was refused


class Monitor:
    """Watches a learner.

    Args:
        learner: what trains.
        losses: of the steps before, if the run resumes; what was refused has None.
        since: the step that the last remedy went back to.
        write: is given each line of health.jsonl.
        report: is given a message when the word changes.
    """

    def __init__(
        self,
        learner: Learner,
        losses: Sequence[Loss],
        *,
        since: int = 0,
        write: Callable[[dict[str, Any]], None],
        report: Callable[[HealthChanged], None],
    ) -> None:
        self._config, self._steps_per_epoch = learner.config, learner.steps_per_epoch
        self._observer = Observer(learner)
        self._evidence = Evidence(learner.config, learner.steps_per_epoch, losses, since)
        self._write, self._report = write, report
        self.judgement = Judgement(health_log.WARMING_UP)
        self.last_sound = -1
        self._alarmed = False

    def observe(self, step: int, result: StepResult, crops: list[Tensor]) -> None:
        """Takes a step and judges the run anew."""
        figures = {} if result.refused else self._observer.figures(step, result, crops)
        loss = None if result.refused else result.loss
        figures |= self._evidence.add(step, loss, figures)
        if not figures and not result.refused:
            return
        before, self.judgement = self.judgement, _after(self.judgement, judge(self._evidence), sound=self.sound)
        if self.sound:
            self.last_sound = step
        line = {"step": step, "epoch": step // self._steps_per_epoch, "word": self.judgement.word, "sound": self.sound}
        self._write(
            line | {"why": self.judgement.why, "loss": loss, "ln_k": self._evidence.ln_k, "lr": result.lr} | figures
        )
        if before.word != self.judgement.word:
            self._changed(step)

    def request(self) -> Request:
        """What all workers are to do: once for each alarm, and nothing if `health.on_collapse` is warn."""
        if not self._alarmed:
            return Request.NONE
        self._alarmed = False
        return {"stop": Request.FAIL, "remedy": Request.REMEDY}.get(self._config.health.on_collapse, Request.NONE)

    @property
    def step(self) -> int:
        """The newest that was observed."""
        return self._evidence.step

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against the present state: what a remedy may go back to."""
        return self._evidence.sound

    def _changed(self, step: int) -> None:
        alarm = self.judgement.word in health_log.ALARMS
        self._alarmed = alarm
        remedy = advice(self._config, self.judgement) if alarm else ""
        self._report(HealthChanged(step, self.judgement.word, self.judgement.why, remedy))


def _after(before: Judgement, now: Judgement, *, sound: bool) -> Judgement:
    """An alarm keeps its word until the state is sound or the run diverges: what is stuck and shrinks is still stuck.

    Broken runs cross the rules' limits for a few steps and fall back.
    """
    if before.word not in health_log.ALARMS or now.word == health_log.DIVERGING:
        return now
    return before if now.word in health_log.ALARMS or not sound else now
