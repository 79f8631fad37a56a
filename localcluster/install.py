"""Installs wsroute from `deploy/` on a cluster, with the images that this cluster has."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from localcluster.api import Cluster
from localcluster.errors import ClusterError
from localcluster.images import by_name
from localcluster.paths import REPOSITORY

NAMESPACE = "wsroute-system"
BALANCER = "shared"

WSS = "examples/wss"
"""The folder of the balancer with a listener for wss beside the one for ws."""

CERTIFICATE = "shared-certificate"
"""The Secret that it takes its certificate from, and that the operator may read."""

PROJECT_IMAGE = "wsroute/wsroute"
"""How `deploy/` names the image of operator and agent."""

NGINX_IMAGE = "nginx"
"""How `deploy/` names the stock nginx."""

CHAT_IMAGE = "wsroute/chat"
"""How `examples/chat/manifests` names the chat's image."""


LOCAL_IMAGES = {
    PROJECT_IMAGE: by_name("operator").reference,
    NGINX_IMAGE: by_name("nginx").reference,
    CHAT_IMAGE: by_name("chat").reference,
}
"""What a local cluster has."""


def pulled_images() -> dict[str, str]:
    """What a cluster of somebody else's has to pull, as IMAGE and CHAT_IMAGE name it. Raises ClusterError."""
    named = {PROJECT_IMAGE: os.environ.get("IMAGE", ""), CHAT_IMAGE: os.environ.get("CHAT_IMAGE", "")}
    if not all(named.values()):
        raise ClusterError(
            "Your cluster must be able to pull the images: build them from operator/Dockerfile and "
            "examples/chat/Dockerfile (docs/how-to/images.md), push them, and say IMAGE=… CHAT_IMAGE=… (with tags)."
        )
    return named | ({NGINX_IMAGE: os.environ["NGINX_IMAGE"]} if os.environ.get("NGINX_IMAGE") else {})


class Kubectl(Protocol):
    """What an installation needs of a cluster."""

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60.0) -> str:  # noqa: A002
        """Run kubectl and return its output; raises ClusterError with kubectl's words."""


Patches = Mapping[str, Sequence[Mapping[str, object]]]
"""Operations of JSON Patch on the objects of a kind, by the kind."""


def render(
    cluster: Kubectl,
    *folders: str,
    images: Mapping[str, str],
    namespace: str | None = None,
    patches: Patches | None = None,
) -> str:
    """The manifests of folders of this repository, with other images (name without tag → image with tag)."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch).resolve()
        overlay: dict[str, object] = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(REPOSITORY / folder, base) for folder in folders],
            "images": [
                {"name": name, "newName": image.rpartition(":")[0], "newTag": image.rpartition(":")[2]}
                for name, image in images.items()
            ],
            "patches": [
                {"target": {"kind": kind}, "patch": json.dumps(operations)}
                for kind, operations in (patches or {}).items()
            ],
        }
        if namespace is not None:
            overlay["namespace"] = namespace
        (base / "kustomization.yaml").write_text(json.dumps(overlay), encoding="utf-8")
        return cluster.kubectl("kustomize", str(base))


def apply(cluster: Kubectl, manifests: str) -> None:
    """Server-side apply, as the README does it."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=manifests)


def install_operator(cluster: Kubectl, images: Mapping[str, str]) -> None:
    """The custom resources, the operator and its rights; returns when the API server serves the new kinds."""
    apply(cluster, render(cluster, "deploy/operator", images=images))
    for plural in ("websocketroutes", "websocketbalancers"):
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{plural}.wsroute.dev")


def install_balancer(
    cluster: Kubectl, images: Mapping[str, str], folder: str = "deploy/balancer", patches: Patches | None = None
) -> None:
    """The shared balancer."""
    apply(cluster, render(cluster, folder, images=images, patches=patches))


def wait_until_ready(cluster: Kubectl) -> None:
    """Until operator and balancer have all their replicas ready."""
    for deployment in ("wsroute-operator", f"{BALANCER}-balancer"):
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{deployment}", "--timeout=180s", timeout=200)


def set_reload(cluster: Kubectl, **terms: object) -> None:
    """Change the reload budget of the balancer: fields of its ``spec.reload``."""
    patch = json.dumps({"spec": {"reload": terms}})
    cluster.kubectl("-n", NAMESPACE, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)


def set_data_plane(cluster: Kubectl, plane: str) -> None:
    """Change the data plane of the balancer: Static or Dynamic."""
    patch = json.dumps({"spec": {"dataPlane": plane}})
    cluster.kubectl("-n", NAMESPACE, "patch", "wsb", BALANCER, "--type=merge", "-p", patch)


def set_grace_period(cluster: Kubectl, seconds: int) -> None:
    """Change the grace period of the balancer's pods, in both places, and wait until all pods have it."""
    nginx = {"name": "nginx", "env": [{"name": "WSROUTE_GRACE_PERIOD", "value": str(seconds)}]}
    pod = {"terminationGracePeriodSeconds": seconds, "containers": [nginx]}
    patch = json.dumps({"spec": {"template": {"spec": pod}}})
    cluster.kubectl("-n", NAMESPACE, "patch", f"deployment/{BALANCER}-balancer", "--type=strategic", "-p", patch)
    wait_until_ready(cluster)


UNBUDGETED: Mapping[str, object] = {"minInterval": "0s", "maxDrainingGenerations": 64}
"""What tests and benchmarks set that are about something else, and change things in quick succession."""


def unburden(cluster: Kubectl, data_plane: str) -> None:
    """Give the balancer, as it was just applied, a data plane and no budget; return when it is ready."""
    set_reload(cluster, **UNBUDGETED)
    set_data_plane(cluster, data_plane)
    wait_until_ready(cluster)


def install_locally(cluster: Cluster, folder: str = "deploy/balancer", patches: Patches | None = None) -> None:
    """Both on a local cluster, with images of the work tree as it is now; pods that run older ones are replaced."""
    imported = set(cluster.load_images())
    before = cluster.kubectl("-n", NAMESPACE, "get", "deployments", "--ignore-not-found", "-o", "name").split()
    install_operator(cluster, LOCAL_IMAGES)
    install_balancer(cluster, LOCAL_IMAGES, folder, patches)
    # The images' tag is always the same, so a Deployment does not notice that there is a new one.
    for name, images in (("wsroute-operator", {"operator"}), (f"{BALANCER}-balancer", {"operator", "nginx"})):
        if f"deployment.apps/{name}" in before and images & imported:
            cluster.kubectl("-n", NAMESPACE, "rollout", "restart", f"deployment/{name}")
