"""What the components are told."""

import ipaddress
import json
import tomllib
from pathlib import Path

import pytest

from localcluster import config
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths, cluster_paths

SETTING = config.Setting(
    paths=ClusterPaths(root=Path("/state/mine")),
    binaries=Path("/cache/bin"),
    cgroup="/wsr-mine",
    snapshotter="overlayfs",
)


def test_containerd_reads_only_the_clusters_own_folders() -> None:
    parsed = tomllib.loads(config.containerd_config(SETTING))
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert parsed["root"] == "/state/mine/containerd"
    assert parsed["grpc"]["address"] == "/state/mine/ctd.sock"
    assert cri["sandbox_image"] == config.PAUSE_IMAGE
    assert cri["restrict_oom_score_adj"] is True
    assert cri["containerd"]["snapshotter"] == "overlayfs"


def test_the_token_file_names_every_user_that_gets_a_kubeconfig() -> None:
    users = [*config.USERS, config.node_user(SETTING)]
    lines = config.token_file(SETTING, {user: f"token-{number}" for number, user in enumerate(users)}).splitlines()
    fields = [line.split(",") for line in lines]
    assert [field[1] for field in fields] == users
    assert fields[0] == ["token-0", "wsroute-admin", "wsroute-admin", '"system:masters"']
    assert fields[-1][1:] == ["system:node:wsroute-mine", "system:node:wsroute-mine", '"system:nodes"']


def test_a_kubeconfig_holds_one_context_that_is_current() -> None:
    text = config.kubeconfig(server="https://127.0.0.1:1", token="t", authority=b"PEM", name="n")
    parsed = json.loads(text)
    assert parsed["current-context"] == "n"
    assert parsed["contexts"] == [{"name": "n", "context": {"cluster": "n", "user": "n"}}]
    assert parsed["clusters"][0]["cluster"]["certificate-authority-data"] == "UEVN"


def test_the_kubelet_takes_no_anonymous_callers_and_stays_in_its_cgroup() -> None:
    parsed = json.loads(config.kubelet_config(SETTING))
    assert parsed["authentication"]["anonymous"] == {"enabled": False}
    assert parsed["cgroupRoot"] == "/wsr-mine"
    assert parsed["failCgroupV1"] is False


def test_pods_are_routed_not_bridged() -> None:
    plugins = json.loads(config.cni_config())["plugins"]
    assert plugins[0]["type"] == "ptp"
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": config.POD_RANGE}]]


def test_the_address_ranges_do_not_overlap() -> None:
    pods, services = ipaddress.ip_network(config.POD_RANGE), ipaddress.ip_network(config.SERVICE_RANGE)
    node = ipaddress.ip_address(config.NODE_ADDRESS)
    assert not pods.overlaps(services)
    assert node not in pods
    assert node not in services
    assert ipaddress.ip_address(config.SERVICE_ADDRESS) == next(services.hosts())


def test_every_need_is_a_component_that_comes_before() -> None:
    seen: set[str] = set()
    for component in config.components(SETTING):
        assert set(component.needs) <= seen
        seen.add(component.name)
    assert len(seen) == 7


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "..", "a" * 21, "a\n", "ä", "1a"])
def test_a_name_that_could_leave_the_state_folder_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="not usable"):
        cluster_paths(name)


def test_clusters_of_other_state_folders_have_other_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = set()
    for folder in ("/one", "/two"):
        monkeypatch.setenv("WSROUTE_STATE", folder)
        assert cluster_paths("dev").root == Path(folder) / "dev"
        prefixes.add(cluster_paths("dev").namespace_prefix)
    assert len(prefixes) == 2


def test_a_state_folder_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSROUTE_STATE", "/" + "x" * 100)
    with pytest.raises(ClusterError, match="set WSROUTE_STATE to a shorter folder"):
        cluster_paths("dev")
