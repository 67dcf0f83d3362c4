"""Ray still has what elastic_policy.py wraps."""

from __future__ import annotations

from tests.launch.ray_internals.contract import Contract

POLICY = Contract(
    mend="swav_ray/launch/ray_internals/elastic_policy.py",
    breaks="a run no longer grows and shrinks with its cluster, or waits for nodes that are draining",
)
ROOM = "ray.train.v2._internal.execution.scaling_policy"
ELASTIC = f"{ROOM}.elastic:ElasticScalingPolicy"
CLIENT = f"{ROOM}.autoscaling_coordinator_client:TrainAutoscalingCoordinatorClient"


def test_both_decisions_pass_through_the_hooks() -> None:
    for state in ("running", "non_running"):
        decision = f"{ELASTIC}.make_decision_for_{state}_worker_group"
        POLICY.uses(decision, "_maybe_send_resource_request", "_get_reserved_resources", "_count_possible_workers")


def test_the_hooks_take_and_give_what_ours_do() -> None:
    POLICY.parameters(f"{ELASTIC}.__init__", "self", "scaling_config")
    POLICY.parameters(f"{ELASTIC}._get_num_workers_for_resource_request", "self")
    POLICY.parameters(f"{ELASTIC}._get_reserved_resources", "self")
    POLICY.parameters(f"{ELASTIC}._count_possible_workers", "self", "reserved_resources")
    POLICY.parameters(f"{ELASTIC}.after_controller_start", "self", "train_run_context")


def test_the_policy_knows_the_runs_scaling() -> None:
    POLICY.uses(f"{ROOM}.scaling_policy:ScalingPolicy.__init__", "scaling_config")
    for name in ("elasticity_enabled", "min_workers", "max_workers", "num_cpus_per_worker"):
        POLICY.name(f"ray.train:ScalingConfig.{name}")


def test_requests_are_for_as_many_workers_as_the_hook_says() -> None:
    for method in ("_send_resource_request", "_maybe_send_resource_request"):
        POLICY.uses(f"{ELASTIC}.{method}", "_coordinator_client", "_get_num_workers_for_resource_request")


def test_the_controllers_start_sets_the_id_and_the_client_and_nothing_else() -> None:
    start = POLICY.name(f"{ELASTIC}.after_controller_start")
    POLICY.uses(f"{ELASTIC}.after_controller_start", "_requester_id", "_coordinator_client")
    touched = {name for name in start.__code__.co_names if name.startswith("_")}
    known = {"_requester_id", "_coordinator_client", "_resources_per_worker_not_none", "_label_selector_per_worker"}
    known |= {"_get_num_workers_for_resource_request", "_send_resource_request"}
    POLICY.check(
        touched <= known, f"{ELASTIC}.after_controller_start also touches {', '.join(sorted(touched - known))}"
    )


def test_the_requester_is_named_by_us() -> None:
    POLICY.parameters(CLIENT, "requester_id")
    POLICY.name(f"{CLIENT}._autoscaling_coordinator")


def test_the_answer_can_be_made_from_the_cluster_as_it_is() -> None:
    actor = "ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator:_AutoscalingCoordinatorActor"
    POLICY.parameters(f"{actor}.get_reserved_resources", "self", "requester_id", "recompute")
