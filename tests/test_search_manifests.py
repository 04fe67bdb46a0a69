"""The manifests that a user can apply: of the form that Ray and Kubernetes want, and with commands that exist."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from search.files import TRIALS
from search.study.records import STORAGE
from search.words import read_words

MANIFESTS = Path(__file__).parent.parent / "search" / "manifests"
SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
# KubeRay's RayJob (ray.io/v1), the parts that are used here; nothing else may stand in the manifest.
CONTAINER = {
    "type": "object",
    "required": ["name", "image", "resources", "env", "volumeMounts"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "image": {"type": "string"},
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "patternProperties": {"^(limits|requests)$": {"additionalProperties": {"type": "string"}}},
        },
        "env": {
            "items": {
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "value": {"type": "string"},
                    "valueFrom": {
                        "properties": {
                            "secretKeyRef": {
                                "required": ["name", "key"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"const": "wavezoo"},
                                    "key": {"type": "string", "pattern": "^[a-z-]+$"},
                                    "optional": {"type": "boolean"},
                                },
                            }
                        },
                        "additionalProperties": False,
                    },
                },
            }
        },
        "volumeMounts": {"items": {"required": ["name", "mountPath"]}},
    },
}
POD = {
    "required": ["spec"],
    "properties": {
        "spec": {
            "required": ["containers", "volumes"],
            "additionalProperties": False,
            "properties": {"containers": {"minItems": 1, "items": CONTAINER}, "volumes": {"minItems": 1}},
        }
    },
}
START = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_JOB = {
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"required": ["name"]},
        "spec": {
            "required": ["entrypoint", "rayClusterSpec"],
            "additionalProperties": False,
            "properties": {
                "entrypoint": {"type": "string"},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer"},
                "backoffLimit": {"type": "integer"},
                "rayClusterSpec": {
                    "required": ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
                    "additionalProperties": False,
                    "properties": {
                        "rayVersion": {"const": ray.__version__},
                        "authOptions": {"properties": {"mode": {"enum": ["token", "disabled"]}}},
                        "headGroupSpec": {
                            "required": ["rayStartParams", "template"],
                            "additionalProperties": False,
                            "properties": {"rayStartParams": START, "template": POD},
                        },
                        "workerGroupSpecs": {
                            "minItems": 1,
                            "items": {
                                "required": ["groupName", "replicas", "rayStartParams", "template"],
                                "additionalProperties": False,
                                "properties": {
                                    "groupName": {"type": "string"},
                                    "replicas": {"type": "integer"},
                                    "minReplicas": {"type": "integer"},
                                    "maxReplicas": {"type": "integer"},
                                    "rayStartParams": START,
                                    "template": POD,
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((MANIFESTS / name).read_text("utf-8"))


def test_ray_takes_the_cluster_file() -> None:
    jsonschema.validate(manifest("cluster.yaml"), json.loads(SCHEMA.read_text("utf-8")))


def test_kubernetes_takes_the_job() -> None:
    jsonschema.validate(manifest("rayjob.yaml"), RAY_JOB)


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_the_search_in_a_manifest_is_one_that_the_command_line_knows(name: str) -> None:
    (found,) = re.findall(r"search\.run ((?:[a-z_.]+=\S+\s+)+)", (MANIFESTS / name).read_text("utf-8"))
    words = found.replace("'", "").split()
    assert "cluster.address=auto" in words
    settings = read_words([word for word in words if not word.startswith("cluster.address")])
    assert (settings.space, settings.dataset, settings.budget) == ("table2", "mtat", "paper")


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_a_cluster_s_ledger_and_runs_are_a_server_s_by_variables_that_are_read(name: str) -> None:
    text = (MANIFESTS / name).read_text("utf-8")
    read = {STORAGE, TRIALS, "WAVEZOO_HOME", "MLFLOW_TRACKING_URI"}
    assert read <= set(re.findall(r"[A-Z]+(?:_[A-Z]+)+", text))
    assert not set(re.findall(r"WAVEZOO_[A-Z_]+", text)) - read


def test_every_process_of_the_job_knows_where_trials_lie_and_who_may_read_them() -> None:
    spec = manifest("rayjob.yaml")["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        names = {each["name"]: each for each in container["env"]}
        assert {TRIALS, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} <= set(names)
        for name, each in names.items():  # a cluster with a shared volume needs none of them
            if name == TRIALS or name.startswith("AWS_"):
                assert each["valueFrom"]["secretKeyRef"]["optional"] is True


def test_secrets_and_memory_are_left_to_the_cluster() -> None:
    for name in ("cluster.yaml", "rayjob.yaml"):
        text = (MANIFESTS / name).read_text("utf-8")
        assert "RAY_memory_monitor_refresh_ms" in text
        assert not re.search(r"(password|token): *\S", text, re.IGNORECASE)
