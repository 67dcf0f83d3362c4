"""Ray's TorchTrainer with a scaling policy and a first callback of ours. Read in Ray 2.60.

`RunConfig(callbacks=...)` appends to Ray's callbacks, and what comes before ours may be what fails; a scaling policy
cannot be given at all.
"""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer

from swav_ray.launch.ray_internals.elastic_policy import ElasticPolicy
from swav_ray.launch.ray_internals.worker_group import WorkerGroupEvents


class HookedTrainer(TorchTrainer):  # at run time Ray Train's second version; its annotations are the first one's
    """Overrides `_create_default_callbacks` and `_initialize_and_run_controller` of Ray's trainer.

    Args:
        events: called before Ray's own callbacks.
        policy: takes the place of Ray's scaling policy; None keeps Ray's.
        arguments: of TorchTrainer.
    """

    def __init__(self, *, events: WorkerGroupEvents, policy: ElasticPolicy | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._events, self._policy = events, policy

    def _create_default_callbacks(self) -> list[Any]:
        return [self._events, *super()._create_default_callbacks()]  # type: ignore[misc]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        if self._policy is not None:
            arguments["scaling_policy"] = self._policy
        return super()._initialize_and_run_controller(**arguments)  # type: ignore[misc]
