"""Ray still has what trainer.py wraps."""

from __future__ import annotations

from tests.launch.ray_internals.contract import Contract

TRAINER = Contract(
    mend="swav_ray/launch/ray_internals/trainer.py",
    breaks="a run uses Ray's own scaling policy, and its workers do not save before a resize",
)
CLASS = "ray.train.torch:TorchTrainer"


def test_fit_takes_callbacks_and_policy_from_the_two_methods() -> None:
    TRAINER.uses(f"{CLASS}.fit", "_create_default_callbacks", "_initialize_and_run_controller")
    TRAINER.parameters(f"{CLASS}._create_default_callbacks", "self")
    TRAINER.parameters(f"{CLASS}._initialize_and_run_controller", "self", "controller_init_kwargs")


def test_the_policy_is_an_argument_of_the_controller() -> None:
    controller = "ray.train.v2._internal.execution.controller:TrainController.__init__"
    parameters = TRAINER.name(controller).__code__.co_varnames
    TRAINER.check("scaling_policy" in parameters, f"{controller} takes no scaling_policy")
    constants = TRAINER.name(f"{CLASS}.fit").__code__.co_consts
    named = {name for names in constants if isinstance(names, tuple) for name in names}
    TRAINER.check("scaling_policy" in named, f"{CLASS}.fit does not give scaling_policy by name any more")
