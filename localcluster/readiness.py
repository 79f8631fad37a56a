"""Whether a cluster serves: a few reads of its API, without kubectl."""

import base64
import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcluster import netns, state
from localcluster.config import SERVICE_ADDRESS
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths
from localcluster.processes import ProcessId, alive, tail

_POLL_SECONDS = 0.05
_TOO_MANY_STARTS = 6


@dataclass(frozen=True, slots=True)
class Api:
    """The API server at `port` of the host's loopback, read with the administrator's token."""

    port: int
    token: str
    authority: str

    def get(self, path: str) -> tuple[int, bytes]:
        """The status and body of a GET; status 0 when there is no answer."""
        context = ssl.create_default_context(cadata=self.authority)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def get_object(self, path: str) -> dict[str, Any] | None:
        """The object at `path`; None when the answer is anything but 200."""
        status, body = self.get(path)
        if status != http.HTTPStatus.OK:
            return None
        found = json.loads(body)
        return found if isinstance(found, dict) else None


def from_kubeconfig(paths: ClusterPaths) -> Api:
    """The API as the host's kubeconfig of a cluster describes it."""
    raw = json.loads(paths.kubeconfig.read_text())
    cluster = raw["clusters"][0]["cluster"]
    return Api(
        port=int(cluster["server"].rpartition(":")[2]),
        token=raw["users"][0]["user"]["token"],
        authority=base64.b64decode(cluster["certificate-authority-data"]).decode(),
    )


def node_is_ready(node: dict[str, Any]) -> bool:
    """Whether a Node is Ready and takes pods (no taint left from its start)."""
    conditions = {entry["type"]: entry["status"] for entry in node.get("status", {}).get("conditions") or ()}
    return conditions.get("Ready") == "True" and not node.get("spec", {}).get("taints")


def missing(api: Api, *, node: str) -> str:
    """What is not there yet for pods to run, in a few words; "" when all is there."""
    if api.get("/readyz")[0] != http.HTTPStatus.OK:
        return "the API server is not ready"
    found = api.get_object(f"/api/v1/nodes/{node}")
    if found is None or not node_is_ready(found):
        return "the node is not ready"
    if api.get_object("/api/v1/namespaces/default/serviceaccounts/default") is None:
        return "the default service account is missing"
    if api.get_object("/api/v1/namespaces/default/configmaps/kube-root-ca.crt") is None:
        return "the configmap kube-root-ca.crt is missing"
    return ""


def _proxy_serves(namespace: str) -> bool:
    """Whether kube-proxy has written its rules: the `kubernetes` Service answers inside."""
    try:
        netns.open_connection(netns.path_of(namespace), SERVICE_ADDRESS, 443, timeout=1.0).close()
    except OSError:
        return False
    return True


def wait(paths: ClusterPaths, *, api: Api, node: str, namespace: str, init: ProcessId, timeout: float) -> None:
    """Waits until pods can run; raises ClusterError with the reason, and the log that tells more, when they can't."""
    deadline = time.monotonic() + timeout
    reason = _await(lambda: missing(api, node=node), paths, init=init, deadline=deadline)
    reason = reason or _await(
        lambda: "" if _proxy_serves(namespace) else "kube-proxy has not written its rules",
        paths,
        init=init,
        deadline=deadline,
    )
    if reason:
        raise ClusterError(f"After {timeout:.0f} s {reason}. The components' logs are in {paths.logs}.")


def wait_for_containerd(paths: ClusterPaths, *, init: ProcessId) -> None:
    """Waits until containerd takes connections."""

    def missing_now() -> str:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(paths.containerd_socket))
            return ""
        return "containerd does not answer"

    if reason := _await(missing_now, paths, init=init, deadline=time.monotonic() + 30):
        raise ClusterError(f"After 30 s {reason}. Its log is {paths.logs / 'containerd.log'}.")


def _await(missing_now: Callable[[], str], paths: ClusterPaths, *, init: ProcessId, deadline: float) -> str:
    while (reason := missing_now()) and time.monotonic() < deadline:
        if not alive(init):
            raise ClusterError(f"The cluster's supervisor ended: {tail(paths.logs / 'supervisor.log')}")
        for name, status in state.load_mapping(paths.components_file).items():
            if status["starts"] >= _TOO_MANY_STARTS:
                log = paths.logs / f"{name}.log"
                raise ClusterError(f"{name} ends again and again ({status['last_exit']}). {log} ends with: {tail(log)}")
        time.sleep(_POLL_SECONDS)
    return reason


def healthy(paths: ClusterPaths, current: state.ClusterState | None) -> bool:
    """Whether a complete run of the cluster is up and answers now."""
    if current is None or not current.complete or current.init is None or not alive(current.init):
        return False
    return not missing(from_kubeconfig(paths), node=f"wsroute-{paths.name}")
