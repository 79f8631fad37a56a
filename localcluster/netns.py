"""The cluster's network namespace: making it, and opening sockets in it from a process that stays outside."""

import contextlib
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from localcluster import linux
from localcluster.config import NODE_ADDRESS, NODE_LINK, SERVICE_RANGE
from localcluster.errors import ClusterError
from localcluster.processes import run

_NAMESPACES = Path("/run/netns")

T = TypeVar("T")


def path_of(namespace: str) -> Path:
    """The file that stands for a named network namespace."""
    return _NAMESPACES / namespace


def names(prefix: str) -> list[str]:
    """The namespaces whose name begins with `prefix`."""
    return sorted(path.name for path in _NAMESPACES.glob(f"{prefix}*"))


def create(namespace: str) -> None:
    """Makes the namespace with the node's link and routes.

    Nothing leads out of it. The Services' range needs a route, because a packet of the node itself is routed before
    kube-proxy's rules translate its address.
    """
    run(["ip", "netns", "add", namespace], what="Making the network namespace")
    commands = f"""\
link set lo up
link add {NODE_LINK} type bridge
addr add {NODE_ADDRESS}/32 dev {NODE_LINK}
link set {NODE_LINK} up
route add {SERVICE_RANGE} dev {NODE_LINK}
route add unreachable default
"""
    done = subprocess.run(
        ["ip", "-netns", namespace, "-batch", "-"], input=commands, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClusterError(f"Setting up the network namespace failed: {done.stderr.strip()}")
    run(
        nsenter(namespace, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]),
        what="Turning on forwarding in the network namespace",
    )


def delete(namespace: str) -> None:
    """Removes the namespace's name; does nothing when there is none."""
    if path_of(namespace).exists():
        run(["ip", "netns", "delete", namespace], what="Deleting the network namespace")


def nsenter(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` inside; only the network is changed, unlike with `ip netns exec`."""
    return ["nsenter", f"--net={path_of(namespace)}", "--", *command]


class _Worker:
    """A thread that stays in a network namespace and does small jobs there."""

    def __init__(self, path: Path) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(path, ready), name=f"netns {path.name}", daemon=True)
        self._thread.start()
        ready.result()

    def _work(self, path: Path, ready: Future[None]) -> None:
        try:
            linux.setns(path, linux.CLONE_NEWNET)
        except OSError as error:
            ready.set_exception(ClusterError(f"There is no network namespace {path.name} to enter: {error.strerror}."))
            return
        ready.set_result(None)
        while (job := self._jobs.get()) is not None:
            function, result = job
            try:
                result.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it from the future
                result.set_exception(error)

    def call(self, function: Callable[[], T]) -> T:
        result: Future[T] = Future()
        self._jobs.put((function, result))
        return result.result()

    def stop(self) -> None:
        self._jobs.put(None)
        self._thread.join()


_workers: dict[Path, _Worker] = {}
_workers_lock = threading.Lock()


def _forget_workers() -> None:
    # Threads do not survive a fork; the child makes its own when it needs one.
    global _workers_lock  # noqa: PLW0603
    _workers.clear()
    _workers_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_workers)


def _worker(path: Path) -> _Worker:
    with _workers_lock:
        worker = _workers.get(path)
        if worker is None:
            worker = _workers[path] = _Worker(path)
        return worker


def run_in_namespace(path: Path, function: Callable[[], T]) -> T:
    """Calls `function` on a thread of this process that stays in the namespace, and returns what it returns.

    For short calls only: one thread serves all callers. It lives until :func:`leave`.
    """
    return _worker(path).call(function)


def create_socket(path: Path, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """An unconnected socket of the namespace; it keeps that namespace wherever it is used."""
    return run_in_namespace(path, lambda: socket.socket(family, kind))


def open_connection(path: Path, host: str, port: int, *, timeout: float | None = 5.0) -> socket.socket:
    """A TCP connection that starts in the namespace, to an address (there are no names) and port.

    `timeout` (seconds) bounds the connecting and stays set on the socket, as with socket.create_connection. Making the
    socket costs some ten microseconds, so that thousands of handshakes are no burden. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = create_socket(path, family)
    try:
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


def leave(path: Path) -> None:
    """Ends this process's thread in the namespace, which otherwise keeps a deleted namespace alive."""
    with _workers_lock:
        worker = _workers.pop(path, None)
    if worker is not None:
        worker.stop()


def execute(namespace: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a command inside with this process's own standard streams and returns its exit code."""
    process = subprocess.Popen(nsenter(namespace, command), env=dict(environment))
    while True:
        # An interrupt from the keyboard reaches the command too; it decides what to do with it.
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()
