"""`ray up` on AWS up to running instances, against moto's server: what was made is asked back and inspected."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from ray.autoscaler._private.aws import utils as ray_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.tags import (
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tests.clusters.checks import CLUSTERS, load, prepared

REGION = "us-west-2"
OTHER_GPUS = {"g5.2xlarge": 1, "p4d.24xlarge": 8, "p5.48xlarge": 8}


@dataclass(frozen=True)
class Account:
    """A pretended AWS account with the stack of aws-account.yaml and one node of each kind that Ray made."""

    outputs: dict[str, str]
    config: dict[str, Any]
    nodes: dict[str, dict[str, Any]]

    def group(self) -> dict[str, Any]:
        ids = [self.outputs["SecurityGroupId"]]
        return boto3.client("ec2").describe_security_groups(GroupIds=ids)["SecurityGroups"][0]


def deploy_stack() -> dict[str, str]:
    ec2, cloudformation = boto3.client("ec2"), boto3.client("cloudformation")
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    given = {"VpcId": vpc["VpcId"], "CallerCidr": "203.0.113.7/32", "DataBucket": "images", "RunsBucket": "runs"}
    cloudformation.create_stack(
        StackName="swav-ray",
        TemplateBody=(CLUSTERS / "aws-account.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (stack,) = cloudformation.describe_stacks(StackName="swav-ray")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def edited(outputs: dict[str, str]) -> dict[str, Any]:
    """aws.yaml with the two ids that the guide says to edit."""
    image = boto3.client("ec2").describe_images()["Images"][0]["ImageId"]
    text = (CLUSTERS / "aws.yaml").read_text()
    before = load("aws")["metadata"]
    text = text.replace(before["security_group"], outputs["SecurityGroupId"]).replace(before["ami"], image)
    return dict(yaml.safe_load(text))


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray keeps the key pair there
        for cache in (ray_aws.resource_cache, ray_aws.client_cache):
            cache.cache_clear()
        try:
            outputs = deploy_stack()
            config = AWSNodeProvider.bootstrap_config(prepared(edited(outputs)))
            kinds = config["available_node_types"]
            for instance in OTHER_GPUS:
                kinds[instance] = {**kinds["gpu"], "node_config": {**kinds["gpu"]["node_config"]}}
                kinds[instance]["node_config"]["InstanceType"] = instance
            config = AWSNodeProvider.fillout_available_node_types_resources(config)
            yield Account(outputs, config, {kind: create(config, kind) for kind in ("head", "gpu", "crops")})
        finally:
            for cache in (ray_aws.resource_cache, ray_aws.client_cache):
                cache.cache_clear()
            server.stop()


def create(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """One node as the autoscaler starts it, as EC2 then describes it."""
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    tags = {
        TAG_RAY_NODE_KIND: "head" if kind == "head" else "worker",
        TAG_RAY_USER_NODE_TYPE: kind,
        TAG_RAY_NODE_NAME: f"ray-swav-ray-{kind}",
        TAG_RAY_NODE_STATUS: "uninitialized",
        TAG_RAY_LAUNCH_CONFIG: "0",
    }
    (made,) = provider.create_node(config["available_node_types"][kind]["node_config"], tags, 1)
    (reservation,) = boto3.client("ec2").describe_instances(InstanceIds=[made])["Reservations"]
    return dict(reservation["Instances"][0])


def test_workers_are_spot_and_the_head_is_not(account: Account) -> None:
    assert {kind: node.get("InstanceLifecycle") for kind, node in account.nodes.items()} == {
        "head": None,
        "gpu": "spot",
        "crops": "spot",
    }


def test_every_node_has_its_own_profile(account: Account) -> None:
    profiles = {kind: node["IamInstanceProfile"]["Arn"].rpartition("/")[2] for kind, node in account.nodes.items()}
    assert profiles == {"head": "swav-ray-head", "gpu": "swav-ray-worker", "crops": "swav-ray-worker"}


def test_metadata_is_answered_by_token_only(account: Account) -> None:
    for node in account.nodes.values():
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["MetadataOptions"]["HttpPutResponseHopLimit"] == 1


def test_every_node_sits_in_the_one_group_and_ray_made_no_other(account: Account) -> None:
    for node in account.nodes.values():
        assert [group["GroupId"] for group in node["SecurityGroups"]] == [account.outputs["SecurityGroupId"]]
    names = {group["GroupName"] for group in boto3.client("ec2").describe_security_groups()["SecurityGroups"]}
    assert not any("ray-autoscaler" in name for name in names)


def test_nothing_is_open_to_the_world(account: Account) -> None:
    rules = account.group()["IpPermissions"]
    from_addresses = [
        (rule.get("FromPort"), span["CidrIp"]) for rule in rules for span in [*rule["IpRanges"], *rule["Ipv6Ranges"]]
    ]
    assert from_addresses == [(22, "203.0.113.7/32")]
    inside = [pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]]
    assert inside == [account.outputs["SecurityGroupId"]]


def test_workers_may_use_the_two_buckets_and_nothing_else(account: Account) -> None:
    iam = boto3.client("iam")
    assert iam.list_role_policies(RoleName="swav-ray-worker")["PolicyNames"] == []
    (attached,) = iam.list_attached_role_policies(RoleName="swav-ray-worker")["AttachedPolicies"]
    version = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=version)["PolicyVersion"]["Document"]
    writes = set()
    for statement in document["Statement"]:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        assert all(re.fullmatch(r"arn:aws:s3:::(images|runs)(/\*)?", resource) for resource in resources)
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert all(action.startswith("s3:") and "*" not in action for action in actions)
        if any(re.match("s3:(Put|Delete)", action) for action in actions):
            writes |= set(resources)
    assert writes == {"arn:aws:s3:::runs/*"}


def test_the_head_may_pass_on_the_workers_role_only(account: Account) -> None:
    document = boto3.client("iam").get_role_policy(RoleName="swav-ray-head", PolicyName="autoscaler")["PolicyDocument"]
    if isinstance(document, str):  # moto keeps the text of the dict that the template made
        document = ast.literal_eval(document)
    statements = {statement["Sid"]: statement for statement in document["Statement"]}
    assert statements["GiveWorkersTheirRole"]["Resource"].endswith(":role/swav-ray-worker")
    assert statements["EndAndTagItsOwn"]["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ray-cluster-name": account.config["cluster_name"]}
    }
    assert not any(
        action.endswith("*") for action in re.findall(r'"((?:ec2|iam):[^"]+)"', json.dumps(document["Statement"]))
    )
    for node in account.nodes.values():
        tags = {tag["Key"]: tag["Value"] for tag in node["Tags"]}
        assert tags["ray-cluster-name"] == account.config["cluster_name"]
        assert tags["Project"] == "swav_ray"


def test_several_zones_are_tried_and_disks_are_encrypted(account: Account) -> None:
    ec2 = boto3.client("ec2")
    for kind, node in account.config["available_node_types"].items():
        subnets = ec2.describe_subnets(SubnetIds=node["node_config"]["SubnetIds"])["Subnets"]
        assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 4, kind
    volumes = [mapping["Ebs"]["VolumeId"] for node in account.nodes.values() for mapping in node["BlockDeviceMappings"]]
    for volume in ec2.describe_volumes(VolumeIds=volumes)["Volumes"]:
        assert volume["Encrypted"]
        assert volume["Size"] == 150


def test_the_autoscaler_knows_what_each_node_brings(account: Account) -> None:
    kinds = account.config["available_node_types"]
    assert (kinds["gpu"]["resources"]["CPU"], kinds["gpu"]["resources"]["GPU"]) == (8, 1)
    assert kinds["crops"]["resources"]["CPU"] == 32
    assert "GPU" not in kinds["crops"]["resources"]
    assert kinds["head"]["resources"]["CPU"] == 0


def test_a_forgotten_security_group_ends_with_a_message(account: Account) -> None:
    """Instead of a group that Ray would open to the world."""
    config = prepared(load("aws"))
    with pytest.raises((AssertionError, SystemExit)):
        AWSNodeProvider.bootstrap_config(config)


@pytest.mark.parametrize(("instance", "gpus"), OTHER_GPUS.items())
def test_the_other_gpus_are_one_edit_away(account: Account, instance: str, gpus: int) -> None:
    assert instance in (CLUSTERS / "aws.yaml").read_text()
    assert account.config["available_node_types"][instance]["resources"]["GPU"] == gpus
