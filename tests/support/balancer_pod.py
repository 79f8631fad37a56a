"""nginx as in a balancer's pod: below the real start script, on loopback, in a temporary folder."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from tests.support.backend import Backend
from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from tests.support.handshake import held_socket
from tests.support.nginx_runner import DEADLINE, local_options, make_paths, nginx_binary, nginx_modules, short_folder
from tests.support.waiting import wait_until
from wsroute.balancer.applier import Applied, Applier, start_script
from wsroute.dataplane.ir import Configuration, Endpoint
from wsroute.nginx.render import Rendered, bootstrap, render

SHELLS: Final = [shell for shell in (("dash",), ("busybox", "ash")) if shutil.which(shell[0])] or [("/bin/sh",)]
"""The shells of nginx's images (Debian, Alpine), as far as this machine has them."""

SIGNALS_HEARD: Final = ("env", "--default-signal=INT,QUIT")
"""Starts a program that hears these signals whoever started us. A shell has what it starts in the background ignore
them, and what is ignored when a shell begins it can't trap."""

ESTABLISHED: Final = "01"
"""The state of an open connection in the kernel's table."""


class BalancerPod:
    """``delay`` is what the script waits after SIGTERM, and ``grace`` the pod's grace period, in seconds. ``modules``
    is the folder of nginx's dynamic modules, unless it is the usual one."""

    def __init__(
        self,
        folder: Path,
        *,
        shell: tuple[str, ...] = ("/bin/sh",),
        delay: str = "0",
        grace: str = "",
        modules: Path | None = None,
    ) -> None:
        self.paths = make_paths(folder)
        self.conf = Path(self.paths.conf)
        self.run = Path(self.paths.run)
        self.applier = Applier(conf=self.conf, run=self.run)
        self._shell = shell
        self._environment = {"WSROUTE_TERM_DELAY": delay, "WSROUTE_GRACE_PERIOD": grace}
        modules = modules or nginx_modules()
        if modules:
            self._environment["WSROUTE_NGINX_MODULES"] = str(modules)
        self._words = folder / "words"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the script, as the kubelet starts the container."""
        script, first = self.conf / "start.sh", self.conf / "bootstrap.conf"
        script.write_text(start_script(), encoding="utf-8")
        first.write_text(bootstrap(self.paths, options=local_options()), encoding="utf-8")
        with self._words.open("ab") as words:
            self._process = subprocess.Popen(
                [*SIGNALS_HEARD, *self._shell, str(script), str(self.conf), str(self.run), str(first)],
                env={**os.environ, "WSROUTE_NGINX": nginx_binary(), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The script."""
        assert self._process is not None, "the pod was not started"
        return self._process

    def words(self) -> str:
        """What script and nginx have said."""
        return self._words.read_text(encoding="utf-8", errors="replace")

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        return await asyncio.to_thread(self.process.wait, DEADLINE)

    def master(self) -> int:
        """The pid of nginx's master."""
        return int((self.run / "master").read_text())

    def controller(self) -> int:
        """The pid of the shell that obeys."""
        [pid] = children(self.process.pid)
        return pid

    def serves(self, *, after: int = 0) -> bool:
        """Whether there is a nginx whose workers take connections; with the pid of a master, whether there is another
        one of which that is so. Its pid is asked for once: between two masters nobody knows of any."""
        try:
            master = self.master()
        except (OSError, ValueError):
            return False
        return master != after and bool(accepting(master))

    def has_begun(self) -> bool:
        """Whether all that is done at the start is done: nginx serves, and njs has told its version, after which the
        script has one child."""
        return self.serves() and len(children(self.process.pid)) == 1

    def accepting(self) -> list[int]:
        """The pids of the workers that take connections."""
        return accepting(self.master())

    def draining(self) -> list[int]:
        """The pids of the master's workers that finish their sockets."""
        return [pid for pid in children(self.master()) if "shutting down" in title(pid)]

    def files(self, name: str) -> list[Path]:
        """All files of this name below the pod's folders."""
        return [*self.conf.rglob(name), *self.run.rglob(name)]

    def render(self, configuration: Configuration) -> Rendered:
        """The file of a configuration, for this pod's folders."""
        return render(configuration, self.paths, options=local_options())

    def stage(self, configuration: Configuration) -> Rendered:
        """Render a configuration and write its file."""
        rendered = self.render(configuration)
        self.applier.stage(rendered.version, rendered.text)
        return rendered

    def say(self, line: bytes) -> None:
        """Write into the FIFO."""
        fd = os.open(self.run / "control", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)

    def stop(self) -> None:
        """End everything that was started, whatever state it is in."""
        if self._process is None:
            return
        for _ in range(3):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(2)
                except subprocess.TimeoutExpired:
                    continue
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with suppress(OSError, ValueError):
            os.killpg(self.master(), signal.SIGKILL)
        self._process = None


@contextmanager
def balancer_pod(
    *, shell: tuple[str, ...] = ("/bin/sh",), delay: str = "0", grace: str = "", modules: Path | None = None
) -> Iterator[BalancerPod]:
    """A pod that was started; everything in it is ended afterwards."""
    with short_folder() as folder:
        pod = BalancerPod(folder, shell=shell, delay=delay, grace=grace, modules=modules)
        try:
            pod.start()
            wait_until(pod.has_begun, "nginx serves")
            yield pod
        finally:
            print(f"What the pod has said:\n{pod.words()}")  # pytest shows it where the test fails
            pod.stop()


def children(pid: int) -> list[int]:
    """The child processes of a process. The kernel may leave one out when another one ends while it is asked: two equal
    answers are believed."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        before, found = "", file.read_text()
        while found != before:
            before, found = found, file.read_text()
    except OSError:
        return []
    return [int(child) for child in found.split()]


def accepting(master: int) -> list[int]:
    """The pids of a master's workers that take connections."""
    return [pid for pid in children(master) if title(pid) == "nginx: worker process"]


def clients_of(worker: int, port: int) -> set[int]:
    """The ports of the clients whose sockets a worker holds; nothing when it is gone."""
    inodes = set()
    with suppress(OSError):
        for link in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(link.readlink()))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        local, remote = (int(words[number].rpartition(":")[2], 16) for number in (1, 2))
        if local == port and words[3] == ESTABLISHED and f"socket:[{words[9]}]" in inodes:
            found.add(remote)
    return found


def port_of(client: ClientConnection) -> int:
    """The port of our end."""
    port: int = client.local_address[1]
    return port


def title(pid: int) -> str:
    """What a process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().strip("\0")
    except OSError:
        return ""


def echo_route(port: int, *endpoints: Endpoint, idle_timeout: int = 3_600_000, **changes: Any) -> Configuration:
    """One route, /ws, to these endpoints. Another idle timeout makes another version."""
    return configuration(
        port=port,
        upstreams=[upstream(*endpoints)],
        servers=[server(location(action=proxy(idle_timeout=idle_timeout)))],
        **changes,
    )


def connected(port: int) -> socket.socket:
    """A connection to a listener."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[ClientConnection]:
    """An open WebSocket through nginx."""
    client = await held_socket(connected(port), host=HOST, path="/ws")
    async with client:
        yield client


async def load(pod: BalancerPod, port: int, backend: Backend, number: int = 0) -> str:
    """Bring in the route to the backend; each number is another version."""
    version = pod.stage(echo_route(port, backend.endpoint(), idle_timeout=3_600_000 + number * 1000)).version
    result = await pod.applier.apply(version)
    assert isinstance(result, Applied), f"{result} {pod.words()}"
    return version
