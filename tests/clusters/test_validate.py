"""Every file of clusters/ is what its reader takes: Ray, the clouds' own models, KubeRay, the shell, Docker."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml
from ray.scripts.scripts import start

from swav_ray import pretrain
from swav_ray.launch import spot_watcher
from tests.clusters import checks
from tests.clusters.checks import CLUSTERS, RAY_UP, ROOT, load, prepared

NODE_CONFIG = {"aws": checks.run_instances, "gcp": checks.compute_instance, "azure": checks.arm_parameters}


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_takes_the_file(name: str) -> None:
    assert prepared(load(name))["cluster_name"] == "swav-ray"


def test_session_manager_is_two_comment_signs_away() -> None:
    text = (CLUSTERS / "aws.yaml").read_text()
    opened, count = re.subn(r"^  # (ssh_proxy_\w+:)", r"  \1", text, flags=re.MULTILINE)
    assert count == 2
    auth = prepared(yaml.safe_load(opened))["auth"]
    assert auth["ssh_proxy_use_node_id"] is True
    assert "%h" in auth["ssh_proxy_command"]


def test_ray_refuses_an_unknown_section() -> None:
    config = {**load("aws"), "available_node_typs": {}}
    with pytest.raises(jsonschema.ValidationError, match="available_node_typs"):
        prepared(config)


@pytest.mark.parametrize("name", list(NODE_CONFIG))
def test_the_cloud_takes_every_node(name: str) -> None:
    for kind, node in load(name)["available_node_types"].items():
        assert NODE_CONFIG[name](node["node_config"]) == [], kind


@pytest.mark.parametrize(
    ("name", "path", "typo"),
    [
        ("aws", ["InstanceMarketOptions"], "MarketTyp"),
        ("aws", [], "IamInstanceProfil"),
        ("aws", ["MetadataOptions"], "HttpToken"),
        ("gcp", ["scheduling"], "provisioningMode"),
        ("gcp", [], "machineTyp"),
        ("azure", ["azure_arm_parameters"], "priorty"),
    ],
)
def test_a_typo_that_ray_lets_pass_is_found(name: str, path: list[str], typo: str) -> None:
    config = load(name)
    node = config["available_node_types"]["gpu"]["node_config"]
    inner: dict[str, Any] = node
    for part in path:
        inner = inner[part]
    right = next(key for key in inner if key.startswith(typo[:5]))
    inner[typo] = inner.pop(right)
    prepared(config)
    assert any(typo in problem for problem in NODE_CONFIG[name](node))


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_only_the_head_is_paid_for_while_nothing_runs(name: str) -> None:
    config = prepared(load(name))
    kinds = config["available_node_types"]
    assert set(kinds) == {"head", "gpu", "crops"}
    assert {kind: node["min_workers"] for kind, node in kinds.items()} == {"head": 0, "gpu": 0, "crops": 0}
    assert kinds["head"]["max_workers"] == 0
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["max_workers"] >= max(kinds["gpu"]["max_workers"], kinds["crops"]["max_workers"])


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_the_head_does_no_work_and_is_no_spot_machine(name: str) -> None:
    config = load(name)
    head = config["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert not re.search(r"spot", yaml.safe_dump(head["node_config"]), re.IGNORECASE)
    assert any("--num-cpus=0 --num-gpus=0" in command for command in config["head_start_ray_commands"])
    for kind in ("gpu", "crops"):
        assert re.search(r"spot", yaml.safe_dump(config["available_node_types"][kind]["node_config"]), re.IGNORECASE)


@pytest.mark.parametrize("name", RAY_UP)
def test_nobody_enters_without_a_token_and_the_dashboard_stays_inside(name: str) -> None:
    config = load(name)
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert any("--dashboard-host=127.0.0.1" in command for command in config["head_start_ray_commands"])


@pytest.mark.parametrize("name", RAY_UP)
def test_a_machine_that_is_gone_is_missed_in_seconds(name: str) -> None:
    options = load(name)["docker"]["run_options"]
    given = dict(option.removeprefix("--env RAY_health_check_").split("=") for option in options if "health" in option)
    each = int(given["period_ms"]) + int(given["timeout_ms"])  # it answers nothing: every check runs into its limit
    assert each * int(given["failure_threshold"]) <= 20_000


def test_on_aws_ray_has_no_security_group_to_make() -> None:
    """The one that it makes lets the world in by SSH."""
    for node in load("aws")["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"] == [load("aws")["metadata"]["security_group"]]
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.parametrize("name", RAY_UP)
def test_the_shell_takes_every_command(name: str) -> None:
    commands = checks.commands(load(name))
    assert len(commands) >= 4
    for command in commands:
        # As Ray runs it: in a subshell, after exports.
        assert checks.shell(f"export RAY_HEAD_IP=1.2.3.4\n({command})\n") == [], command
    for option in load(name)["docker"]["run_options"]:
        assert checks.shell(f"docker run {option} image\n") == [], option


def test_the_shell_check_finds_mistakes() -> None:
    assert checks.shell("if true; then echo; done\n")
    assert checks.shell("cd /nowhere\nrm -rf $HOEM/*\n")


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_start_takes_its_words_as_the_shell_makes_them(name: str) -> None:
    starts = [command for command in checks.commands(load(name)) if command.startswith("ray start")]
    assert len(starts) == 2
    for command in starts:
        script = f"RAY_HEAD_IP=1.2.3.4; set -- {command}\nprintf '%s\\0' \"$@\""
        words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")
        given = start.make_context("start", words[2:-1]).params
        assert given["head"] != (given["address"] == "1.2.3.4:6379")
        if not given["head"]:
            assert given["object_store_memory"] > 10**8


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_every_spot_worker_starts_the_watcher_for_its_cloud(name: str) -> None:
    command = load(name)["worker_start_ray_commands"][-1]
    words = shlex.split(command.partition("spot_watcher ")[2].partition(">")[0])
    assert spot_watcher._parser().parse_args(words).cloud == name


def test_kubernetes_takes_the_rayjob() -> None:
    assert checks.rayjob(load("kuberay-rayjob")) == []


@pytest.mark.parametrize("typo", ["lifecycl", "rayStartParam", "minReplica", "entrypoin", "limit", "emptyDirr"])
def test_a_typo_in_the_rayjob_is_found(typo: str) -> None:
    text = (CLUSTERS / "kuberay-rayjob.yaml").read_text()
    right = re.search(rf"\b{re.escape(typo.removesuffix('r') if typo.endswith('rr') else typo)}\w*(?=:)", text)
    assert right is not None
    planted = yaml.safe_load(text[: right.start()] + typo + text[right.end() :])
    assert any(typo in problem for problem in checks.rayjob(planted))


def test_the_rayjob_scales_from_nothing_drains_and_runs_a_real_command() -> None:
    spec = load("kuberay-rayjob")["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["authOptions"] == {"mode": "token"}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == 0 < group["maxReplicas"]
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        drain = container["lifecycle"]["preStop"]["exec"]["command"]
        assert drain[:2] == ["/bin/bash", "-c"]
        assert checks.shell(drain[2] + "\n") == []
        words = shlex.split(drain[2].partition("spot_watcher ")[2].partition("&&")[0])
        assert spot_watcher._parser().parse_args(words).drain_now < pod["terminationGracePeriodSeconds"]
        assert pod["securityContext"]["runAsNonRoot"] is True
    gpu = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    words = shlex.split(spec["entrypoint"])
    assert words[:3] == ["python", "-m", "swav_ray.pretrain"]
    assert pretrain.parse(words[3:]).data.uri == "s3://my-images/imagenet"


def test_the_image_is_clean_pinned_and_runs_as_nobody_special() -> None:
    text = (CLUSTERS / "Dockerfile").read_text()
    assert checks.dockerfile(text) == []
    assert checks.dockerfile(text.replace("USER 1000\n", "USER root\n"))
    constraints = (ROOT / "constraints.txt").read_text()
    assert "--constraint /wheel/constraints.txt" in text
    ray = re.search(r"^ray==(.*)$", constraints, re.MULTILINE)
    assert ray is not None
    assert load("kuberay-rayjob")["spec"]["rayClusterSpec"]["rayVersion"] == ray[1]
    assert len(set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))) == 1
    # `ray up` reads HOME from the image, to place the files it mounts.
    assert "HOME=/home/ray" in text


def test_the_account_stack_is_sound() -> None:
    stack = (CLUSTERS / "aws-account.yaml").read_text()
    assert checks.cloudformation(stack) == []
    planted = stack.replace("InstanceProfileName:", "InstanceProfilName:")
    assert any("InstanceProfilName" in problem for problem in checks.cloudformation(planted))


def test_the_world_may_not_be_the_caller() -> None:
    text = re.sub(r"!(\w+)", "", (CLUSTERS / "aws-account.yaml").read_text())
    pattern = yaml.safe_load(text)["Parameters"]["CallerCidr"]["AllowedPattern"]
    assert re.fullmatch(pattern, "203.0.113.7/32")
    assert not re.fullmatch(pattern, "0.0.0.0/0")


def test_the_guides_shell_blocks_are_shell() -> None:
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        assert checks.shell(block) == [], block
