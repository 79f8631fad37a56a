"""The commands, the readiness of a node, cgroups: against files instead of a cluster."""

from pathlib import Path

import pytest

from localcluster import api, cgroups, readiness
from localcluster.cli import main
from localcluster.errors import ClusterError


@pytest.fixture(autouse=True)
def empty_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder without clusters."""
    monkeypatch.setenv("WSROUTE_STATE", str(tmp_path))
    return tmp_path


def test_a_cluster_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubeconfig", "--name", "absent"]) == 1
    assert "The cluster absent is not up; start it with" in capsys.readouterr().err
    assert main(["status", "--name", "absent"]) == 1
    assert capsys.readouterr().out == "absent: down\n"
    assert main(["down", "--name", "absent"]) == 0
    assert capsys.readouterr().err == "There is no cluster absent.\n"
    assert main(["list"]) == 0
    assert capsys.readouterr().out == ""
    assert not api.is_up("absent")


def test_a_crashed_run_is_listed_as_not_healthy(empty_state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty_state / "crashed"
    folder.mkdir()
    (folder / "state.json").write_text(
        '{"namespace": "n", "cgroup": "/n", "binaries": "/b", "init": null, "complete": false, "relays": []}'
    )
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("crashed\tnot healthy\t")
    with pytest.raises(ClusterError, match="is not up"):
        api.get("crashed")


def test_an_ambient_cluster_is_never_used_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.delenv("CLUSTER", raising=False)
    with pytest.raises(ClusterError, match="only used with CLUSTER=current"):
        api.current()
    monkeypatch.setenv("CLUSTER", "current")
    program = tmp_path / "kubectl"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = fail ]; then echo broken >&2; exit 3; fi\necho "$KUBECONFIG" "$@"; cat\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    cluster = api.current()
    assert cluster.kubectl("get", "pods", input="in") == f"{kubeconfig} get pods\nin"
    with pytest.raises(ClusterError, match="kubectl fail failed: broken"):
        cluster.kubectl("fail")
    monkeypatch.setenv("KUBECONFIG", "/absent")
    with pytest.raises(ClusterError, match="one file that exists"):
        api.current()


def test_a_tainted_node_is_not_ready() -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {}}
    assert readiness.node_is_ready(ready)
    assert not readiness.node_is_ready({**ready, "spec": {"taints": [{"key": "node.kubernetes.io/not-ready"}]}})
    assert not readiness.node_is_ready({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    assert not readiness.node_is_ready({"status": {}})


def test_cgroup_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "cgroup"
    monkeypatch.setattr(cgroups, "_ROOT", root)
    for hierarchy in ("cpu,cpuacct", "cpuset"):
        (root / hierarchy).mkdir(parents=True)
    (root / "cpu").symlink_to("cpu,cpuacct")
    cgroups.create("/wsr-a-1")
    assert cgroups.leftovers("wsr-a-") == ["/wsr-a-1"]
    assert cgroups.leftovers("wsr-b-") == []
    (root / "cpuset" / "wsr-a-1" / "kubepods" / "pod1").mkdir(parents=True)
    cgroups.remove("/wsr-a-1")
    assert cgroups.leftovers("wsr-a-") == []


def test_cgroup_version_2_hands_its_controllers_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory rdma pids\n")
    cgroups.create("/wsr-a-1")
    for folder in (tmp_path, tmp_path / "wsr-a-1"):
        assert (folder / "cgroup.subtree_control").read_text() == "+cpuset +cpu +io +memory +pids"
    assert cgroups.leftovers("wsr-a-") == ["/wsr-a-1"]
