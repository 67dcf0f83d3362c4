"""What each kind of file in clusters/ is checked against, offline. A check returns its complaints, [] for none."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import kubernetes.client
import ray
import yaml
from botocore.validate import ParamValidator
from cfnlint.api import ManualArgs, lint
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
RAY_UP = ("aws", "gcp", "azure", "local")
SHELL_LISTS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


def load(name: str) -> dict[str, Any]:
    """A file of clusters/ as plain dicts, none of them shared between its users."""
    return copy.deepcopy(yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text()))


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` sees it, by Ray's own functions; raises where Ray would refuse it."""
    config = prepare_config(config)
    validate_config(config)
    return config


def run_instances(node_config: dict[str, Any]) -> list[str]:
    """A node_config of AWS against botocore's model of RunInstances, unknown names included."""
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    # Ray fills these in.
    given = {**node_config, "MinCount": 1, "MaxCount": 1}
    report = ParamValidator().validate(given, shape)
    return [report.generate_report()] if report.has_errors() else []


def compute_instance(node_config: dict[str, Any]) -> list[str]:
    """A node_config of Google Cloud against the discovery document of Compute Engine that its client library ships."""
    import googleapiclient.discovery_cache

    folder = Path(googleapiclient.discovery_cache.__file__).parent / "documents"
    schemas = json.loads((folder / "compute.v1.json").read_text())["schemas"]
    return _discovery(node_config, {"$ref": "Instance"}, schemas, "node_config")


def _discovery(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> list[str]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema["type"]
    if kind == "array":
        if not isinstance(value, list):
            return [f"{where}: must be a list"]
        return [e for i, item in enumerate(value) for e in _discovery(item, schema["items"], schemas, f"{where}[{i}]")]
    if kind == "object":
        if not isinstance(value, dict):
            return [f"{where}: must be a mapping"]
        problems = []
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            problems += _discovery(item, inner, schemas, f"{where}.{name}") if inner else [f"{where}.{name}: unknown"]
        return problems
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    fits = {"string": (str, int), "boolean": bool, "integer": int, "number": (int, float)}[kind]
    return [] if isinstance(value, fits) else [f"{where}: {value!r} is no {kind}"]


def arm_parameters(node_config: dict[str, Any]) -> list[str]:
    """A node_config of Azure against the template that Ray deploys with it."""
    template = Path(ray.__file__).parent / "autoscaler/_private/_azure/azure-vm-template.json"
    known = json.loads(template.read_text())["parameters"]
    kinds = {"string": str, "int": int, "bool": bool, "object": dict, "array": list, "securestring": str}
    problems = [f"node_config.{name}: unknown" for name in node_config if name not in ("azure_arm_parameters", "tags")]
    for name, value in node_config["azure_arm_parameters"].items():
        if name == "availability_zone":  # Ray's own, taken out before the template sees it
            continue
        if name not in known:
            problems.append(f"azure_arm_parameters.{name}: unknown")
        elif not isinstance(value, kinds[known[name]["type"].lower()]):
            problems.append(f"azure_arm_parameters.{name}: {value!r} is no {known[name]['type']}")
    return problems


# Written by hand after the field list of KubeRay's own CRD (ray.io/v1): the fields of RayJob and RayCluster, without
# the pod templates.
_COUNT = {"type": "integer", "minimum": 0}
_START = {"type": "object", "additionalProperties": {"type": "string"}}
_TEMPLATE = {"type": "object", "required": ["spec"]}
_GROUP = {
    "type": "object",
    "required": ["groupName", "minReplicas", "maxReplicas", "template"],
    "additionalProperties": False,
    "properties": {
        "groupName": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
        "replicas": _COUNT,
        "minReplicas": _COUNT,
        "maxReplicas": _COUNT,
        "numOfHosts": _COUNT,
        "idleTimeoutSeconds": _COUNT,
        "priority": _COUNT,
        "suspend": {"type": "boolean"},
        "labels": _START,
        "resources": _START,
        "rayStartParams": _START,
        "template": _TEMPLATE,
    },
}
_CLUSTER = {
    "type": "object",
    "required": ["headGroupSpec"],
    "additionalProperties": False,
    "properties": {
        "rayVersion": {"type": "string"},
        "authOptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"mode": {"enum": ["token", "disabled"]}, "secretName": {"type": "string"}},
        },
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": _COUNT,
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                "image": {"type": "string"},
                "resources": {"type": "object"},
            },
        },
        "headGroupSpec": {
            "type": "object",
            "required": ["template"],
            "additionalProperties": False,
            "properties": {
                "rayStartParams": _START,
                "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                "template": _TEMPLATE,
            },
        },
        "workerGroupSpecs": {"type": "array", "items": _GROUP},
    },
}
RAYJOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["entrypoint", "rayClusterSpec"],
            "additionalProperties": False,
            "properties": {
                "entrypoint": {"type": "string"},
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
                "backoffLimit": _COUNT,
                "activeDeadlineSeconds": _COUNT,
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": _COUNT,
                "suspend": {"type": "boolean"},
                "runtimeEnvYAML": {"type": "string"},
                "rayClusterSpec": _CLUSTER,
            },
        },
    },
}


def rayjob(manifest: dict[str, Any]) -> list[str]:
    """A RayJob against the schema above, its metadata and pods against the models of the Kubernetes client."""
    found = jsonschema.Draft202012Validator(RAYJOB).iter_errors(manifest)
    problems = [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
    if problems:
        return problems
    problems = _model(manifest["metadata"], "V1ObjectMeta", "metadata")
    cluster = manifest["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        problems += _model(group["template"], "V1PodTemplateSpec", group.get("groupName", "head"))
    return problems


def _model(value: Any, kind: str, where: str) -> list[str]:
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            return [f"{where}: must be a list"]
        return [e for i, item in enumerate(value) for e in _model(item, match[1], f"{where}[{i}]")]
    if match := re.fullmatch(r"dict\(str, (.*)\)", kind):
        if not isinstance(value, dict):
            return [f"{where}: must be a mapping"]
        return [e for name, item in value.items() for e in _model(item, match[1], f"{where}.{name}")]
    plain = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object, "datetime": str}
    if kind in plain:
        return [] if isinstance(value, plain[kind]) else [f"{where}: {value!r} is no {kind}"]
    model = getattr(kubernetes.client, kind)
    if not isinstance(value, dict):
        return [f"{where}: must be a mapping"]
    kinds = {json_name: model.openapi_types[name] for name, json_name in model.attribute_map.items()}
    problems = []
    for name, item in value.items():
        problems += _model(item, kinds[name], f"{where}.{name}") if name in kinds else [f"{where}.{name}: unknown"]
    try:
        model(**{name: value.get(json_name) for name, json_name in model.attribute_map.items()})
    except ValueError as error:  # a required field that is missing
        problems.append(f"{where}: {error}")
    return problems


def shell(script: str) -> list[str]:
    """A shell script through `bash -n` and shellcheck."""
    parsed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    command = [_tool("shellcheck"), "--shell", "bash", "--severity", "warning", "-"]
    linted = subprocess.run(command, input=script, capture_output=True, text=True)
    return [text for text in (parsed.stderr, linted.stdout) if text.strip()]


def dockerfile(text: str) -> list[str]:
    """A Dockerfile through hadolint, hints included."""
    done = subprocess.run([_tool("hadolint"), "--no-color", "-"], input=text, capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def cloudformation(template: str) -> list[str]:
    """A template through cfn-lint, with the resource schemas that it ships."""
    return [str(match) for match in lint(template, config=ManualArgs(regions=["us-west-2"]))]


def _tool(name: str) -> str:
    """A program that the extra `test` installs beside Python."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise RuntimeError(f"{name} is missing beside {sys.executable}: pip install -e '.[test]'")
    return str(path)


def commands(config: dict[str, Any]) -> list[str]:
    """The shell commands of a file for `ray up`."""
    return [command for section in SHELL_LISTS for command in config.get(section, [])]
