"""Manifests as people install them: rendered by kubectl or Helm, and told apart object by object."""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from localcluster import binaries, install
from localcluster.api import CurrentCluster
from localcluster.paths import REPOSITORY
from localcluster.processes import scrubbed_environment

Json = dict[str, Any]
Name = tuple[str, str, str]
"""Kind, namespace (empty for kinds that have none) and name."""

CHART = REPOSITORY / "deploy" / "helm" / "wsroute"

HELM_LABELS = frozenset(
    {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
)
"""The labels that say which release of which chart an object belongs to."""


class HelmError(Exception):
    """helm failed; the text is what it said."""


def helm(*arguments: str, values: Json | None = None, kubeconfig: Path | None = None, timeout: float = 300.0) -> str:
    """helm's output; ``values`` are for the commands that take some. Without a kubeconfig it finds no cluster."""
    environment = {**scrubbed_environment(), "KUBECONFIG": str(kubeconfig or "/nowhere")}
    command: list[str | Path] = [binaries.ensure_helm(), *arguments, *([] if values is None else ["--values", "-"])]
    done = subprocess.run(
        command, env=environment, input=json.dumps(values), text=True, capture_output=True, timeout=timeout
    )
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout


def template(values: Json | None = None, *, namespace: str = install.NAMESPACE) -> list[Json]:
    """What the chart renders for a namespace; without one, for that of the kustomize base."""
    return objects(helm("template", "wsroute", str(CHART), "--namespace", namespace, values=values))


def kustomize(*folders: str, images: Mapping[str, str]) -> list[Json]:
    """What folders of this repository render, with other images."""
    kubectl = CurrentCluster(Path("/nowhere"), str(binaries.ensure() / "kubectl"))
    return objects(install.render(kubectl, *folders, images=images))


def objects(text: str) -> list[Json]:
    """The objects of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def by_name(rendered: Sequence[Json]) -> dict[Name, Json]:
    """Objects by what they are called; none may be there twice."""
    named = {name_of(each): each for each in rendered}
    assert len(named) == len(rendered), "an object is rendered twice"
    return named


def name_of(rendered: Json) -> Name:
    """What an object is called."""
    metadata = rendered["metadata"]
    return rendered["kind"], metadata.get("namespace", ""), metadata["name"]


def without_helm(rendered: Json) -> Json:
    """An object of a chart without the labels and the annotation that only Helm reads."""
    metadata = dict(rendered["metadata"])
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key not in HELM_LABELS}
    annotations = dict(metadata.pop("annotations", {}))
    annotations.pop("helm.sh/resource-policy", None)
    return {**rendered, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


def rights(role: Json) -> set[tuple[str, str, str, str]]:
    """What a Role or ClusterRole gives: API group, resource, verb, and the object's name or an empty text."""
    return {
        right
        for rule in role["rules"]
        for right in itertools.product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames") or [""]
        )
    }


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Each place where two objects differ, as `spec.replicas: 2 / 3`."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}".removeprefix("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif one != other:
        yield f"{path}: {one!r} / {other!r}"
