"""TCP connections into a cluster of somebody else's: through the API server, as ``kubectl port-forward`` makes them.

A pod's address is no address of this host there. One ``kubectl port-forward`` runs for each pod and port that was asked
for; it ends with this process.
"""

import atexit
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localcluster.errors import ClusterError

_LISTENS: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+")

Kubectl = Callable[..., str]


@dataclass(frozen=True, slots=True)
class _Forward:
    process: "subprocess.Popen[str]"
    port: int


class Forwards:
    """The forwards of one cluster. ``program`` is kubectl, ``environment`` names the cluster."""

    def __init__(self, program: str, environment: Mapping[str, str], kubectl: Kubectl) -> None:
        self._program = program
        self._environment = environment
        self._kubectl = kubectl
        self._known: dict[tuple[str, int], _Forward] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def open_connection(self, address: str, port: int, *, timeout: float | None) -> socket.socket:
        """A TCP connection to a pod's address. Raises ClusterError when no pod has it, OSError as connecting does."""
        with self._lock:
            forward = self._known.get((address, port))
            if forward is None or forward.process.poll() is not None:
                forward = self._known[address, port] = self._start(address, port)
        return socket.create_connection(("127.0.0.1", forward.port), timeout=timeout)

    def close(self) -> None:
        """End them all."""
        for forward in self._known.values():
            forward.process.terminate()
            forward.process.wait()
        self._known = {}

    def _start(self, address: str, port: int) -> _Forward:
        found = self._kubectl(
            *("get", "pods", "-A", f"--field-selector=status.podIP={address},status.phase=Running"),
            *("-o", "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{'\\n'}{end}"),
        ).split("\n")
        if not found[0]:
            raise ClusterError(f"No pod that runs has the address {address}.")
        namespace, name = found[0].split()
        process = subprocess.Popen(
            [self._program, "-n", namespace, "port-forward", "--address=127.0.0.1", f"pod/{name}", f":{port}"],
            env=dict(self._environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert process.stdout is not None
        listens = _LISTENS.match(process.stdout.readline())
        if listens is None:
            process.kill()
            process.wait()
            raise ClusterError(f"kubectl port-forward to port {port} of pod {namespace}/{name} does not start.")
        return _Forward(process, int(listens[1]))


_forwards: dict[Path, Forwards] = {}


def of_cluster(kubeconfig: Path, program: str, environment: Mapping[str, str], kubectl: Kubectl) -> Forwards:
    """The forwards into the cluster that a kubeconfig names: the same for each call."""
    return _forwards.setdefault(kubeconfig, Forwards(program, environment, kubectl))
