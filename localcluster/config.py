"""What the components are told: command lines and configuration files, as a pure function of the cluster's paths.

All addresses live inside the cluster's own network namespace, so that every cluster uses the same ones.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcluster.paths import ClusterPaths

NODE_ADDRESS = "10.88.0.1"
NODE_LINK = "node0"
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
"""The `kubernetes` Service: the first address of SERVICE_RANGE."""
API_PORT = 6443
CNI_BINARIES = Path("/usr/lib/cni")
PAUSE_IMAGE = "localhost/wsroute/pause:dev"

ADMIN = "wsroute-admin"
USERS = {
    ADMIN: "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
}
"""Users of the token file with their group; the node's user comes from :func:`node_user`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the configuration is made from.

    `cgroup` is the absolute cgroup path below which the kubelet puts its pods; `binaries` holds the Kubernetes
    programs; `snapshotter` is containerd's ("overlayfs" or "native").
    """

    paths: ClusterPaths
    binaries: Path
    cgroup: str
    snapshotter: str

    @property
    def node_name(self) -> str:
        """The name of the one node."""
        return f"wsroute-{self.paths.name}"


@dataclass(frozen=True, slots=True)
class Component:
    """One program that the supervisor keeps running; `needs` names what must answer before it starts."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()


def node_user(setting: Setting) -> str:
    """The kubelet's user name, as the Node authorizer expects it."""
    return f"system:node:{setting.node_name}"


def token_file(setting: Setting, tokens: Mapping[str, str]) -> str:
    """The API server's --token-auth-file: token, user, uid, groups."""
    groups = {**USERS, node_user(setting): "system:nodes"}
    return "".join(f'{tokens[user]},{user},{user},"{group}"\n' for user, group in groups.items())


def kubeconfig(*, server: str, token: str, authority: bytes, name: str) -> str:
    """A kubeconfig (JSON, which is YAML) with one context; `authority` is the CA certificate in PEM."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": base64.b64encode(authority).decode(),
                    },
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        },
        indent=1,
    )


def containerd_config(setting: Setting) -> str:
    """containerd's config.toml (version 2, containerd 1.6)."""
    root = setting.paths.root
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc can't lower a container's score, and starts none.
    return f"""\
version = 2
root = "{root}/containerd"
state = "{root}/containerd-run"

[grpc]
  address = "{setting.paths.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_BINARIES}"
    conf_dir = "{setting.paths.conf}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{setting.snapshotter}"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def cni_config() -> str:
    """The pods' network: `ptp` and not `bridge`, so that every packet passes the node's conntrack.

    On a bridge the answer of a pod behind a Service goes straight to a client on the same node, with the wrong
    source address, unless the module br_netfilter is there.
    """
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "mtu": 1500,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": POD_RANGE}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=1,
    )


def kubelet_config(setting: Setting) -> str:
    """KubeletConfiguration: small, on any cgroup version, and never short of disk on a developer's machine."""
    root = setting.paths.root
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{setting.paths.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": setting.cgroup,
            # There is no DNS server: nothing listens on a pod's own port 53, so that a look-up fails at once.
            "clusterDNS": ["127.0.0.1"],
            "containerRuntimeEndpoint": f"unix://{setting.paths.containerd_socket}",
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 250,
            "podLogsDir": f"{root}/pod-logs",
            "resolvConf": "",
            "serializeImagePulls": False,
            "volumePluginDir": f"{root}/volume-plugins",
        },
        indent=1,
    )


def proxy_config(setting: Setting) -> str:
    """KubeProxyConfiguration: iptables, and no conntrack limits (these belong to the host)."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{setting.paths.conf}/kube-proxy.kubeconfig"},
            "clusterCIDR": POD_RANGE,
            "conntrack": {"maxPerCore": 0, "min": 0},
            "hostnameOverride": setting.node_name,
            "mode": "iptables",
            # The rules of a small node are written in milliseconds: a Service follows its pods at once, not after 1 s.
            "iptables": {"minSyncPeriod": "100ms"},
        },
        indent=1,
    )


def components(setting: Setting) -> tuple[Component, ...]:
    """Every program of the cluster, in the order of starting."""
    paths, binaries = setting.paths, setting.binaries
    pki, conf, root = paths.pki, paths.conf, paths.root
    return (
        Component("containerd", ("containerd", "--config", f"{conf}/containerd.toml")),
        Component(
            "etcd",
            (
                "etcd",
                f"--data-dir={root}/etcd",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ),
        ),
        Component(
            "kube-apiserver",
            (
                f"{binaries}/kube-apiserver",
                "--etcd-servers=http://127.0.0.1:2379",
                # Not on the loopback only: else the `kubernetes` Service has nothing behind it.
                "--bind-address=0.0.0.0",
                f"--advertise-address={NODE_ADDRESS}",
                f"--secure-port={API_PORT}",
                f"--tls-cert-file={pki}/apiserver.crt",
                f"--tls-private-key-file={pki}/apiserver.key",
                f"--client-ca-file={pki}/ca.crt",
                f"--kubelet-client-certificate={pki}/kubelet-client.crt",
                f"--kubelet-client-key={pki}/kubelet-client.key",
                "--kubelet-preferred-address-types=InternalIP",
                f"--token-auth-file={conf}/tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-signing-key-file={pki}/service-accounts.key",
                f"--service-account-key-file={pki}/service-accounts.pub",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--profiling=false",
            ),
            needs=("etcd",),
        ),
        Component(
            "kube-controller-manager",
            (
                f"{binaries}/kube-controller-manager",
                f"--kubeconfig={conf}/kube-controller-manager.kubeconfig",
                f"--service-account-private-key-file={pki}/service-accounts.key",
                f"--root-ca-file={pki}/ca.crt",
                "--use-service-account-credentials=true",
                f"--flex-volume-plugin-dir={root}/volume-plugins",
                # With the default of 20 a second, half of a cluster's start is this program's waiting for itself.
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--profiling=false",
            ),
            needs=("kube-apiserver",),
        ),
        Component(
            "kube-scheduler",
            (
                f"{binaries}/kube-scheduler",
                f"--kubeconfig={conf}/kube-scheduler.kubeconfig",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--profiling=false",
            ),
            needs=("kube-apiserver",),
        ),
        Component(
            "kubelet",
            (
                f"{binaries}/kubelet",
                f"--config={conf}/kubelet.json",
                f"--kubeconfig={conf}/kubelet.kubeconfig",
                f"--root-dir={root}/kubelet",
                f"--cert-dir={root}/kubelet/pki",
                f"--hostname-override={setting.node_name}",
                f"--node-ip={NODE_ADDRESS}",
            ),
            needs=("kube-apiserver", "containerd"),
        ),
        Component(
            "kube-proxy",
            (f"{binaries}/kube-proxy", f"--config={conf}/kube-proxy.json"),
            needs=("kube-apiserver",),
        ),
    )
