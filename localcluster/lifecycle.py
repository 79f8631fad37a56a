"""Starting and stopping a cluster."""

import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from localcluster import binaries, cgroups, config, debian, imagebuild, netns, pki, readiness, relay, state, supervisor
from localcluster.errors import ClusterError
from localcluster.images import Image
from localcluster.paths import ClusterPaths
from localcluster.processes import end, lock
from localcluster.progress import step
from localcluster.readiness import Api

_READY_SECONDS = 120.0


def start(paths: ClusterPaths, images: Sequence[Image]) -> bool:
    """Makes the cluster run, with these images in it; returns whether it had to be started.

    A healthy cluster is left alone, whatever is left of a crashed one is removed first.
    """
    if readiness.healthy(paths, state.load(paths.state_file)):
        return False
    require_root()
    with lock(_lock_file(paths), busy=f"Waiting for another process that works on the cluster {paths.name}"):
        if readiness.healthy(paths, state.load(paths.state_file)):
            return False
        debian.ensure_packages()
        programs = binaries.ensure()
        archives = [("pause", imagebuild.build_pause()), *((image.name, imagebuild.build(image)) for image in images)]
        if leftovers(paths):
            with step("Removing what is left of an earlier run"):
                _clean_up(paths)
        try:
            _start(paths, programs, archives)
        except BaseException:
            # The logs stay for whoever wants to know why; everything else goes.
            _stop_processes(paths, state.load(paths.state_file))
            raise
    return True


def _start(paths: ClusterPaths, programs: Path, archives: Sequence[tuple[str, Path]]) -> None:
    run_name = f"{paths.namespace_prefix}{secrets.token_hex(2)}"
    setting = config.Setting(
        paths=paths, binaries=programs, cgroup=f"/{run_name}", snapshotter=snapshotter(paths)
    )  # fmt: skip
    for folder in (paths.root, paths.logs, paths.conf / "cni"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with relay.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        # Written before anything is made, so that the next start finds what a crash leaves.
        state.save(
            paths.state_file,
            state.ClusterState(namespace=run_name, cgroup=setting.cgroup, binaries=str(programs), api_port=port),
        )
        with step("Making the network namespace and the certificates"):
            netns.create(run_name)
            cgroups.create(setting.cgroup)
            pki.make(paths.pki)
            api = _write_configuration(setting, port=port)
        with step("Starting etcd, containerd and Kubernetes"):
            supervisor.launch(
                paths, namespace=netns.path_of(run_name), programs=config.components(setting), listening=listening
            )
    launched = state.load(paths.state_file)
    init = launched.init if launched else None
    if init is None:
        raise ClusterError("The cluster's supervisor did not start.")
    readiness.wait_for_containerd(paths, init=init)
    with ThreadPoolExecutor(max_workers=1) as pool:
        imports = pool.submit(imagebuild.load, paths, archives, snapshotter=setting.snapshotter)
        with step("Waiting until the node is ready"):
            readiness.wait(
                paths, api=api, node=setting.node_name, namespace=run_name, init=init, timeout=_READY_SECONDS
            )
        imports.result()
    state.update(paths.state_file, complete=True)


def _write_configuration(setting: config.Setting, *, port: int) -> Api:
    paths = setting.paths
    authority = (paths.pki / "ca.crt").read_bytes()
    tokens = {user: secrets.token_hex(16) for user in (*config.USERS, config.node_user(setting))}

    def kubeconfig(user: str, server: str) -> str:
        return config.kubeconfig(server=server, token=tokens[user], authority=authority, name=f"wsroute-{paths.name}")

    inside = f"https://127.0.0.1:{config.API_PORT}"
    users = {
        "kube-controller-manager": "system:kube-controller-manager",
        "kube-scheduler": "system:kube-scheduler",
        "kube-proxy": "system:kube-proxy",
        "kubelet": config.node_user(setting),
    }
    texts = {
        paths.kubeconfig: kubeconfig(config.ADMIN, f"https://127.0.0.1:{port}"),
        paths.inside_kubeconfig: kubeconfig(config.ADMIN, inside),
        paths.conf / "tokens.csv": config.token_file(setting, tokens),
        paths.conf / "containerd.toml": config.containerd_config(setting),
        paths.conf / "cni" / "10-pods.conflist": config.cni_config(),
        paths.conf / "kubelet.json": config.kubelet_config(setting),
        paths.conf / "kube-proxy.json": config.proxy_config(setting),
        **{paths.conf / f"{name}.kubeconfig": kubeconfig(user, inside) for name, user in users.items()},
    }
    for path, text in texts.items():
        state.write_atomically(path, text)
    return Api(port=port, token=tokens[config.ADMIN], authority=authority.decode())


def stop(paths: ClusterPaths) -> bool:
    """Ends the cluster and removes everything of it; returns whether there was anything."""
    if not leftovers(paths):
        return False
    require_root()
    with lock(_lock_file(paths), busy=f"Waiting for another process that works on the cluster {paths.name}"):
        _clean_up(paths)
    return True


def leftovers(paths: ClusterPaths) -> bool:
    """Whether anything of this cluster is there: its folder, a namespace, a cgroup."""
    prefix = paths.namespace_prefix
    return paths.root.exists() or bool(netns.names(prefix)) or bool(cgroups.leftovers(prefix))


def _stop_processes(paths: ClusterPaths, current: state.ClusterState | None) -> None:
    """Ends every process of the run and removes its namespace and cgroup; files stay."""
    if current is not None:
        for relayed in current.relays:
            end(relayed.process)
        if current.init is not None:
            end(current.init, timeout=30)
        state.update(paths.state_file, init=None, relays=(), complete=False)
    for namespace in netns.names(paths.namespace_prefix):
        netns.leave(netns.path_of(namespace))
        netns.delete(namespace)
    for cgroup in cgroups.leftovers(paths.namespace_prefix):
        cgroups.remove(cgroup)


def _clean_up(paths: ClusterPaths) -> None:
    _stop_processes(paths, state.load(paths.state_file))
    if paths.root.exists():
        shutil.rmtree(paths.root)


def snapshotter(paths: ClusterPaths) -> str:
    """containerd's snapshotter for this state folder: overlayfs where the kernel can, else plain copies."""
    return "overlayfs" if imagebuild.supports_overlay(paths.root.parent) else "native"


def require_root() -> None:
    """Raises ClusterError unless the caller may make namespaces."""
    if os.geteuid() != 0 or sys.platform != "linux":
        raise ClusterError("The local cluster needs root on Linux: it makes network namespaces and runs a kubelet.")


def _lock_file(paths: ClusterPaths) -> Path:
    return paths.root.parent / f".{paths.name}.lock"
