"""The local cluster itself, from its start to nothing left, in a cluster of its own."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from localcluster import api, cgroups, lifecycle, netns, state
from localcluster.errors import ClusterError
from localcluster.processes import alive, end, identify
from tests.support.stack import to_json
from tests.support.waiting import Stopwatch, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.local_cluster]

NAME = "smoke"
LABELS = {"app": "web"}
MANIFEST = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "web", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "web"},
            "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": LABELS},
                "template": {
                    "metadata": {"labels": LABELS},
                    "spec": {
                        "securityContext": {
                            "runAsNonRoot": True,
                            "runAsUser": 101,
                            "fsGroup": 2000,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [
                            {
                                "name": "nginx",
                                "image": "localhost/wsroute/nginx:dev",
                                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "readOnlyRootFilesystem": True,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                            }
                        ],
                        "volumes": [{"name": "tmp", "emptyDir": {}}],
                    },
                },
            },
        },
    ],
}


@pytest.fixture(scope="module")
def smoke() -> Iterator[api.Cluster]:
    """A cluster that was not there before."""
    api.down(NAME)
    cluster = api.up(NAME, images=["nginx"])
    yield cluster
    api.down(NAME)


@pytest.fixture(scope="module")
def web(smoke: api.Cluster) -> api.Cluster:
    """Two nginx pods behind a Service, in a namespace with restricted Pod Security."""
    smoke.kubectl("apply", "-f", "-", input=to_json(MANIFEST))
    smoke.kubectl("-n", "web", "rollout", "status", "deployment/web", "--timeout=180s", timeout=200)
    wait_for_service(smoke)
    return smoke


def pods(cluster: api.Cluster) -> dict[str, str]:
    """The pods' names with their addresses."""
    listed = json.loads(cluster.kubectl("-n", "web", "get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {item["metadata"]["name"]: item["status"].get("podIP", "") for item in listed}


def page(cluster: api.Cluster, host: str, port: int) -> str:
    """The body of the page that answers there: the name of the pod."""
    with cluster.open_connection(host, port) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return answer.read().decode().rpartition("\r\n\r\n")[2].strip()


def service_address(cluster: api.Cluster) -> str:
    """The Service's address."""
    return cluster.kubectl("-n", "web", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")


def wait_for_service(cluster: api.Cluster) -> None:
    """Waits until the Service leads to exactly the pods that there are: kube-proxy comes a moment later."""
    address = service_address(cluster)

    def settled() -> bool:
        try:
            return {page(cluster, address, 80) for _ in range(20)} == set(pods(cluster))
        except OSError:
            return False

    wait_until(settled, "both pods answer behind the Service", seconds=30)


def test_a_healthy_cluster_is_left_alone(smoke: api.Cluster) -> None:
    watch = Stopwatch()
    assert api.up(NAME) == smoke
    assert not watch.is_over(2)
    assert api.is_up(NAME)
    assert NAME in api.names()
    assert json.loads(smoke.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"].startswith("v1.")


def test_pods_and_services_answer(web: api.Cluster) -> None:
    found = pods(web)
    assert len(found) == 2
    for name, address in found.items():
        assert page(web, address, 8080) == name
    service = service_address(web)
    assert {page(web, service, 80) for _ in range(40)} == set(found)


def test_a_pod_reaches_a_service_and_the_api_with_its_token(web: api.Cluster) -> None:
    script = (
        "import os, ssl, urllib.request as u; f = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "print(u.urlopen('http://' + os.environ['WEB_SERVICE_HOST'], timeout=30).read().decode().strip())\n"
        "r = u.Request('https://' + os.environ['KUBERNETES_SERVICE_HOST'] + '/apis',"
        " headers={'Authorization': 'Bearer ' + open(f + 'token').read()})\n"
        "print(u.urlopen(r, context=ssl.create_default_context(cafile=f + 'ca.crt'), timeout=30).status)\n"
    )
    first = next(iter(pods(web)))
    output = web.kubectl("-n", "web", "exec", first, "--", "python3", "-c", script).split()
    assert output[0] in pods(web)
    assert output[1] == "200"


def test_exec_logs_and_the_shared_volume(web: api.Cluster) -> None:
    first = next(iter(pods(web)))
    assert web.kubectl("-n", "web", "exec", first, "--", "id", "-G").split() == ["101", "2000"]
    assert web.kubectl("-n", "web", "exec", first, "--", "stat", "-c", "%g %A", "/tmp").split() == [
        "2000",
        "drwxrwsrwx",
    ]
    assert "start worker process" in web.kubectl("-n", "web", "logs", first)
    with pytest.raises(ClusterError, match="exit code 7"):
        web.kubectl("-n", "web", "exec", first, "--", "sh", "-c", "exit 7")


def test_restricted_namespaces_refuse_what_is_not(web: api.Cluster) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        web.kubectl("-n", "web", "run", "root", "--image=localhost/wsroute/nginx:dev")


def test_a_restart_replaces_both_pods(web: api.Cluster) -> None:
    before = pods(web)
    web.kubectl("-n", "web", "rollout", "restart", "deployment/web")
    web.kubectl("-n", "web", "rollout", "status", "deployment/web", "--timeout=180s", timeout=200)
    wait_until(lambda: len(found := pods(web)) == 2 and not found.keys() & before.keys(), "only new pods", seconds=30)
    wait_for_service(web)


def test_a_relay_reaches_the_service_from_the_host(web: api.Cluster) -> None:
    service = service_address(web)
    listen = web.relay(f"{service}:80")
    assert web.relay(f"{service}:80") == listen
    done = subprocess.run(
        [
            "python3",
            "-c",
            f"import urllib.request as u; print(u.urlopen('http://{listen}', timeout=30).read().decode())",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in pods(web)
    web.stop_relay(listen)
    current = state.load(web.paths.state_file)
    assert current is not None
    assert current.relays == ()


def test_a_command_runs_inside(web: api.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert web.execute(["kubectl", "-n", "web", "get", "pods", "-o", "name"]) == 0
    assert len(capfd.readouterr().out.split()) == 2
    assert web.execute(["sh", "-c", "exit 5"]) == 5


def test_connections_are_cheap(web: api.Cluster) -> None:
    address = next(iter(pods(web).values()))
    watch = Stopwatch()
    for _ in range(500):
        web.open_connection(address, 8080).close()
    assert not watch.is_over(500 * 0.005)


def test_a_program_that_dies_is_started_again(web: api.Cluster) -> None:
    current = state.load(web.paths.state_file)
    assert current is not None
    assert current.init is not None
    children = Path(f"/proc/{current.init.pid}/task/{current.init.pid}/children").read_text().split()
    (pid,) = [int(child) for child in children if "kube-scheduler" in Path(f"/proc/{child}/cmdline").read_text()]
    process = identify(pid)
    assert process is not None
    starts = scheduler(web)["starts"]  # on a busy machine it may have lost its lease, and ended by itself
    end(process)

    def restarted() -> bool:
        return bool(scheduler(web)["running"]) and scheduler(web)["starts"] > starts

    wait_until(restarted, "the scheduler runs again", seconds=30)


def scheduler(cluster: api.Cluster) -> Mapping[str, Any]:
    """What the supervisor says of it."""
    found: Mapping[str, Any] = state.load_mapping(cluster.paths.components_file)["kube-scheduler"]
    return found


def test_nothing_is_left_of_a_crash_or_of_a_stop(web: api.Cluster) -> None:
    first = state.load(web.paths.state_file)
    assert first is not None
    assert first.init is not None
    end(first.init)
    assert not api.is_up(NAME)

    again = api.up(NAME, images=["nginx"])
    second = state.load(again.paths.state_file)
    assert second is not None
    assert second.init is not None
    assert second.namespace != first.namespace
    assert not netns.path_of(first.namespace).exists()
    again.open_connection("10.96.0.1", 443).close()

    watch = Stopwatch()
    again.down()
    assert not watch.is_over(10)
    assert not alive(second.init)
    assert not lifecycle.leftovers(again.paths)
    assert cgroups.leftovers(again.paths.namespace_prefix) == []
    assert str(again.paths.root) not in Path("/proc/self/mountinfo").read_text()
    remaining = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _mentions(path, str(again.paths.root))]
    assert remaining == []
    with pytest.raises(ClusterError, match="is not up"):
        api.get(NAME)


def _mentions(cmdline: Path, text: str) -> bool:
    try:
        return text in cmdline.read_text(errors="replace")
    except OSError:
        return False
