"""The local cluster for tests and for the demo.

    cluster = api.up("mine")
    cluster.kubectl("apply", "-f", "app.yaml")
    with cluster.open_connection("10.244.0.2", 8080) as connection: ...
    cluster.down()

Pods find Services by their address and their environment variables: there is no DNS in the cluster.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from localcluster import forward, imagebuild, lifecycle, netns, readiness, relay, state
from localcluster.errors import ClusterError
from localcluster.images import IMAGES, by_name
from localcluster.paths import REPOSITORY, ClusterPaths, cluster_names, cluster_paths
from localcluster.processes import ProcessId, alive, end, identify, scrubbed_environment

T = TypeVar("T")

DEFAULT_NAME = "dev"


@dataclass(frozen=True, slots=True)
class CurrentCluster:
    """A cluster of somebody else's that `kubeconfig` names; nothing here starts or stops it."""

    kubeconfig: Path
    program: str = "kubectl"

    def environment(self) -> dict[str, str]:
        """The environment for a process on the host that is to use this cluster and no other."""
        return {**scrubbed_environment(), "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60.0) -> str:  # noqa: A002
        """Runs kubectl and returns its output; raises ClusterError with its words when it fails."""
        command = [self.program, *arguments]
        try:
            done = subprocess.run(
                command, env=self.environment(), input=input, text=True, capture_output=True, timeout=timeout,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ClusterError(f"kubectl {' '.join(arguments)} took longer than {timeout:.0f} s.") from None
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def open_connection(self, host: str, port: int, *, timeout: float | None = 5.0) -> socket.socket:
        """A TCP connection to a pod's address, through the API server."""
        forwards = forward.of_cluster(self.kubeconfig, self.program, self.environment(), self.kubectl)
        return forwards.open_connection(host, port, timeout=timeout)


def current() -> CurrentCluster:
    """The cluster that KUBECONFIG names: only for callers that were told so in words (`CLUSTER=current`)."""
    named = os.environ.get("KUBECONFIG", "")
    if os.environ.get("CLUSTER") != "current":
        raise ClusterError("The cluster that KUBECONFIG names is only used with CLUSTER=current.")
    if not named or not Path(named).exists():
        raise ClusterError("CLUSTER=current needs KUBECONFIG to name one file that exists.")
    program = shutil.which("kubectl")
    if program is None:
        raise ClusterError("CLUSTER=current needs kubectl on the PATH.")
    return CurrentCluster(kubeconfig=Path(named).absolute(), program=program)


@dataclass(frozen=True, slots=True)
class Cluster(CurrentCluster):
    """A local cluster that runs. `namespace` is its network namespace's name."""

    name: str = DEFAULT_NAME
    namespace: str = ""

    @property
    def paths(self) -> ClusterPaths:
        """Its files."""
        return cluster_paths(self.name)

    @property
    def inside_environment(self) -> dict[str, str]:
        """The environment for a process inside the namespace; kubectl is on its PATH."""
        path = f"{Path(self.program).parent}:{os.environ.get('PATH', os.defpath)}"
        return {**scrubbed_environment(), "KUBECONFIG": str(self.paths.inside_kubeconfig), "PATH": path}

    def open_connection(self, host: str, port: int, *, timeout: float | None = 5.0) -> socket.socket:
        """A TCP connection that starts on the node: to a pod's or a Service's address. See netns.open_connection."""
        return netns.open_connection(netns.path_of(self.namespace), host, port, timeout=timeout)

    def create_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """An unconnected socket of the cluster's network, for instance for asyncio's `loop.sock_connect`."""
        return netns.create_socket(netns.path_of(self.namespace), family, kind)

    def run_in_namespace(self, function: Callable[[], T]) -> T:
        """Calls a short function on a thread that stays in the cluster's network; returns what it returns."""
        return netns.run_in_namespace(netns.path_of(self.namespace), function)

    def execute(self, command: Sequence[str]) -> int:
        """Runs a command inside the network namespace with the standard streams of this process; its exit code."""
        return netns.execute(self.namespace, command, self.inside_environment)

    def load_images(self, names: Sequence[str] | None = None) -> list[str]:
        """Builds and imports images (all, unless named) as far as they have changed; returns those imported.

        Pods that run keep what they have: restart them (`kubectl rollout restart`) to get the new one.
        """
        images = IMAGES if names is None else tuple(by_name(name) for name in names)
        archives = [("pause", imagebuild.build_pause()), *((image.name, imagebuild.build(image)) for image in images)]
        return imagebuild.load(self.paths, archives, snapshotter=lifecycle.snapshotter(self.paths))

    def relay(self, to: str, *, listen: str = "127.0.0.1:0") -> str:
        """Starts a background relay from the host to an address in the cluster, "ADDRESS:PORT"; returns its own.

        It ends with the cluster. The same relay asked for twice is started once.
        """
        for existing in _state(self.paths).relays:
            if existing.to == to and alive(existing.process) and listen in (existing.listen, "127.0.0.1:0"):
                return existing.listen
        relay.parse_address(to)
        with relay.listen(*relay.parse_address(listen)) as listening:
            host, port = listening.getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            process = _start_relay(self.paths, listening, namespace=self.namespace, to=to)
        relays = tuple(known for known in _state(self.paths).relays if alive(known.process))
        state.update(self.paths.state_file, relays=(*relays, state.Relay(process=process, listen=address, to=to)))
        return address

    def stop_relay(self, listen: str) -> None:
        """Ends the background relay that listens at this address; does nothing when there is none."""
        known = _state(self.paths).relays
        for entry in known:
            if entry.listen == listen:
                end(entry.process)
        state.update(self.paths.state_file, relays=tuple(entry for entry in known if entry.listen != listen))

    def down(self) -> None:
        """Stops the cluster and removes everything of it."""
        down(self.name)


def _state(paths: ClusterPaths) -> state.ClusterState:
    found = state.load(paths.state_file)
    if found is None:
        raise ClusterError(f"The cluster {paths.name} is not up; start it with `python3 -m localcluster up`.")
    return found


def _start_relay(paths: ClusterPaths, listening: socket.socket, *, namespace: str, to: str) -> ProcessId:
    command = [sys.executable, "-m", "localcluster.relay", "--socket", str(listening.fileno())]
    command += ["--namespace", str(netns.path_of(namespace)), "--to", to]
    with (paths.logs / "relay.log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**scrubbed_environment(), "PYTHONPATH": str(REPOSITORY)}, pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    identity = identify(process.pid)
    if identity is None:
        raise ClusterError("The relay ended at once.")
    # It is to outlive this process: nobody waits for it.
    process.returncode = 0
    return identity


def up(name: str = DEFAULT_NAME, *, images: Sequence[str] | None = None) -> Cluster:
    """The running cluster of this name; starts it first when it is not up or not healthy.

    `images` names the images that a fresh start builds and loads, all of them by default.
    """
    paths = cluster_paths(name)
    lifecycle.start(paths, IMAGES if images is None else tuple(by_name(image) for image in images))
    return get(name)


def get(name: str = DEFAULT_NAME) -> Cluster:
    """The cluster of this name if it is up; raises ClusterError if not."""
    paths = cluster_paths(name)
    found = _state(paths)
    if not found.complete or found.init is None or not alive(found.init):
        raise ClusterError(f"The cluster {name} is not up; start it with `python3 -m localcluster up --name {name}`.")
    return Cluster(
        kubeconfig=paths.kubeconfig,
        program=f"{found.binaries}/kubectl",
        name=name,
        namespace=found.namespace,
    )


def down(name: str = DEFAULT_NAME) -> bool:
    """Stops the cluster of this name, or removes what a crash left of it; returns whether there was anything."""
    return lifecycle.stop(cluster_paths(name))


def is_up(name: str = DEFAULT_NAME) -> bool:
    """Whether a cluster of this name runs and answers."""
    paths = cluster_paths(name)
    return readiness.healthy(paths, state.load(paths.state_file))


def names() -> list[str]:
    """The clusters that have a state file, whether they run or not."""
    return cluster_names()
