"""What `deploy/` renders: the chart and the kustomize base are the same, and Kubernetes takes every object of them.

A real API server is asked, so what counts is its schemas and its validation, not a copy of them.
"""

import json
from functools import partial

import pytest
import yaml

from localcluster import binaries, install
from localcluster.api import CurrentCluster
from localcluster.errors import ClusterError
from tests.support import manifests
from tests.support.apiserver import ApiServer
from tests.support.manifests import CHART, HelmError, Json, by_name, differences, helm, kustomize, template
from tests.support.waiting import wait_until
from wsroute.dataplane.names import TLS_SECRETS

pytestmark = pytest.mark.cluster

IMAGES = {
    install.PROJECT_IMAGE: "registry.example.com/wsroute:1.2.3",
    install.NGINX_IMAGE: "registry.example.com/nginx:2",
}
"""Both are told which images: only the chart names a tag of its own accord."""

BOTH: Json = {"balancer": {"enabled": True}}
"""The values of operator and balancer in one release."""

IMAGE = {"repository": "registry.example.com/wsroute", "tag": "1.2.3"}
NGINX = {"repository": "registry.example.com/nginx", "tag": "2"}

# What people install: the folders for kubectl, the values for Helm.
INSTALLATIONS: dict[str, tuple[list[str], Json]] = {
    "operator": (["deploy/operator"], {"image": IMAGE}),
    "operator and balancer": (
        ["deploy/operator", "deploy/balancer"],
        {"image": IMAGE, "balancer": {"enabled": True, "image": NGINX}},
    ),
    "balancer": (
        ["deploy/balancer"],
        {
            "image": IMAGE,
            "balancer": {"enabled": True, "image": NGINX},
            "operator": {"enabled": False},
            "crds": {"install": False},
        },
    ),
    "operator for a list of namespaces": (
        ["deploy/operator-namespaces"],
        {"image": IMAGE, "watchNamespaces": ["team-a"]},
    ),
}


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_chart_and_base_render_the_same_objects(installation: str) -> None:
    folders, values = INSTALLATIONS[installation]
    base = by_name(kustomize(*folders, images=IMAGES))
    # Helm makes the namespace of a release itself, or takes the one that is there.
    base.pop(("Namespace", "", install.NAMESPACE), None)
    chart = by_name([manifests.without_helm(each) for each in template(values)])
    assert chart.keys() == base.keys()
    told = {name: list(differences(comparable(base[name]), comparable(chart[name]))) for name in base}
    assert {name: lines for name, lines in told.items() if lines} == {}, "base / chart"


def comparable(rendered: Json) -> Json:
    """An object whose rules are the rights that they give, however they are grouped."""
    return {**rendered, "rules": sorted(manifests.rights(rendered))} if "rules" in rendered else rendered


def test_what_only_helm_reads_is_on_every_object_and_on_no_pod() -> None:
    rendered = template(BOTH)
    for each in rendered:
        assert each["metadata"]["labels"].keys() > manifests.HELM_LABELS
        kept = each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        assert kept == (each["kind"] == "CustomResourceDefinition"), "with a definition goes every route"
        if each["kind"] == "Deployment":
            pods = each["spec"]["template"]["metadata"]
            assert manifests.HELM_LABELS.isdisjoint(pods["labels"]), "a new version of the chart would replace the pods"
            assert "annotations" not in pods


@pytest.mark.parametrize("values", [{}, BOTH, {"watchNamespaces": ["team-a"]}], ids=str)
def test_helm_finds_no_fault_with_the_chart(values: Json) -> None:
    told = helm("lint", "--strict", str(CHART), values=values)
    assert "WARNING" not in told
    assert "ERROR" not in told


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"balancer": {"nmae": "x"}}, "additional properties 'nmae' not allowed"),
        ({"watchNamespaces": "team-a"}, "want array"),
        ({"balancer": {"name": "Shared"}}, "does not match pattern"),
        ({"balancer": {"spec": {"deploymentRef": {"name": "mine"}}}}, "at '/balancer/spec'"),
        ({"networkPolicy": {"backends": []}}, "minItems"),
        ({"operator": {"replicas": "2"}}, "want integer"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(values: Json, words: str) -> None:
    with pytest.raises(HelmError) as refused:
        template(values)
    assert words in str(refused.value)


def knows(kubectl: CurrentCluster, plural: str) -> bool:
    """Whether the API server serves a kind: that its definition is established is a promise only."""
    try:
        kubectl.kubectl("get", f"{plural}.wsroute.dev", "--all-namespaces")
    except ClusterError:
        return False
    return True


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> CurrentCluster:
    """The API server with our custom resources and the namespaces that manifests name."""
    kubectl = CurrentCluster(apiserver.kubeconfig(), str(binaries.ensure() / "kubectl"))
    kubectl.kubectl("apply", "--server-side", "-k", str(CHART.parents[2] / "crds"))
    for plural in ("websocketroutes", "websocketbalancers"):
        wait_until(partial(knows, kubectl, plural), f"{plural} are served")
    # They stay, and others may have made them: without controllers nobody empties a namespace that is deleted.
    for name in (install.NAMESPACE, "team-a"):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        kubectl.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(namespace))
    return kubectl


ALL_VALUES: Json = {
    "image": {"repository": "registry.example.com/wsroute", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "operator": {
        "replicas": 3,
        "defaultBalancer": "",
        "resources": {"limits": {"memory": "1Gi"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "system-cluster-critical",
    },
    "balancer": {
        "enabled": True,
        "name": "internal",
        "replicas": 3,
        "image": {"repository": "registry.example.com/nginx", "tag": "2", "pullPolicy": "Always"},
        "serviceAccountName": "internal-agent",
        "spec": {
            "dataPlane": "Static",
            "domain": "ws.example.com",
            "listeners": [
                {"name": "ws", "port": 8080, "protocol": "HTTP"},
                {
                    "name": "wss",
                    "port": 8443,
                    "protocol": "HTTPS",
                    "public": {"scheme": "wss"},
                    "tls": {"certificates": [{"secretName": "wildcard"}]},
                },
            ],
            "allowedRoutes": {"namespaces": {"from": "All", "selector": None}},
        },
        "certificates": ["wildcard"],
        "service": {
            "type": "LoadBalancer",
            "annotations": {"example.com/internal": "true"},
            "externalTrafficPolicy": "Local",
        },
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "terminationGracePeriodSeconds": 3600,
        "sysctls": [],
        "resources": {"requests": {"cpu": "1"}},
        "agent": {"resources": {"requests": {"cpu": "50m"}}, "routeMetrics": True},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "system-cluster-critical",
    },
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "apiServer": {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [16443]},
        "backends": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}],
    },
    "watchNamespaces": ["team-a"],
}


def every_installation() -> dict[str, list[Json]]:
    """Everything that is rendered, by a name for the test's report."""
    rendered: dict[str, list[Json]] = {}
    for title, (folders, values) in INSTALLATIONS.items():
        rendered[f"{title}, kustomize"] = kustomize(*folders, images=IMAGES)
        rendered[f"{title}, Helm"] = template(values)
    rendered["balancer with wss, kustomize"] = kustomize(install.WSS, images=IMAGES)
    return {**rendered, "every value": template(ALL_VALUES)}


def test_kubernetes_takes_every_object(server: CurrentCluster) -> None:
    """With strict checks of fields, so that a misspelt one is found too."""
    for title, rendered in every_installation().items():
        text = yaml.safe_dump_all(rendered)
        options = ["--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"]
        told = server.kubectl("apply", *options, "-f", "-", input=text)
        assert len(told.splitlines()) == len(rendered), title


def test_each_value_is_used() -> None:
    """With other values, each of them stands in what is rendered."""
    rendered = by_name(template(ALL_VALUES))
    operator = rendered["Deployment", "wsroute-system", "wsroute-operator"]["spec"]
    balancer = rendered["Deployment", "wsroute-system", "internal-balancer"]["spec"]
    agent_image = "registry.example.com/wsroute:1.2.3"
    for deployment, key in ((operator, "infra"), (balancer, "edge")):
        pod = deployment["template"]["spec"]
        assert deployment["replicas"] == 3
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert pod["tolerations"][0]["key"] == key
        assert pod["affinity"] == {"podAntiAffinity": {}}
        assert pod["priorityClassName"] == "system-cluster-critical"
        assert {container["imagePullPolicy"] for container in containers(pod)} == {"Always"}
    [told] = operator["template"]["spec"]["containers"]
    assert told["args"] == ["operator", "--watch-namespace", "team-a"], "without a default balancer"
    assert told["resources"]["limits"] == {"memory": "1Gi"}
    pod = balancer["template"]["spec"]
    prepare, nginx, agent = containers(pod)
    assert (prepare["image"], nginx["image"], agent["image"]) == (
        agent_image,
        "registry.example.com/nginx:2",
        agent_image,
    )
    assert nginx["resources"] == {"requests": {"cpu": "1", "memory": "128Mi"}}
    assert prepare["resources"] == agent["resources"]
    assert agent["resources"]["requests"]["cpu"] == "50m"
    assert {"name": "WSROUTE_BALANCER", "value": "internal"} in agent["env"]
    assert {"name": "WSROUTE_ROUTE_METRICS", "value": "true"} in agent["env"]
    assert pod["serviceAccountName"] == "internal-agent"
    [named, own] = rendered["Role", "wsroute-system", "internal-certificates"]["rules"]
    assert named["resourceNames"] == ["wildcard"]
    assert own["resourceNames"] == [f"internal-tls-{number}" for number in range(TLS_SECRETS)]
    assert pod["terminationGracePeriodSeconds"] == 3600
    assert "sysctls" not in pod["securityContext"]
    assert [port["containerPort"] for port in nginx["ports"]] == [8080, 8443, 8081]
    service = rendered["Service", "wsroute-system", "internal-balancer"]
    assert service["metadata"]["annotations"] == {"example.com/internal": "true"}
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(8080, "ws"), (443, "wss")]
    budget = rendered["PodDisruptionBudget", "wsroute-system", "internal-balancer"]
    assert budget["spec"]["maxUnavailable"] == "50%"
    spec = rendered["WebSocketBalancer", "wsroute-system", "internal"]["spec"]
    assert spec["domain"] == "ws.example.com"
    assert spec["allowedRoutes"]["namespaces"] == {"from": "All"}
    assert spec["deploymentRef"] == spec["serviceRef"] == {"name": "internal-balancer"}
    assert manifests.rights(rendered["Role", "wsroute-system", "internal-agent"]) == {
        ("", "configmaps", "list", ""),
        ("", "configmaps", "watch", ""),
        ("", "configmaps", "patch", "internal-agents"),
        *(("", "secrets", verb, name) for verb in ("list", "watch") for name in own["resourceNames"]),
    }
    policy = rendered["NetworkPolicy", "wsroute-system", "internal-balancer"]["spec"]
    assert [port["port"] for port in policy["ingress"][0]["ports"]] == ["ws", "wss", "ready"]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert policy["ingress"][1]["from"] == [monitoring]
    assert policy["egress"][0]["to"] == [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]
    for name in ("internal-balancer", "wsroute-operator"):
        rule = {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [{"port": 16443, "protocol": "TCP"}]}
        assert rule in rendered["NetworkPolicy", "wsroute-system", name]["spec"]["egress"]


def containers(pod: Json) -> list[Json]:
    """All containers of a pod, in the order of starting."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def test_policies_can_be_left_out() -> None:
    kinds = {each["kind"] for each in template({**BOTH, "networkPolicy": {"enabled": False}})}
    assert "NetworkPolicy" not in kinds


@pytest.mark.parametrize("values", [{}, BOTH, ALL_VALUES], ids=["operator", "both", "all"])
def test_the_notes_say_what_to_do_next(values: Json) -> None:
    told = helm("install", "wsroute", str(CHART), "-n", "ws", "--dry-run=client", values=values)
    notes = told.partition("NOTES:\n")[2]
    assert ("--set balancer.enabled=true" in notes) == (not values)
    assert ("kubectl label namespace TEAM wsroute.dev/balancer=shared" in notes) == (values == BOTH)
    assert "kubectl delete crd websocketroutes.wsroute.dev websocketbalancers.wsroute.dev" in notes


def test_argo_cds_settings_get_two_keys_and_keep_their_others(server: CurrentCluster) -> None:
    server.kubectl("create", "namespace", "argocd")
    server.kubectl("-n", "argocd", "create", "configmap", "argocd-cm", "--from-literal=url=https://cd.example.com")
    server.kubectl("apply", "--server-side", "-k", str(CHART.parents[1] / "argocd"))
    data = yaml.safe_load(server.kubectl("-n", "argocd", "get", "configmap", "argocd-cm", "-o", "yaml"))["data"]
    script = (CHART.parents[1] / "argocd" / "health.lua").read_text()
    keys = [f"resource.customizations.health.wsroute.dev_{kind}" for kind in ("WebSocketRoute", "WebSocketBalancer")]
    assert data == {"url": "https://cd.example.com", **dict.fromkeys(keys, script)}


def test_argo_cds_application_gives_the_chart_values_that_it_takes() -> None:
    application = yaml.safe_load((CHART.parents[1] / "argocd" / "application.yaml").read_text())
    values = application["spec"]["source"]["helm"]["valuesObject"]
    assert template(values, namespace=application["spec"]["destination"]["namespace"])
