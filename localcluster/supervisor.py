"""PID 1 of a cluster: starts its programs, restarts those that end, and takes everything with it when it is killed.

The supervisor has a PID and a mount namespace of its own. So ending a run is the end of one process: the kernel kills
all the rest (containers and their shims too), and whatever the kubelet mounted goes with the mount namespace. A
crashed run leaves nothing that has to be guessed at.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from localcluster import linux, state
from localcluster.config import API_PORT, Component
from localcluster.errors import ClusterError
from localcluster.paths import REPOSITORY, ClusterPaths
from localcluster.processes import identify, scrubbed_environment, tail
from localcluster.relay import serve

_PROBE_SECONDS = 0.05
_RESTART_SECONDS = (0.2, 5.0)
_LONG_LIFE_SECONDS = 30.0
# These paths are wired into the programs; each cluster gets empty ones of its own.
_PRIVATE_FOLDERS = (Path("/run/containerd"), Path("/var/lib/cni"), Path("/var/log/containers"))


def launch(paths: ClusterPaths, *, namespace: Path, programs: tuple[Component, ...], listening: socket.socket) -> None:
    """Starts the supervisor in the namespace and writes its process into the state file before it does anything.

    `listening` becomes the API server's address on the host; the caller may close its copy afterwards.
    """
    state.write_atomically(paths.spec_file, json.dumps([asdict(program) for program in programs]))
    environment = {**scrubbed_environment(), "PYTHONPATH": str(REPOSITORY), "HOME": str(paths.root)}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
    command = [sys.executable, "-m", "localcluster.supervisor"]
    command += ["--root", str(paths.root), "--namespace", str(namespace), "--socket", str(listening.fileno())]
    os.set_inheritable(listening.fileno(), True)
    log = paths.logs / "supervisor.log"
    with log.open("ab") as output:
        launcher = os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
            setsid=True,
        )
    os.set_inheritable(listening.fileno(), False)
    if os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1]):
        raise ClusterError(f"The cluster's supervisor did not start: {tail(log)}")


@dataclass(slots=True)
class _Status:
    """What the components file says about one program."""

    running: bool = False
    starts: int = 0
    last_exit: str = ""


@dataclass(slots=True)
class _Supervisor:
    paths: ClusterPaths
    programs: tuple[Component, ...]
    exits: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    statuses: dict[str, _Status] = field(default_factory=dict)

    async def run(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self.statuses = {program.name: _Status() for program in self.programs}
        self._report()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(listening, host="127.0.0.1", port=API_PORT))
            for program in self.programs:
                group.create_task(self._keep_running(program))

    def _reap(self) -> None:
        """Collects every ended child: the programs, and orphans (shims) that PID 1 inherits."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            waiter = self.exits.pop(pid, None)
            if waiter is not None:
                waiter.set_result(os.waitstatus_to_exitcode(status))

    async def _keep_running(self, program: Component) -> None:
        status = self.statuses[program.name]
        delay, longest = _RESTART_SECONDS
        while True:
            for need in program.needs:
                await self._wait_for(need)
            started = time.monotonic()
            waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            # Nothing is awaited between the start and the entry, so that the exit can't be missed.
            self.exits[self._spawn(program)] = waiter
            status.running, status.starts = True, status.starts + 1
            self._report()
            code = await waiter
            status.running, status.last_exit = False, f"signal {-code}" if code < 0 else f"exit code {code}"
            self._report()
            print(f"{program.name} ended with {status.last_exit}", flush=True)
            if time.monotonic() - started > _LONG_LIFE_SECONDS:
                delay = _RESTART_SECONDS[0]
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest)

    def _spawn(self, program: Component) -> int:
        log = self.paths.logs / f"{program.name}.log"
        return os.posix_spawnp(
            program.command[0],
            program.command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigdef=[signal.SIGPIPE],
        )

    async def _wait_for(self, need: str) -> None:
        probe = _probes(self.paths)[need]
        while not await asyncio.to_thread(probe):  # noqa: ASYNC110 - the programs tell nobody when they serve
            await asyncio.sleep(_PROBE_SECONDS)

    def _report(self) -> None:
        text = json.dumps({name: asdict(status) for name, status in self.statuses.items()})
        state.write_atomically(self.paths.components_file, text)


def _probes(paths: ClusterPaths) -> dict[str, Callable[[], bool]]:
    """How to see that a program serves; each call takes a second at most."""

    def etcd() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 2379), timeout=1):
            return True
        return False

    def containerd() -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(paths.containerd_socket))
            return True
        return False

    def apiserver() -> bool:
        context = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", API_PORT, timeout=1, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return {"etcd": etcd, "containerd": containerd, "kube-apiserver": apiserver}


def _enter(namespace: Path) -> None:
    linux.setns(namespace, linux.CLONE_NEWNET)
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID)


def _isolate_mounts() -> None:
    # Slave: what the host unmounts goes here too, what is mounted here stays here.
    linux.mount("none", Path("/"), "none", linux.MS_REC | linux.MS_SLAVE)
    linux.mount("proc", Path("/proc"), "proc", linux.MS_NOSUID_NODEV_NOEXEC)
    for folder in _PRIVATE_FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
        linux.mount("tmpfs", folder, "tmpfs")


def _program(raw: dict[str, Any]) -> Component:
    return Component(name=raw["name"], command=tuple(raw["command"]), needs=tuple(raw["needs"]))


def main() -> None:
    """The launcher: enters the namespaces, forks PID 1, records it in the state file, lets it go, and ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--namespace", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True)
    arguments = parser.parse_args()
    paths = ClusterPaths(root=arguments.root)
    programs = tuple(_program(raw) for raw in json.loads(paths.spec_file.read_text()))
    _enter(arguments.namespace)
    gate, opener = os.pipe()
    child = os.fork()
    if child:
        state.update(paths.state_file, init=identify(child))
        os.write(opener, b"+")
        return
    os.close(opener)
    if not os.read(gate, 1):
        return  # the launcher died before it could write down who we are
    os.close(gate)
    os.chdir("/")
    _isolate_mounts()
    # Containers inherit the limit of open files; a Go program raises its own, but not that of its children.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.set_inheritable(arguments.socket, False)
    asyncio.run(_Supervisor(paths=paths, programs=programs).run(socket.socket(fileno=arguments.socket)))


if __name__ == "__main__":
    main()
