"""Ray Data still has the settings that feed.py sets: a context takes any name, and would ignore one that moved."""

from __future__ import annotations

import pytest

from tests.launch.ray_internals.contract import Contract


@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        ("target_max_block_size", "a row of the data set may be more or less than one block"),
        ("custom_execution_callback_classes", "the scheduling loop takes a core while crops wait for training"),
        ("override_object_store_memory_limit_fraction", "crops that wait for training may fill the object store"),
        ("execution_options", "batches come in another order than planned"),
    ],
)
def test_the_context_has_a_setting(name: str, breaks: str) -> None:
    Contract("swav_ray/launch/feed.py", breaks).fields("ray.data:DataContext", name)


def test_the_order_of_blocks_and_their_cpus_can_be_set() -> None:
    contract = Contract("swav_ray/launch/feed.py", breaks="batches come in another order than planned")
    options = contract.name("ray.data:ExecutionOptions")()
    for name in ("preserve_order", "resource_limits"):
        contract.check(hasattr(options, name), f"ExecutionOptions has no {name}")
