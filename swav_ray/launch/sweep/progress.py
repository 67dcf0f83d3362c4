"""What a sweep prints: how it searches, how its trials do, and which trial is best."""

from __future__ import annotations

from typing import Any

import ray
from ray import tune

from swav_ray.config import Config
from swav_ray.launch.sweep.choice import OBJECTIVES, Choice
from swav_ray.launch.sweep.groups import drain
from swav_ray.launch.sweep.space import Points
from swav_ray.launch.sweep.trial_directories import newest_generation, read_trial, trial_directory, update_trial
from swav_ray.report.terminal import Terminal
from swav_ray.storage.place import Place, place

_DRAIN_SECONDS = 90.0  # for stopped trials to release what they hold


def announce(
    terminal: Terminal, base: Config, choice: Choice, points: Points, sweep_dir: Place, at_once: int, resumed: bool
) -> None:
    """Prints how a sweep searches, before its first trial starts."""
    terminal.line(f"sweep directory: {sweep_dir}" + ("; resuming the sweep that is there" if resumed else ""))
    for name, domain in choice.space.items():
        terminal.line(f"  {name}: {domain}")
    for reason in points.refused:
        terminal.line(f"refused: {reason}")
    every = base.eval.knn_every_epochs
    terminal.line(f"every trial is measured and saved every {f'{every} epochs' if every > 1 else 'epoch'}")
    terminal.line(
        f"{choice.num_samples} trials, {at_once} at a time; objective {', '.join(choice.objective)}; "
        f"searcher {choice.searcher}; scheduler {choice.scheduler}"
    )


class Progress(tune.Callback):
    """Prints what trials report and how they end, writes the latter to their trial.json, and frees what they held.

    Args:
        groups: name of the sweep's `Groups` actor.
        trials: place of the trials' run directories.
        objective: the one that is printed.
    """

    def __init__(self, groups: str, trials: str, objective: str) -> None:
        self._groups, self._trials, self._objective = groups, trials, objective
        self._metric = OBJECTIVES[objective][0]

    def setup(self, *_: Any, **__: Any) -> None:
        self._terminal = Terminal(0.0)
        self._report_is_awaited()

    def _report_is_awaited(self) -> None:
        self._terminal.waiting_for("no trial has reported for {}: they start, train or wait for room", anew=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_terminal"}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        values = ", ".join(f"{name} {_short(value)}" for name, value in trial.config.items())
        self._terminal.line(f"trial {trial.trial_id} starts: {values}")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        value, epochs = result.get(self._metric, float("nan")), result["epochs"]
        self._terminal.line(f"trial {trial.trial_id}, epoch {epochs:g}: {self._objective} {value:.4g}")
        self._report_is_awaited()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        result = trial.last_result
        if not result["whole"]:
            epochs = f"{result['epochs']:g}"
            update_trial(place(result["run_dir"]), state="stopped", reason=f"by the scheduler after epoch {epochs}")
            self._terminal.line(f"trial {trial.trial_id} is stopped after epoch {epochs}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        ray.get(ray.get_actor(self._groups).release.remote(trial.trial_id))
        state, reason = self._ended(trial.trial_id)
        self._terminal.line(f"trial {trial.trial_id} has {state}: {reason}")

    def _ended(self, trial: str) -> tuple[str, str]:
        """The state of a trial that ended with an error, and the reason; notes both if the trial could not."""
        generation = newest_generation(place(self._trials), trial)
        if generation is None:
            return "failed", "it could not start; its error.txt in tune/ says why"
        run_dir = trial_directory(place(self._trials), trial, generation)
        about = read_trial(run_dir)
        if about["state"] not in ("failed", "collapsed"):
            about |= {"state": "failed", "reason": "its actor died; error.txt in tune/ says why"}
            update_trial(run_dir, **about)
        return about["state"], about["reason"]

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._terminal.quiet()  # Tune steps many times a second
        # Tune ends with its last trial and kills those that are still stopping: their placement groups would remain.
        if trials and all(trial.is_finished() for trial in trials):
            drain(ray.get_actor(self._groups), _DRAIN_SECONDS)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
